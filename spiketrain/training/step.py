"""The pure functions of training: one optimizer step, one batch of evaluation, one permutation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from spiketrain import metrics
from spiketrain.data.dataset import Split
from spiketrain.errors import DataError
from spiketrain.state import SpikeTrain
from spiketrain.training.state import Layout, TrainState
from spiketrain.unroll import unroll_in_pieces

Data = dict[str, jax.Array]


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

    def train_step(self) -> Callable[..., Any]:
        """Return `step(leaves, data, order)`, jitted, which donates `leaves` and returns them with the batch's sums."""
        return jax.jit(self._train_step, donate_argnums=0)

    def _train_step(self, leaves: list[jax.Array], data: Data, order: jax.Array) -> tuple[Any, Any]:
        state = self.layout.state(leaves)
        position = state.step % (len(order) // self.batch_size)
        rows = jax.lax.dynamic_slice_in_dim(order, position * self.batch_size, self.batch_size)
        batch = jax.tree.map(lambda a: a[rows], data)
        key = jax.random.fold_in(_stream(self.seed, "encoder"), state.step) if self.draws else None

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

    def evaluate_batch(self) -> Callable[..., Any]:
        """Return `evaluate(leaves, batch)`, jitted: the sums over one batch."""
        return jax.jit(lambda leaves, batch: self._loss(self.layout.evaluation_model(leaves), batch, None)[1])

    def _loss(self, model: Any, batch: Data, key: jax.Array | None) -> tuple[jax.Array, metrics.Sums]:
        x = batch["x"].swapaxes(0, 1)
        mask = jnp.arange(x.shape[0])[:, None] < batch["lengths"]
        x, mask = self.encoder(x, mask, key)
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


def _stream(seed: Any, purpose: str) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), ("order", "encoder").index(purpose))


def steps_per_epoch(trials: int, batch_size: int) -> int:
    """Return the number of full batches; what is left over in one epoch falls into others by chance."""
    if batch_size > trials:
        raise DataError(
            f"trainer.batch_size = {batch_size} is larger than the {trials} training trials. "
            f"Write, for example, `trainer.batch_size={trials}`."
        )
    return trials // batch_size
