"""Weights that start where neurons fire: scaled layer by layer until a first batch makes each fire at a given rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.layers.readout import PopulationReadout
from spiketrain.regularizers import firing_rates, spike_counts

SPAN = 12.0  # powers of two, up and down, among which the factor is sought
HALVINGS = 24
CLOSE = 0.02  # of the rate that is aimed at
DRIVES = ("kernel", "weight", "scale")  # of a linear layer, a comm, a normalisation


class Aimed(NamedTuple):
    """What was done for one layer: which parameter was multiplied by what, and the rate it leads to."""

    parameter: str
    factor: float
    rate_hz: float


def aim_at_rate(model: Any, x: jax.Array, mask: jax.Array | None = None, *, rate_hz: float = 10.0) -> dict[str, Aimed]:
    r"""Multiply the weights before each spiking layer by the factor with which it fires at `rate_hz` on average.

    Layer by layer, from the input on, so that each sees what those before it will send. The factor is found by
    bisection on the mean rate over neurons, trials and valid steps, to within 2 % or to what a batch resolves. What is
    multiplied is the nearest parameter before the neurons: the kernel of a linear layer, the weight of a comm, the
    scale of a normalisation. Signs and zeros stay, and so do recurrent weights. The neurons of a population readout are
    the last layer. Neurons inside an attention block are left as they are.

    Args:
        model: a `Sequential`, a `Stack` or a `SpikingNet`; changed in place. In training mode (`model.train()`)
            normalisation is by this batch.
        x: the trains of a batch, `(T, B, C)`, behind the encoder.
        mask: `(T, B)`, true at the steps that belong to a trial; all of them unless it is given.
        rate_hz: the mean rate to aim at, above zero and below one spike per step.

    Returns:
        What was done, by the name of the spiking layer.

    Raises:
        DomainError: the rate is none of that range, or no factor between $2^{-12}$ and $2^{12}$ leads to it: what comes
            before the layer is silent or inhibits it, or it fires by itself.

    Reference: Mishkin and Matas (2016), https://arxiv.org/abs/1511.06422, for variances in place of rates; Rossbroich,
    Gygax and Zenke (2022), https://arxiv.org/abs/2206.10226, for an analytic way, of LIF neurons alone.
    """
    mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
    highest = float(firing_rates(mask.sum(), mask))
    if not 0 < rate_hz < highest:
        raise DomainError(
            f"aim_at_rate(rate_hz=...) must lie between 0 and {highest:g}, one spike per step, got {rate_hz}."
        )
    found: dict[str, Aimed] = {}
    _aim(model, x, mask, rate_hz, "", found)
    return found


def _aim(stack: Any, x: jax.Array, mask: jax.Array, rate_hz: float, prefix: str, found: dict[str, Aimed]) -> None:
    waiting: list[tuple[str, Any]] = []  # since the last parameter or the last spikes; x is what the first of them gets
    for name, layer in _layers(stack):
        if hasattr(layer, "named_layers"):
            x, waiting = _through([layer for _, layer in waiting], x, mask), []
            for path, inner in ((f"{prefix}{name}/", layer), (f"{prefix}{name}/shortcut/", _shortcut(layer))):
                if inner is not None:
                    _aim(inner, x, mask, rate_hz, path, found)
            x = _through([layer], x, mask)
        elif hasattr(type(layer), "spikes"):
            segment = [*(layer for _, layer in waiting), layer]
            if waiting and (drive := _drive(waiting[0][1])):
                factor, rate, x = _factor(segment, x, mask, rate_hz, prefix + name, prefix + waiting[0][0])
                weight = getattr(waiting[0][1], drive)
                weight.set_raw_value(weight.get_raw_value() * factor)
                found[prefix + name] = Aimed(f"{prefix}{waiting[0][0]}/{drive}", factor, rate)
            else:
                x = _through(segment, x, mask)
            waiting = []
        else:
            if _drive(layer):
                x, waiting = _through([layer for _, layer in waiting], x, mask), []
            waiting.append((name, layer))


def _layers(stack: Any) -> list[tuple[str, Any]]:
    """Return the layers with their names, in order, those of a readout that spikes at the end."""
    readout = getattr(stack, "readout", None)
    if not isinstance(readout, PopulationReadout):
        return stack.named_layers()
    return [*stack.named_layers(), ("readout/linear", readout.linear), ("readout/spiking", readout.spiking)]


def _factor(
    segment: list[Any], x: jax.Array, mask: jax.Array, rate_hz: float, name: str, weights: str
) -> tuple[float, float, jax.Array]:
    """Return the factor of the first parameter of `segment`, the rate behind it and its spikes."""
    graphdef, state = nnx.split(nnx.List(segment))

    @jax.jit
    def fired(state: Any, power: float, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        parts = nnx.merge(graphdef, state, copy=True)
        weight = getattr(parts[0], _drive(parts[0]) or "")
        weight.set_raw_value(weight.get_raw_value() * 2**power)
        spikes = _in_order(parts, x, mask)
        return firing_rates(spike_counts(spikes, mask), mask).mean(), spikes

    low, high = -SPAN, SPAN
    least, most = (float(fired(state, power, x, mask)[0]) for power in (low, high))
    if not least <= rate_hz <= most:
        why = "what comes before is silent or inhibits it" if most < rate_hz else "it fires by itself"
        raise DomainError(
            f"aim_at_rate(rate_hz={rate_hz:g}): layer {name} fires at {least:.3g} to {most:.3g} Hz, however strong "
            f"{weights} is: {why}. Aim at another rate, or change the layers up to it."
        )
    for _ in range(HALVINGS):
        power = (low + high) / 2
        found, spikes = fired(state, power, x, mask)
        rate = float(found)
        if abs(rate - rate_hz) <= CLOSE * rate_hz:
            break
        low, high = (power, high) if rate < rate_hz else (low, power)
    return 2.0**power, rate, spikes


def _through(layers: list[Any], x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return what layers make of a train, and leave no trace in them."""
    if not layers:
        return x
    graphdef, state = nnx.split(nnx.List(layers))
    return jax.jit(lambda state, x, mask: _in_order(nnx.merge(graphdef, state, copy=True), x, mask))(state, x, mask)


def _in_order(layers: Any, x: jax.Array, mask: jax.Array) -> jax.Array:
    for layer in layers:
        x = layer(x, mask=mask) if getattr(layer, "takes_mask", False) else layer(x)
    return x


def _drive(layer: Any) -> str | None:
    """Return the name of the parameter that says how strongly a layer drives the next one."""
    return next((name for name in DRIVES if isinstance(getattr(layer, name, None), nnx.Param)), None)


def _shortcut(block: Any) -> Any:
    return getattr(block, "shortcut", None)
