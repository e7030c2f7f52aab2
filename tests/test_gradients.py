"""Gradients equal those of a step written by hand in plain JAX, and finite differences where there are no spikes."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from helpers import active, bare, equal, gradient, record
from models_table import BARE, PRE, REAL, W_IN, N, W, quantities

pytestmark = pytest.mark.usefixtures("x64", "dt")

T, B = 40, 3
SPIKES = np.random.default_rng(1).binomial(1, 0.3, (T, B, PRE)).astype(float)
LOSS = np.random.default_rng(2).normal(size=(T, B, N))


@jax.custom_jvp
def spike(x):
    return jnp.heaviside(x, 1.0)


@spike.defjvp
def _(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return spike(x), x_dot / (1 + jnp.square(jnp.pi * x))


def by_scan(p, spikes, *, reset, detach, E=None):
    """Run the neuron that the parameters `p` describe, in plain JAX; dt is 1."""

    def step(carry, x):
        V, a = carry
        s = spike((V - p["V_th"] - p["beta"] * a) / (p["V_th"] - p["V_reset"]))
        r = jax.lax.stop_gradient(s) if detach else s
        if reset == "soft":
            V = V - r * (p["V_th"] - p["V_reset"])
        elif reset == "hard":
            V = (1 - r) * V + r * p["V_reset"]
        a = jnp.exp(-1 / p["tau_a"]) * (a + s)
        g, I = (0.0, x) if E is None else (x, 0.0)
        I = I + s @ p["W_rec"]
        rate = (1 + p["R"] * g) / p["tau"]
        end = (p["V_rest"] + p["R"] * (I + g * (0.0 if E is None else E))) / (1 + p["R"] * g)
        V = end * (1 - jnp.exp(-rate)) + V * jnp.exp(-rate)
        return (V, a), spike((V - p["V_th"] - p["beta"] * a) / (p["V_th"] - p["V_reset"]))

    V0 = jnp.broadcast_to(p["V_initializer"], (B, N))
    return jax.lax.scan(step, (V0, jnp.zeros((B, N))), spikes @ p["weight"])[1]


class Net(nnx.Module):
    """Trained weights into a neuron of which every parameter is trained."""

    def __init__(self, neuron, weight, E=None):
        self.dense, self.neuron, self.E = st.Dense(PRE, N, weight=st.Trainable(weight)), neuron, E

    def __call__(self, spikes):
        x = self.dense(spikes)
        return self.neuron(x if self.E is None else st.Conductance(x, self.E.E))


START = np.array([-0.3, 0.2, 0.9, 1.3, 0.5])
FREE = dict(BARE, V_initializer=START)
FREE_UNITS = dict(REAL, V_initializer=-60.0 + 8 * START)
ADAPTIVE = dict(beta=0.3, tau_a=40.0)


def trained(parameters):
    return {name: st.Trainable(value) for name, value in parameters.items()}


CASES = {
    "LIF-soft": (lambda **k: st.LIF(N, **k), FREE, 4.0, dict(reset="soft", detach=False)),
    "LIF-soft-detached": (lambda **k: st.LIF(N, **k), FREE, 4.0, dict(reset="soft", detach=True)),
    "LIF-hard": (lambda **k: st.LIF(N, **k), FREE, 4.0, dict(reset="hard", detach=False)),
    "LIF-hard-detached": (lambda **k: st.LIF(N, **k), FREE, 4.0, dict(reset="hard", detach=True)),
    "LIF-no-reset": (lambda **k: st.LIF(N, **k), FREE, 1.0, dict(reset="none", detach=False)),
    "LIF-conductance": (lambda **k: st.LIF(N, **k), FREE_UNITS, 0.015, dict(reset="soft", detach=False, E=0.0)),
    "ALIF-soft": (lambda **k: st.ALIF(N, **k), FREE | ADAPTIVE, 4.0, dict(reset="soft", detach=False)),
    "ALIF-hard-detached": (lambda **k: st.ALIF(N, **k), FREE | ADAPTIVE, 4.0, dict(reset="hard", detach=True)),
    "Recurrent-ALIF": (
        lambda **k: st.Recurrent(st.ALIF(N, **k), weight=st.Trainable(W)),
        FREE | ADAPTIVE,
        4.0,
        dict(reset="soft", detach=False),
    ),
}


def build(name):
    """Return the model of a case, its parameters as plain numbers, and the options of `by_scan`."""
    make, parameters, scale, options = CASES[name]
    kinds = {"soft": st.SoftReset, "hard": st.HardReset, "none": st.NoReset}
    reset = kinds[options["reset"]](detach=options["detach"])
    with_units = "E" in options
    given = trained(quantities(parameters) if with_units else parameters)
    weight = scale * W_IN * u.uS if with_units else scale * W_IN
    model = Net(make(reset=reset, **given), weight, st.COBA(E=0.0 * u.mV) if with_units else None)
    plain = {n: jnp.broadcast_to(jnp.asarray(v, float), (N,)) for n, v in parameters.items()}
    plain |= {
        "weight": jnp.asarray(scale * W_IN),
        "W_rec": jnp.asarray(W) if "Recurrent" in name else jnp.zeros((N, N)),
    }
    return model, {"beta": jnp.zeros(N), "tau_a": jnp.ones(N)} | plain, options


def by_name(params):
    """Name the leaves of a tree of Params as in `by_scan`."""
    named = {}
    for path, variable in nnx.to_flat_state(params):
        named["W_rec" if path[-2:] == ("comm", "weight") else path[-1]] = variable.get_raw_value()
    return named


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_those_of_a_scan_written_by_hand(name):
    model, plain, options = build(name)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(run):
        return jax.jit(jax.grad(lambda p, x: (jnp.sum((out := run(p, x)) * LOSS), out), argnums=(0, 1), has_aux=True))

    (expected, expected_x), expected_out = loss(lambda p, x: by_scan(p, x, **options))(plain, SPIKES)
    for positive in ("R", "tau", "tau_a"):  # trained through their logarithm
        expected[positive] = expected[positive] * plain[positive]

    (actual, x_gradient), out = loss(lambda params, x: nnx.merge(graphdef, params, rest, copy=True)(x))(params, SPIKES)
    actual = by_name(actual)

    active(out)
    equal(out, expected_out, rtol=0)
    assert len(actual) == 7 + 2 * ("ALIF" in name) + ("Recurrent" in name)
    for parameter, leaf in actual.items():
        assert np.any(leaf != 0), parameter
        equal(leaf, expected[parameter], rtol=1e-9, what=parameter)
    equal(x_gradient, expected_x, rtol=1e-9)


@pytest.mark.parametrize("kind", ["LIF-soft", "LIF-hard"])
def test_detaching_the_reset_changes_the_gradient_and_not_the_spikes(kind):
    (a, *_), (b, *_) = build(kind), build(f"{kind}-detached")
    x = jnp.asarray(SPIKES)
    active(a(x))
    equal(a(x), b(x), rtol=0)
    through, around = (gradient(m, lambda m: jnp.sum(m(x) * LOSS)) for m in (a, b))
    assert not np.allclose(by_name(through)["weight"], by_name(around)["weight"])


def conductance_chain():
    """Alpha synapses, a conductance and a leaky integrator, all trained; its output is V."""
    weight = st.Trainable(2.0 * W_IN * u.nS)
    trained = {
        name: st.Trainable(value) for name, value in quantities({n: REAL[n] for n in ("R", "tau", "V_rest")}).items()
    }

    class Chain(nnx.Module):
        def __init__(self):
            syn = st.Alpha(N, tau=st.Trainable(4.0 * u.ms))
            self.projection = st.AlignPostProj(st.Dense(PRE, N, weight=weight), syn, st.COBA(E=0.0 * u.mV))
            self.cell = st.LeakyIntegrator(N, V_initializer=st.Trainable(-60.0 * u.mV), **trained)

        def __call__(self, x):
            return self.cell(self.projection(x)) / u.mV

    return Chain()


SUBTHRESHOLD = {
    "Alpha-COBA-LeakyIntegrator": conductance_chain,
    "LIF": lambda: Net(st.LIF(N, reset=st.SoftReset(detach=True), **trained(dict(FREE, V_th=1e3))), W_IN),
    "ALIF": lambda: Net(st.ALIF(N, reset=st.HardReset(detach=True), **trained(dict(FREE, V_th=1e3) | ADAPTIVE)), W_IN),
    "Expon-LeakyIntegrator": lambda: nnx.Sequential(
        st.Dense(PRE, N, weight=st.Trainable(W_IN)),
        st.Expon(N, tau=st.Trainable(3.0)),
        st.LeakyIntegrator(N, tau=st.Trainable(9.0), R=st.Trainable(1.3), V_rest=st.Trainable(0.2)),
    ),
}


@pytest.mark.parametrize("name", SUBTHRESHOLD)
def test_gradients_equal_finite_differences_below_threshold(name):
    model, x = SUBTHRESHOLD[name](), jnp.asarray(SPIKES)

    def loss(model):
        out, trains = record(model, x)
        V = out if name.endswith("LeakyIntegrator") else trains["neuron/V"]
        return jnp.sum(V * LOSS) / 10

    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    value = jax.jit(lambda params: loss(nnx.merge(graphdef, params, rest, copy=True)))
    derivative = gradient(model, loss)
    rng = np.random.default_rng(4)
    for _ in range(3):
        direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
        forward, back = (value(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)) for h in (1e-5, -1e-5))
        along = sum(
            jnp.sum(g * d) for g, d in zip(jax.tree.leaves(derivative), jax.tree.leaves(direction), strict=True)
        )
        np.testing.assert_allclose((forward - back) / 2e-5, along, rtol=1e-6)
        assert abs(along) > 1e-3


def test_a_gradient_reaches_back_through_every_step():
    """The input of the first step moves the potential of the last by R (1 - d) d^(T - 1)."""
    model = st.LeakyIntegrator(1, tau=10.0)
    slope = jax.grad(lambda x: model(x)[-1, 0])(jnp.zeros((T, 1)))[:, 0]
    d = np.exp(-0.1)
    np.testing.assert_allclose(slope, (1 - d) * d ** np.arange(T - 1, -1, -1), rtol=1e-10)


def test_the_gradient_of_a_parameter_with_a_unit_is_a_plain_array():
    model = st.LIF(N, **quantities(dict(REAL)) | {"tau": st.Trainable(14 * u.ms)})  # an integer quantity, too
    x = jnp.asarray(np.random.default_rng(0).normal(0.5, 0.6, (T, B, N))) * u.nA
    active(model(x))
    leaves = jax.tree.leaves(gradient(model, lambda model: jnp.sum(model(x) * LOSS)))
    assert [(type(bare(leaf)), leaf.shape) for leaf in leaves] == [(np.ndarray, (N,))]
    assert np.all(leaves[0] != 0)
