"""The pure functions of training: one optimizer step, one batch of evaluation, one permutation."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from spiketrain import environ, hidden, metrics
from spiketrain.data.dataset import LabelledTrials
from spiketrain.data.event_split import EventSplit
from spiketrain.data.event_trials import EventTrials
from spiketrain.mesh import shared
from spiketrain.training import devices, event_batches
from spiketrain.training.event_batches import EventBatches, StreamedBatches, events_on_devices
from spiketrain.training.order import stream
from spiketrain.training.state import Layout, TrainState
from spiketrain.unroll import unroll_in_pieces

Data = dict[str, jax.Array]
SplitData = Data | EventTrials
Batches = list[Data] | EventBatches | StreamedBatches

BEHIND_THE_ENCODER = 2**31 - 1  # what the encoder folds into its key counts from zero


@dataclass(frozen=True)
class Functions:
    """What turns a batch into a loss: the model's layout, the encoder (which `draws` in training), the loss, the optimizer.

    Every batch is divided among the devices of `mesh`, after it was cut into `accumulate` parts, whose gradients are
    averaged; leaves lie as `placed` says. A step whose loss or gradient is not finite is not taken: where training
    `skips` it, it is counted; otherwise none is taken any more, so that its cause can be looked at.

    An `augmentation` changes what the encoder made of a training batch, and turns its labels into distributions over
    `classes`; evaluation never sees it. The `seed` of an ensemble is a tuple. Leaves, orders and sums then have a leading
    axis of members, which are computed side by side in one program.
    """

    layout: Layout
    encoder: Callable[..., Any]
    loss: Any
    tx: optax.GradientTransformation
    mesh: Mesh
    placed: list[NamedSharding]
    seed: int | tuple[int, ...]
    batch_size: int
    piece_steps: int | None = None
    truncate: bool = False
    draws: bool = True
    accumulate: int = 1
    ema_decay: float = 0.0
    skips: bool = False
    donates: bool = True
    residuals: str = "float32"
    augmentation: Any = None
    classes: int = 0

    def train_step(self) -> Callable[..., Any]:
        """Return `step(leaves, data, order, steps=None)`, jitted: one optimizer step on the next batch of `order`.

        It donates `leaves`, unless a debugger wants them again, and returns them with the batch's sums. `steps` cuts off
        what is padding in every trial of the batch; each value of it is a program of its own. The seed is an argument of
        the program, so that runs which differ in nothing else share it in the cache.
        """
        return partial(self._jitted("steps"), self._seed())

    def _jitted(self, *static: str) -> Any:
        given, whole = (1,) if self.donates else (), devices.whole(self.mesh)
        return jax.jit(
            self._train_step, donate_argnums=given, static_argnames=static, out_shardings=(self.placed, whole)
        )

    def _seed(self) -> jax.Array:
        return devices.put(np.asarray(self.seed, np.int32), devices.whole(self.mesh))

    def of_members(self, f: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
        """Return `f` for all members of an ensemble at once; those of its arguments that differ have axis 0."""
        return f if isinstance(self.seed, int) else jax.vmap(f, in_axes=axes)

    def _train_step(
        self, seed: jax.Array, leaves: list[jax.Array], data: SplitData, order: jax.Array, steps: int | None = None
    ) -> tuple[list[jax.Array], metrics.Packed]:
        """Take the step of one model, or of each member of an ensemble."""
        return self.of_members(partial(self._one_step, steps=steps), 0, 0, None, 0)(seed, leaves, data, order)

    def _one_step(
        self, seed: jax.Array, leaves: list[jax.Array], data: SplitData, order: jax.Array, steps: int | None
    ) -> tuple[list[jax.Array], metrics.Packed]:
        state = self.layout.state(leaves)
        rows = self.rows(order, state.step)
        gradient, rest, sums = self._gradient(state, data, rows, self._key(seed, state.step), steps)
        norm = optax.tree.norm(gradient)
        sums["gradient_norm"] = (norm, jnp.ones_like(norm))
        updates, optimizer = self.tx.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda x: x * state.rate, updates))
        ema = state.ema
        if ema is not None:
            ema = jax.tree.map(lambda mean, new: mean + (1 - self.ema_decay) * (new - mean), ema, params)
        finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"][0])
        taken, bad = finite & (state.bad < 0), state.bad
        if self.skips:
            sums = {name: jax.tree.map(lambda x: jnp.where(finite, x, 0), pair) for name, pair in sums.items()}
            sums["skipped"] = (1.0 - finite, jnp.ones_like(norm))
        else:
            bad = jnp.where((bad < 0) & ~finite, state.step, bad)
        new = TrainState(params, rest, optimizer, state.step, state.rate, bad, ema)
        kept = state._replace(bad=bad)
        after = jax.tree.map(lambda new, old: jnp.where(taken, new, old), new, kept)
        return jax.tree.leaves(after._replace(step=state.step + 1)), metrics.Packed.of(sums)

    def _key(self, seed: jax.Array, at: Any) -> jax.Array | None:
        """Return the key of what is drawn in a step, unless nothing is."""
        return jax.random.fold_in(stream(seed, "encoder"), at) if self.draws else None

    def rows(self, order: jax.Array, at: Any) -> jax.Array:
        """Return the trials of the batch of a step."""
        position = at % (order.shape[-1] // self.batch_size)
        return jax.lax.dynamic_slice_in_dim(order, position * self.batch_size, self.batch_size, axis=-1)

    def gradient_at(self, leaves: list[jax.Array], data: SplitData, order: jax.Array, at: int) -> Any:
        """Return the gradient of the step `at`, whatever the number of steps in `leaves`."""

        def gradient(seed: jax.Array, leaves: list[jax.Array], data: SplitData, rows: jax.Array) -> Any:
            return self._gradient(self.layout.state(leaves), data, rows, self._key(seed, at), None)[0]

        return self.of_members(gradient, 0, 0, None, 0)(self._seed(), leaves, data, self.rows(order, at))

    def _gradient(
        self, state: TrainState, data: SplitData, rows: jax.Array, key: jax.Array | None, steps: int | None
    ) -> tuple[Any, Any, metrics.Sums]:
        """Return the gradient, what else of the model has changed, and the sums, in `accumulate` parts of the batch."""

        def of_part(rest: Any, rows: jax.Array, key: jax.Array | None) -> tuple[Any, Any, metrics.Sums]:
            batch = batch_of(data, rows, steps, self.mesh)

            def loss_of(params):
                model = self.layout.model(*devices.gathered((params, rest), self.mesh), training=True)
                total, sums = self._loss(model, batch, key)
                return total, (nnx.state(model, nnx.Not(nnx.Param)), sums)

            with shared(self.mesh):
                gradient, (after, sums) = jax.grad(loss_of, has_aux=True)(state.params)
            return gradient, after, sums

        if self.accumulate == 1:
            return of_part(state.rest, rows, key)

        def add(carry: Any, part: Any) -> tuple[Any, metrics.Sums]:
            total, rest = carry
            n, rows = part
            gradient, rest, sums = of_part(rest, rows, None if key is None else jax.random.fold_in(key, n))
            return (jax.tree.map(jnp.add, total, gradient), rest), sums

        parts = jnp.arange(self.accumulate), rows.reshape(self.accumulate, -1)
        zero = jax.tree.map(jnp.zeros_like, state.params)
        (total, rest), sums = jax.lax.scan(add, (zero, state.rest), parts)
        gradient = jax.tree.map(lambda x: x / self.accumulate, total)
        return gradient, rest, jax.tree.map(lambda x: x.sum(0), sums)

    def temporaries(self, leaves: list[jax.Array], data: SplitData, order: jax.Array, piece_steps: int | None) -> int:
        """Return the bytes that a step takes on each device besides arguments and results, with trials in such pieces."""
        step = replace(self, piece_steps=piece_steps)._jitted()
        memory: Any = step.lower(self._seed(), leaves, data, order).compile().memory_analysis()
        return memory.temp_size_in_bytes

    def length(self, data: SplitData) -> int:
        """Return the number of time steps of an encoded trial."""

        def encoded(data: SplitData) -> jax.Array:
            first = data["x"][:1] if isinstance(data, dict) else data.batch(jnp.zeros(1, jnp.int32))["x"]
            x = first.swapaxes(0, 1)
            return self.encoder(x, jnp.ones(x.shape[:2], bool), jax.random.key(0) if self.draws else None)[0]

        return jax.eval_shape(encoded, data).shape[0]

    def evaluate_batch(self) -> Callable[..., Any]:
        """Return `evaluate(leaves, batch)`, jitted: the sums over one batch."""

        def evaluate(leaves: list[jax.Array], batch: Data) -> metrics.Packed:
            with shared(self.mesh):
                model = self.layout.evaluation_model(devices.gathered(leaves, self.mesh))
                return metrics.Packed.of(self._loss(model, batch, None)[1])

        return jax.jit(self.of_members(evaluate, 0, None), out_shardings=devices.whole(self.mesh))

    def _loss(self, model: Any, batch: Data, key: jax.Array | None) -> tuple[jax.Array, metrics.Sums]:
        (x, mask), y = encoded(self.encoder, batch, key), batch["y"]
        if self.augmentation is not None and key is not None:
            y = jax.nn.one_hot(y, self.classes)
            x, mask, y = self.augmentation(x, mask, y, jax.random.fold_in(key, BEHIND_THE_ENCODER))
        counted = mask & (batch["weight"] > 0)
        halved = environ.context(residuals=self.residuals) if self.residuals != "float32" else nullcontext()
        with halved:  # else what is set around the trainer holds
            out, sums_of_layers = self._forward(model, x, counted)
        logits = self.loss.logits(out, mask)
        per_trial = self.loss.per_trial(logits, y)
        sums = metrics.classification(logits, y, per_trial, batch["weight"])
        layers = hidden.of_batch(sums_of_layers, counted)
        sums |= metrics.activity(layers, counted)
        total = (per_trial * batch["weight"]).sum() / batch["weight"].sum() + self.loss.penalty(layers)
        return total, sums

    def _forward(self, model: Any, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, dict[str, hidden.Sums]]:
        forward = partial(hidden.forward, watched=self.loss.watched())
        if self.piece_steps is None:
            return forward(model, x, mask)
        return unroll_in_pieces(model, x, mask, steps=self.piece_steps, truncate=self.truncate, method=forward)


def encoded(encoder: Callable[..., Any], batch: Data, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Return the input train `(T, B, channels)` of a batch, and which steps of each trial are no padding."""
    x = batch["x"].swapaxes(0, 1)
    return encoder(x, jnp.arange(len(x))[:, None] < batch["lengths"], key)


def on_devices(split: LabelledTrials, mesh: Mesh) -> SplitData:
    """Put a split on the devices: all of it on each, which takes its part of a batch from it, or a part on each.

    Events are on each as a whole.
    """
    if isinstance(split, EventSplit):
        return events_on_devices(split, mesh)
    if not devices.data_is_divided():
        return devices.put(_arrays(split), devices.whole(mesh))
    rows = np.arange(-(-len(split) // mesh.size) * mesh.size)  # as many on each; no order holds what is added
    return devices.put(_arrays(split.take(rows % len(split))), devices.by_trial(mesh))


def batch_of(data: SplitData, rows: jax.Array, steps: int | None, mesh: Mesh) -> Data:
    """Return some trials of a split, divided among the devices, within a compiled function."""
    if isinstance(data, EventTrials):
        return event_batches.taken(data, rows, steps, mesh)
    taken = partial(devices.taken, rows=rows, mesh=mesh)
    return {name: taken(a, steps=steps if name == "x" else None) for name, a in data.items()}


def batches(split: LabelledTrials, size: int, mesh: Mesh) -> Batches:
    """Put a split on the devices in batches of one size; the last is filled up with trials of weight zero.

    `trial` is the place of a trial in the split, beyond the last where a batch is filled up. What streams is put there
    one batch after the other.
    """
    if split.streams:
        return StreamedBatches(split, size, mesh)
    if isinstance(split, EventSplit):
        return EventBatches(split, size, mesh)
    rows = np.arange(-(-len(split) // size) * size)
    whole = _arrays(split.take(rows % len(split))) | {"weight": (rows < len(split)).astype(np.float32), "trial": rows}
    parts = [{k: a[i : i + size] for k, a in whole.items()} for i in range(0, len(rows), size)]
    return [devices.put(part, devices.by_trial(mesh)) for part in parts]


def _arrays(split: Any) -> dict[str, np.ndarray]:
    return {"x": split.x, "lengths": split.lengths, "y": split.y, "weight": np.ones(len(split), np.float32)}
