"""A trained model on every trial of a split: what it predicts, undisturbed or disturbed, and what that costs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import brainunit as u
import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from spiketrain import environ, metrics
from spiketrain.data.dataset import LabelledTrials
from spiketrain.encoders.direct import Direct
from spiketrain.errors import DomainError
from spiketrain.losses import CrossEntropy
from spiketrain.mesh import shared
from spiketrain.training import devices, disturbances, operations, step
from spiketrain.unroll import unroll_in_pieces


class Predictions(NamedTuple):
    """What a model says of every trial of a split, in its order.

    Args:
        labels: the true classes, `(n,)`.
        logits: the class scores, `(n, classes)`.
        losses: the loss of each trial, `(n,)`.
    """

    labels: np.ndarray
    logits: np.ndarray
    losses: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The predicted classes, `(n,)`."""
        return self.logits.argmax(-1)

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax of the logits, `(n, classes)`."""
        scores = np.exp(self.logits - self.logits.max(-1, keepdims=True), dtype=np.float64)
        return scores / scores.sum(-1, keepdims=True)

    @property
    def accuracy(self) -> float:
        """The part of the trials whose class is predicted."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(np.mean(self.losses, dtype=np.float64))

    @property
    def confusion(self) -> np.ndarray:
        """The number of trials by true class (rows) and predicted class (columns)."""
        return metrics.confusion(self.labels, self.predicted, self.logits.shape[-1])


class Evaluation:
    """Evaluate a trained model on a split; within `environ.context(dt=...)`, that of its training.

    Args:
        model: maps `(T, B, channels)` to potentials `(T, B, classes)`; it is switched to evaluation, and stays as it is.
        split: the trials.
        loss: turns an output train into logits and a loss.
        encoder: turns a batch into an input train.
        batch_size: how many trials run at once; 256, or all where there are fewer, unless it is given. The last batch
            is filled up with trials that count nowhere, so results are exact over trials, and depend on the size by
            rounding alone (an encoder that draws at random, such as `Rate`, does so per batch).
        mesh: the devices that share a batch; one unless it is given.
        piece_steps: run trials in pieces of so many steps, as `TrainerSettings.piece_steps` does.
    """

    def __init__(
        self,
        model: Any,
        split: LabelledTrials,
        *,
        loss: Any = None,
        encoder: Any = None,
        batch_size: int | None = None,
        mesh: Mesh | None = None,
        piece_steps: int | None = None,
    ):
        self.mesh = devices.mesh_of(1, 1) if mesh is None else mesh
        self.model = nnx.clone(model)
        self.model.eval()
        self.split, self.piece_steps = split, piece_steps
        self.loss, self.encoder = loss or CrossEntropy(), encoder or Direct()
        size = min(256, len(split)) if batch_size is None else batch_size
        size = -(-size // self.mesh.size) * self.mesh.size
        self._batches = step.batches(split, size, self.mesh)
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._spikes: bool | None = None

    def predict(self) -> Predictions:
        """Return what the model says of every trial."""
        return self._predict(self.model, None)

    def disturbed(self, kind: str, value: float, *, seed: int = 0) -> Predictions:
        """Return what the model says of every trial where something is not as it was in training.

        Args:
            kind: what is disturbed, one of these:

                - "noise": Gaussian noise is added to the encoded train; see `disturbances.noise`.
                - "flip": entries of an encoded spike train are flipped; see `disturbances.flip`.
                - "jitter_ms": spikes of an encoded spike train are moved in time; see `disturbances.jitter`.
                - "drop": spikes of hidden neurons are lost; see `disturbances.lose_spikes`.
                - "bits": weights are rounded; see `disturbances.quantized`.
                - "dt_ms": the model, with its time constants in ms, is integrated in another time step. The train is
                  encoded in the time step of the training and put on the new grid with its duration in ms kept, by
                  `disturbances.resampled`. Where a spike is a current of one step, as between stock layers and
                  neurons without synapses, the step is part of the model and its charge changes with it.

            value: how much: the standard deviation, probability, time in ms or number of bits.
            seed: of everything that is drawn.

        Raises:
            DomainError: there is no such kind, the value makes no sense for it, or spikes are disturbed in a train that
                has none.
        """
        disturbances.check(kind, value)
        if kind in ("flip", "jitter_ms") and not self.spikes:
            raise DomainError(f"{kind}={value:g} disturbs spikes, and the encoded train is analog. Write `noise=...`.")
        if kind == "bits":
            return self._predict(disturbances.quantized(self.model, round(value)), None)
        return self._predict(self.model, kind, value, seed)

    @property
    def spikes(self) -> bool:
        """Whether the encoded train consists of zeros and ones alone."""
        if self._spikes is None:
            check = jax.jit(lambda batch: (lambda x: ((x == 0) | (x == 1)).all())(self._encoded(batch)[0]))
            self._spikes = all(bool(check(batch)) for batch in self._batches)
        return self._spikes

    def operations(self) -> operations.Operations:
        """Return the synaptic operations per trial; see `Operations`."""
        graphdef, state = nnx.split(self.model)
        first = next(iter(self._batches))
        shapes = operations.input_shapes(self.model, lambda model: self._forward(model, self._encoded(first)[0]))

        def count(state: Any, batch: step.Data) -> Any:
            model = nnx.merge(graphdef, state, copy=True)
            with shared(self.mesh):
                x, mask = self._encoded(batch)
                valid = mask & (batch["weight"] > 0)
                operations.count_in(model, shapes, valid)
                self._forward(model, x)
            return operations.counts(model, shapes), len(x), valid.sum()

        program = jax.jit(count, out_shardings=devices.whole(self.mesh))
        batches = self._over_batches(lambda batch: program(state, batch))
        return operations.summed(
            self.model,
            [counts for counts, _, _ in batches],
            steps=int(batches[0][1]),
            valid=sum(int(valid) for _, _, valid in batches),
            trials=len(self.split),
        )

    def _predict(self, model: Any, kind: str | None, value: float = 0.0, seed: int = 0) -> Predictions:
        graphdef, state = nnx.split(model)
        name = (kind, value) if kind == "dt_ms" else kind  # a time step is part of the program
        if name not in self._programs:
            self._programs[name] = self._program(graphdef, kind, value)
        key, strength = jax.random.key(seed), np.float32(value)
        outputs = self._over_batches(lambda batch: self._programs[name](state, batch, key, strength))
        logits, losses = (np.concatenate(x)[: len(self.split)] for x in zip(*outputs, strict=True))
        return Predictions(self.split.y, logits, losses)

    def _over_batches(self, program: Callable[[step.Data], Any]) -> list[Any]:
        """Return what a program makes of each batch, on the host."""
        found: list[Any] = []
        for batch in self._batches:
            found.append(program(batch))
            devices.keep_up(found)
        return jax.device_get(found)

    def _program(self, graphdef: Any, kind: str | None, value: float) -> Callable[..., Any]:
        dt_ms = environ.dt_in_seconds() * 1e3
        new_dt_ms = value if kind == "dt_ms" else dt_ms
        spikes = kind == "dt_ms" and self.spikes

        def run(state: Any, batch: step.Data, key: jax.Array, strength: jax.Array) -> Any:
            model = nnx.merge(graphdef, state, copy=True)
            keys = jax.vmap(lambda trial: jax.random.fold_in(key, trial))(batch["trial"])
            with shared(self.mesh):
                x, mask = self._encoded(batch)
                if kind in disturbances.ON_TRAIN:
                    x = disturbances.ON_TRAIN[kind](x, mask, keys, strength)
                if kind == "drop":
                    disturbances.lose_spikes(model, keys, strength)
                if kind == "dt_ms":
                    x, mask = disturbances.resampled(x, mask, new_dt_ms / dt_ms, spikes=spikes)
                with environ.context(dt=new_dt_ms * u.ms):
                    logits = self.loss.logits(self._forward(model, x), mask)
                return logits, self.loss.per_trial(logits, batch["y"])

        return jax.jit(run, out_shardings=devices.whole(self.mesh))

    def _encoded(self, batch: step.Data) -> tuple[jax.Array, jax.Array]:
        return step.encoded(self.encoder, batch)

    def _forward(self, model: Any, x: jax.Array) -> jax.Array:
        if self.piece_steps is None:
            return model(x)
        return unroll_in_pieces(model, x, steps=self.piece_steps)


def sweep(evaluation: Evaluation, kind: str, values: Sequence[float], *, seed: int = 0) -> list[dict[str, float]]:
    """Return accuracy and loss at each value of a disturbance; see `Evaluation.disturbed`."""
    for value in values:
        disturbances.check(kind, value)
    rows = []
    for value in values:
        found = evaluation.disturbed(kind, value, seed=seed)
        rows.append({"value": value, "accuracy": found.accuracy, "loss": found.loss})
    return rows
