"""What the spiking layers of a model did in a batch: rates and, of hidden ones, synchrony and potentials if asked for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import ConfigError
from spiketrain.regularizers import Moments, firing_rates, outside, spike_counts
from spiketrain.state import SpikeTrain, StateTrain
from spiketrain.units import magnitude


class Watched(NamedTuple):
    """What of hidden layers is measured besides their rates.

    Args:
        synchrony: whether `spiketrain.regularizers.synchrony` is.
        membrane: the bounds of `spiketrain.regularizers.membrane_bounds`, where that is measured. The potentials of all
            steps are kept for it.
    """

    synchrony: bool = False
    membrane: tuple[float, float] | None = None


class Hidden(NamedTuple):
    """What a hidden layer did in a batch, or the neurons of a readout.

    Args:
        rates: of every neuron in Hz, `*size`.
        synchrony: see `spiketrain.regularizers.synchrony`; None unless it is watched, and of a readout.
        membrane: see `spiketrain.regularizers.membrane_bounds`; None unless it is watched, and of a readout.
    """

    rates: jax.Array
    synchrony: jax.Array | None = None
    membrane: jax.Array | None = None


class Sums(NamedTuple):
    """What is summed over the steps of a piece of a trial, with an axis of one in front."""

    counts: jax.Array
    moments: Moments | None
    outside: jax.Array | None


RATES_ONLY = Watched()


def is_output(name: str) -> bool:
    """Return whether a layer of that name belongs to the readout of a model."""
    return name.partition("/")[0] == "readout"


def forward(
    model: Any, x: jax.Array, mask: jax.Array, *, watched: Watched = RATES_ONLY
) -> tuple[jax.Array, dict[str, Sums]]:
    """Run a train-level model, on a trial or a piece of one; return its output and what its spiking layers did.

    Of the neurons of a readout only rates are measured. Of a layer only sums over the steps of `mask` leave a piece; its
    train would be as long as the trial.

    Raises:
        ConfigError: potentials are watched, and a spiking layer has none.
    """
    masked = {"mask": mask} if getattr(model, "takes_mask", False) else {}
    kinds = (SpikeTrain, StateTrain) if watched.membrane else (SpikeTrain,)
    out, *captured = nnx.capture(type(model).__call__, *kinds)(model, x, **masked)
    potentials = _potentials(captured[1]) if watched.membrane else {}
    sums = {}
    for path, train in nnx.to_flat_state(captured[0]):
        spikes, name = train.get_value()[0], "/".join(map(str, path[:-1]))
        of_layer = RATES_ONLY if is_output(name) else watched
        moments = Moments.of(spikes, mask) if of_layer.synchrony else None
        excess = None
        if of_layer.membrane:
            if name not in potentials:
                raise ConfigError(f"loss.membrane_weight: layer {name} has no membrane potential V. Write 0.")
            excess = outside(potentials[name], mask, *of_layer.membrane)
        sums[name] = jax.tree.map(lambda x: x[None], Sums(spike_counts(spikes, mask), moments, excess))
    return out, sums


def _potentials(states: Any) -> dict[str, jax.Array]:
    """Return the trains of membrane potentials by layer."""
    return {
        "/".join(map(str, path[:-1])): magnitude(train.get_value()[0])
        for path, train in nnx.to_flat_state(states)
        if str(path[-1]).rpartition("/")[-1] == "V"
    }


def of_batch(sums: Mapping[str, Sums], mask: jax.Array) -> dict[str, Hidden]:
    """Return what hidden layers did in a batch, from the sums of the pieces of its trials."""
    return {name: _of_layer(jax.tree.map(lambda x: x.sum(0), pieces), mask) for name, pieces in sums.items()}


def _of_layer(total: Sums, mask: jax.Array) -> Hidden:
    return Hidden(
        firing_rates(total.counts, mask),
        None if total.moments is None else total.moments.synchrony(mask),
        None if total.outside is None else total.outside / jnp.maximum(mask.sum() * total.counts.size, 1),
    )
