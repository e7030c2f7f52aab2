"""What several test modules need: stepping by hand, bare numbers, the trains of all States."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import spiketrain as st


def bare(x, unit=None):
    """Return plain numpy, measured in `unit` where `x` has one."""
    if isinstance(x, u.Quantity):
        x = x.mantissa if unit is None else x.to_decimal(unit)
    return np.asarray(x)


def by_hand(model, *inputs, batch=()):
    """Step a model through a trial in Python, leaving the last State in the module."""
    length = len(jax.tree.leaves(inputs)[0])
    model.init_state(batch)
    outputs = [model.update(*jax.tree.map(lambda x, n=n: x[n], inputs)) for n in range(length)]
    return jax.tree.map(lambda *steps: jnp.stack(steps), *outputs)


def record(model, *inputs, **options):
    """Return the output and the trains of all States by their path."""
    ys, captured = nnx.capture(model, st.StateTrain)(*inputs, **options)
    trains = {}
    for path, variable in nnx.to_flat_state(captured):
        (train,) = variable.get_raw_value()
        trains["/".join(map(str, path))] = train
    return ys, trains


def equal(actual, expected, *, rtol, what=""):
    """Compare trees of arrays; the tolerance is relative to the largest entry."""
    actual, expected = (jax.tree.leaves(np.asarray(x) if isinstance(x, list) else x) for x in (actual, expected))
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.max(np.abs(b), initial=0.0), err_msg=what)


def active(row_or_spikes, out=None):
    """Assert that there is something to compare: spikes, though not everywhere, or a potential that moves."""
    if out is None:
        s = bare(row_or_spikes)
        assert set(np.unique(s)) == {0.0, 1.0}, "there must be spikes, and pauses"
    elif row_or_spikes.spiking:
        active(out)
    else:
        leaf = bare(jax.tree.leaves(out)[0])
        assert np.ptp(leaf) > 0, "silence equals silence"


def gradient(model, loss):
    """Return the gradient of `loss(model)` with respect to every Param, compiled as a whole."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    return jax.jit(jax.grad(lambda params: loss(nnx.merge(graphdef, params, rest, copy=True))))(params)
