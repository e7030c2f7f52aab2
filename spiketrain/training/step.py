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

from spiketrain import environ, metrics
from spiketrain.data.dataset import Split
from spiketrain.errors import DataError
from spiketrain.state import SpikeTrain
from spiketrain.training.state import Layout, TrainState
from spiketrain.unroll import unroll_in_pieces

Data = dict[str, jax.Array]

# In how many batches trials are sorted by length: many, and lengths are alike in a batch; few, and chance mixes trials.
WINDOW = 16


@dataclass(frozen=True)
class Functions:
    """What turns a batch into a loss: the model's layout, the encoder (which `draws` in training), the loss, the optimizer."""

    layout: Layout
    encoder: Callable[..., Any]
    loss: Any
    tx: optax.GradientTransformation
    seed: int
    batch_size: int
    piece_steps: int | None = None
    truncate: bool = False
    draws: bool = True
    residuals: str = "float32"

    def train_step(self) -> Callable[..., Any]:
        """Return `step(leaves, data, order, steps=None)`, jitted: one optimizer step on the next batch of `order`.

        It donates `leaves` and returns them with the batch's sums. `steps` cuts off what is padding in every trial of
        the batch; each value of it is a program of its own. The seed is an argument of the program, so that runs which
        differ in nothing else share it in the cache.
        """
        jitted = jax.jit(self._train_step, donate_argnums=1, static_argnames="steps")
        return partial(jitted, jnp.asarray(self.seed, jnp.int32))

    def _train_step(
        self, seed: jax.Array, leaves: list[jax.Array], data: Data, order: jax.Array, steps: int | None = None
    ) -> tuple[Any, Any]:
        state = self.layout.state(leaves)
        position = state.step % (len(order) // self.batch_size)
        rows = jax.lax.dynamic_slice_in_dim(order, position * self.batch_size, self.batch_size)
        batch = {name: a[rows, :steps] if name == "x" else a[rows] for name, a in data.items()}
        key = jax.random.fold_in(_stream(seed, "encoder"), state.step) if self.draws else None

        def loss_of(params):
            model = self.layout.model(params, state.rest, training=True)
            total, sums = self._loss(model, batch, key)
            return total, (nnx.state(model, nnx.Not(nnx.Param)), sums)

        gradient, (rest, sums) = jax.grad(loss_of, has_aux=True)(state.params)
        updates, optimizer = self.tx.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(gradient)
        sums["gradient_norm"] = (norm, jnp.ones_like(norm))
        return jax.tree.leaves(TrainState(params, rest, optimizer, state.step + 1)), sums

    def temporaries(self, leaves: list[jax.Array], data: Data, order: jax.Array, piece_steps: int | None) -> int:
        """Return the bytes that a step takes besides arguments and results, where trials come in such pieces."""
        step = replace(self, piece_steps=piece_steps)._train_step
        lowered = jax.jit(step, donate_argnums=1).lower(jnp.asarray(self.seed, jnp.int32), leaves, data, order)
        memory: Any = lowered.compile().memory_analysis()
        return memory.temp_size_in_bytes

    def length(self, data: Data) -> int:
        """Return the number of time steps of an encoded trial."""

        def encoded(data: Data) -> jax.Array:
            x = data["x"][:1].swapaxes(0, 1)
            return self.encoder(x, jnp.ones(x.shape[:2], bool), jax.random.key(0) if self.draws else None)[0]

        return jax.eval_shape(encoded, data).shape[0]

    def evaluate_batch(self) -> Callable[..., Any]:
        """Return `evaluate(leaves, batch)`, jitted: the sums over one batch."""

        def evaluate(leaves: list[jax.Array], batch: Data) -> metrics.Sums:
            return self._loss(self.layout.evaluation_model(leaves), batch, None)[1]

        return jax.jit(evaluate)

    def _loss(self, model: Any, batch: Data, key: jax.Array | None) -> tuple[jax.Array, metrics.Sums]:
        x = batch["x"].swapaxes(0, 1)
        mask = jnp.arange(x.shape[0])[:, None] < batch["lengths"]
        x, mask = self.encoder(x, mask, key)
        halved = environ.context(residuals=self.residuals) if self.residuals != "float32" else nullcontext()
        with halved:  # else what is set around the trainer holds
            out, hidden = self._forward(model, x)
        logits = self.loss.logits(out, mask)
        per_trial = self.loss.per_trial(logits, batch["y"])
        sums = metrics.classification(logits, batch["y"], per_trial, batch["weight"])
        sums |= metrics.activity(hidden, mask & (batch["weight"] > 0))
        total = (per_trial * batch["weight"]).sum() / batch["weight"].sum() + self.loss.penalty(hidden, mask)
        return total, sums

    def _forward(self, model: Any, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.piece_steps is None:
            return forward(model, x)
        return unroll_in_pieces(model, x, steps=self.piece_steps, truncate=self.truncate, method=forward)


def forward(model: Any, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Run a train-level model and return its output with the hidden spike trains, by layer."""
    out, captured = nnx.capture(type(model).__call__, SpikeTrain)(model, x)
    hidden = {"/".join(map(str, path[:-1])): s.get_value()[0] for path, s in nnx.to_flat_state(captured)}
    return out, hidden


def on_device(split: Split) -> Data:
    """Put a whole split on the device."""
    return jax.device_put(
        {"x": split.x, "lengths": split.lengths, "y": split.y, "weight": np.ones(len(split), np.float32)}
    )


def batches(split: Split, size: int) -> list[Data]:
    """Put a split on the device in batches of one size; the last is filled up with trials of weight zero."""
    rows = np.arange(-(-len(split) // size) * size)
    weight, rows = (rows < len(split)).astype(np.float32), rows % len(split)
    whole = {"x": split.x[rows], "lengths": split.lengths[rows], "y": split.y[rows], "weight": weight}
    return [jax.device_put({k: a[i : i + size] for k, a in whole.items()}) for i in range(0, len(rows), size)]


@partial(jax.jit, static_argnums=2)
def order_of_epoch(seed: int, epoch: int, trials: int) -> jax.Array:
    """Return the permutation of an epoch, a function of (seed, epoch) alone."""
    return jax.random.permutation(jax.random.fold_in(_stream(seed, "order"), epoch), trials)


@partial(jax.jit, static_argnums=3)
def order_by_length(seed: int, epoch: int, lengths: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Return the permutation of an epoch with trials of similar length in a batch, and each batch's longest trial.

    The trials of every `WINDOW` batches are sorted by length, and then the batches of the epoch are shuffled. The
    trials that fill no batch are left out before, whatever their length.
    """
    batches = len(lengths) // batch_size
    order = order_of_epoch(seed, epoch, len(lengths))[: batches * batch_size]
    window = jnp.arange(len(order)) // (WINDOW * batch_size)
    order = order[jnp.lexsort((lengths[order], window))].reshape(batches, batch_size)
    order = order[jax.random.permutation(jax.random.fold_in(_stream(seed, "batches"), epoch), batches)]
    return order.reshape(-1), lengths[order].max(axis=1)


def _stream(seed: Any, purpose: str) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), ("order", "encoder", "batches").index(purpose))


def steps_per_epoch(trials: int, batch_size: int) -> int:
    """Return the number of full batches; what is left over in one epoch falls into others by chance."""
    if batch_size > trials:
        raise DataError(
            f"trainer.batch_size = {batch_size} is larger than the {trials} training trials. "
            f"Write, for example, `trainer.batch_size={trials}`."
        )
    return trials // batch_size
