"""Every error names the argument, what arrived and what to write, and comes before anything is compiled."""

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from models_table import REAL, N, quantities

pytestmark = pytest.mark.usefixtures("dt")

T, B = 6, 2
UNITS = quantities(REAL)
ones = np.ones


def lif(**changes):
    return st.LIF(N, **(UNITS | changes))


def bare_lif(**changes):
    return st.LIF(N, **changes)


def projection(weight=1.0 * u.nS, syn=None, out=None):
    return st.AlignPostProj(
        st.Dense(3, N, weight=weight), syn or st.Expon(N, tau=5.0 * u.ms), out or st.COBA(E=0.0 * u.mV)
    )


# Each row: what is done, the error, and what its message must say.
REFUSED = {
    # units
    "wrong dimension": (
        lambda: lif(tau=20.0 * u.mV),
        st.UnitError, ["LIF(tau=...)", "`ms`", "got 20 mV", "`20.0 * u.ms`"],
    ),
    "wrong dimension, trained": (
        lambda: lif(tau=st.Trainable(20.0 * u.mV)),
        st.UnitError, ["LIF(tau=...)", "`20.0 * u.ms`"],
    ),
    "wrong dimension, array": (
        lambda: lif(R=ones(N) * u.mV),
        st.UnitError, ["LIF(R=...)", "`Mohm`", "shape (5,) mV", "`1.0 * u.Mohm`"],
    ),
    "bare threshold": (
        lambda: lif(V_th=-50.0),
        st.UnitError, ["LIF(V_th=...)", "`mV`", "bare number -50", "`-50 * u.mV`"],
    ),
    "bare resistance": (
        lambda: lif(R=40.0),
        st.UnitError, ["LIF(R=...)", "`Mohm`", "because V_th has a unit", "`40 * u.Mohm`"],
    ),
    "bare time constant": (lambda: lif(tau=14.0), st.UnitError, ["LIF(tau=...)", "`ms`", "`14 * u.ms`"]),
    "bare start": (lambda: lif(V_initializer=-60.0), st.UnitError, ["LIF(V_initializer=...)", "`mV`", "`-60 * u.mV`"]),
    "unit among bare": (
        lambda: bare_lif(V_th=1.0 * u.mV),
        st.UnitError, ["LIF(", "because V_th has a unit", "bare number 0"],
    ),
    "bare beta": (
        lambda: st.ALIF(N, **UNITS, tau_a=9.0 * u.ms, beta=1.0),
        st.UnitError, ["ALIF(beta=...)", "`mV`", "`1 * u.mV`"],
    ),
    "bare tau_a": (
        lambda: st.ALIF(N, **UNITS, beta=1.0 * u.mV, tau_a=9.0),
        st.UnitError, ["ALIF(tau_a=...)", "`9 * u.ms`"],
    ),
    "bare V_rest of a readout": (
        lambda: st.LeakyIntegrator(N, R=1.0 * u.Mohm),
        st.UnitError, ["LeakyIntegrator(V_rest=...)", "`mV`"],
    ),
    "COBA in volts of what": (
        lambda: st.COBA(E=3.0 * u.nA),
        st.UnitError, ["COBA(E=...)", "`mV`", "3 nA", "`3.0 * u.mV`"],
    ),
    # sense
    "tau of zero": (lambda: lif(tau=0.0 * u.ms), st.DomainError, ["LIF(tau=...)", "greater than zero", "got 0 ms"]),
    "negative tau": (lambda: bare_lif(tau=-1.0), st.DomainError, ["LIF(tau=...)", "greater than zero", "got -1"]),
    "one negative tau": (lambda: bare_lif(tau=3.0 - np.arange(N)), st.DomainError, ["LIF(tau=...)", "shape (5,)"]),
    "negative trained tau": (lambda: bare_lif(tau=st.Trainable(-1.0)), st.DomainError, ["LIF(tau=...)", "got -1"]),
    "negative tau_a": (lambda: st.ALIF(N, tau_a=-1.0), st.DomainError, ["ALIF(tau_a=...)"]),
    "negative tau of a synapse": (lambda: st.Alpha(N, tau=-1.0), st.DomainError, ["Alpha(tau=...)"]),
    "negative R": (lambda: bare_lif(R=-1.0), st.DomainError, ["LIF(R=...)"]),
    "NaN": (lambda: bare_lif(V_rest=np.nan), st.DomainError, ["LIF(V_rest=...)", "finite", "nan"]),
    "wrong V_rest": (lambda: lif(V_rest=3.0 * u.nA), st.UnitError, ["LIF(V_rest=...)", "`mV`", "3 nA"]),
    "infinite tau": (lambda: bare_lif(tau=np.inf), st.DomainError, ["LIF(tau=...)", "inf"]),
    "reset above threshold": (
        lambda: bare_lif(V_reset=2.0),
        st.DomainError, ["LIF(V_reset=...)", "below V_th", "V_reset = 2", "V_th = 1"],
    ),
    "reset at threshold": (lambda: bare_lif(V_reset=1.0), st.DomainError, ["LIF(V_reset=...)", "below V_th"]),
    "rest above threshold": (
        lambda: bare_lif(V_rest=1.5),
        st.DomainError, ["V_reset = 1.5", "V_reset is V_rest unless"],
    ),
    "reset above threshold, units": (
        lambda: lif(V_reset=0.0 * u.volt),
        st.DomainError, ["LIF(V_reset=...)", "0 V", "-50 mV"],
    ),
    "Uniform the wrong way": (lambda: st.Uniform(1.0, 0.0), st.DomainError, ["Uniform", "low < high", "1 and 0"]),
    "Uniform of two units": (
        lambda: st.Uniform(1.0, 2.0 * u.mV),
        st.UnitError, ["Uniform(low=..., high=...)", "1 and 2 mV"],
    ),
    "negative spread": (lambda: st.Normal(0.0, -1.0), st.DomainError, ["Normal(std=...)", "got -1"]),
    "probability above one": (lambda: st.Sparse(1.1, 1.0), st.DomainError, ["Sparse(prob=...)", "(0, 1]", "1.1"]),
    # kinds of value
    "a string": (lambda: bare_lif(tau="20"), st.UnitError, ["LIF(tau=...)", "'20' (str)", "`ms`"]),
    "nothing": (lambda: bare_lif(tau=None), st.UnitError, ["LIF(tau=...)", "None"]),
    "a flag": (lambda: bare_lif(tau=True), st.UnitError, ["LIF(tau=...)"]),
    "a string as weight": (lambda: st.Dense(3, N, weight="big"), st.UnitError, ["Dense(weight=...)", "'big'"]),
    "unknown argument": (lambda: bare_lif(tau_m=20.0), TypeError, ["LIF", "'tau_m'"]),
    "unknown argument of ALIF": (lambda: st.ALIF(N, spikes=1), TypeError, ["ALIF", "'spikes'"]),
    "unknown argument of a readout": (lambda: st.LeakyIntegrator(N, V_th=1.0), TypeError, ["V_th"]),
    # shapes
    "size of zero": (lambda: st.LIF(0), st.ShapeError, ["LIF(size)", "positive integer", "0", "`LIF(100)`"]),
    "size of a half": (lambda: st.Expon(2.5), st.ShapeError, ["Expon(size)", "2.5"]),
    "size of nothing": (lambda: st.LIF(()), st.ShapeError, ["LIF(size)", "()"]),
    "size of true": (lambda: st.LIF(True), st.ShapeError, ["LIF(size)", "True"]),
    "tau of another shape": (lambda: bare_lif(tau=ones(3)), st.ShapeError, ["LIF(tau=...)", "(5,)", "(3,)"]),
    "weight of another shape": (
        lambda: st.Dense(3, N, weight=ones((N, 3))),
        st.ShapeError, ["Dense(weight=...)", "(3, 5)", "(5, 3)"],
    ),
    "spikes of another size": (
        lambda: st.Dense(3, N, weight=1.0)(ones((T, 4))),
        st.ShapeError, ["Dense", "(..., 3)", "(6, 4)"],
    ),
    "comm and syn disagree": (
        lambda: projection(syn=st.Expon(4)),
        st.ShapeError, ["AlignPostProj(comm, syn)", "(5,)", "(4,)"],
    ),
    "recurrent in two dimensions": (
        lambda: st.Recurrent(st.LIF((2, 3)), weight=1.0),
        st.ShapeError, ["Recurrent(neuron)", "(2, 3)", "LIF(100)"],
    ),
    "features instead of time first": (
        lambda: bare_lif()(ones((N, T))),
        st.ShapeError, ["LIF", "(T, B, 5)", "(5, 6)", "Time comes first"],
    ),
    "(10, 1) does not become (10, 10)": (
        lambda: st.LIF(10)(ones((T, 10, 1))),
        st.ShapeError, ["LIF", "(T, B, 10)", "(6, 10, 1)"],
    ),
    "(B, 1) does not become (B, N)": (
        lambda: bare_lif()(ones((T, B, N)), ones((T, B, 1))),
        st.ShapeError, ["(6, 2, 1)"],
    ),
    "two batch axes": (lambda: bare_lif()(ones((T, 2, 3, N))), st.ShapeError, ["(T, B, 5)", "(6, 2, 3, 5)"]),
    "one input of a batch, one not": (
        lambda: bare_lif()(ones((T, B, N)), ones((T, N))),
        st.ShapeError, ["(2, 5)", "nothing else is broadcast"],
    ),
    "conductance of another shape": (
        lambda: bare_lif()(ones((T, N)), st.Conductance(jnp.ones((T, 1)), st.COBA(E=1.0).E)),
        st.ShapeError, ["(6, 1)", "(T, B, 5)"],
    ),
    "arrivals of another shape": (
        lambda: st.Expon(N)(ones((T, N)), ones((T, B, N))),
        st.ShapeError, ["Expon.update", "(5,)", "(2, 5)", "nothing else is broadcast"],
    ),
    "a scalar where a train is due": (lambda: bare_lif()(2.0), st.ShapeError, ["LIF", "time first", "LIF.update"]),
    "no inputs and no length": (
        lambda: bare_lif()(),
        st.ShapeError, ["LIF", "no inputs and no length", "`lif(length=1000)`"],
    ),
    "inputs of two lengths": (
        lambda: bare_lif()(ones((T, N)), ones((T + 1, N))),
        st.ShapeError, ["LIF", "lengths [6, 7]"],
    ),
    "a length that is not that of the inputs": (
        lambda: bare_lif()(ones((T, N)), length=9),
        st.ShapeError, ["lengths [6, 9]"],
    ),
    "pieces of no steps": (
        lambda: st.unroll_in_pieces(bare_lif(), ones((T, N)), steps=0),
        st.ShapeError, ["steps=...", "got 0"],
    ),
    "pieces of nothing": (lambda: st.unroll_in_pieces(bare_lif(), steps=5), st.ShapeError, ["LIF", "no inputs"]),
    # inputs with the wrong unit, found before the loop is compiled
    "bare current": (
        lambda: lif()(ones((T, N))),
        st.UnitError, ["LIF.update", "a current in units of `nA`", "`1.0 * u.nA`"],
    ),
    "a potential as current": (lambda: lif()(ones((T, N)) * u.mV), st.UnitError, ["LIF.update", "`nA`", "mV"]),
    "a unit into a bare model": (
        lambda: bare_lif()(ones((T, N)) * u.nA),
        st.UnitError, ["LIF.update", "without a unit", "nA"],
    ),
    "a current as jump": (
        lambda: lif()(st.Jump(ones((T, N)) * u.nA)),
        st.UnitError, ["LIF.update", "a jump in units of `mV`", "nA"],
    ),
    "a bare conductance": (
        lambda: lif()(st.Conductance(ones((T, N)), st.COBA(E=0.0 * u.mV).E)),
        st.UnitError, ["a conductance in units of `uS`", "`1.0 * u.uS`"],
    ),
    "a bare reversal potential": (
        lambda: lif()(st.Conductance(ones((T, N)) * u.nS, st.COBA(E=0.0).E)),
        st.UnitError, ["reversal potential E", "`mV`", "got 0"],
    ),
    "a unit into a bare synapse": (
        lambda: st.Expon(N)(ones((T, N)) * u.nS),
        st.UnitError, ["Expon.update", "bare numbers", "nS", "`Expon(5, unit=u.nS)`"],
    ),
    "bare numbers into a synapse with a unit": (
        lambda: st.Alpha(N, unit=u.nS)(ones((T, N))),
        st.UnitError, ["Alpha.update", "`nS`", "shape (5,)"],
    ),
    # projections whose units do not fit, found at construction
    "weights without, syn with a unit": (
        lambda: projection(weight=1.0, syn=st.Expon(N, unit=u.nS), out=st.CUBA()),
        st.UnitError, ["AlignPostProj(comm, syn)", "weights", "`nS`"],
    ),
    "weights and syn of two dimensions": (
        lambda: projection(weight=1.0 * u.nA, syn=st.Expon(N, unit=u.nS)),
        st.UnitError, ["`nA`", "`nS`"],
    ),
    "bare weights at a potential": (
        lambda: projection(weight=1.0),
        st.UnitError, ["COBA(E=...)", "0 mV", "weights have no unit", "`weight=0.6 * u.nS`"],
    ),
    "weights with a unit at a bare potential": (
        lambda: projection(out=st.COBA(E=-80.0)),
        st.UnitError, ["COBA(E=...)", "-80", "`nS`", "`E=-80 * u.mV`"],
    ),
    "weights that are no conductance": (
        lambda: lif()(projection(weight=1.0 * u.nA)(ones((T, 3)))),
        st.UnitError, ["LIF.update", "a conductance in units of `uS`", "nA"],
    ),
    "weights that are no current": (
        lambda: lif()(projection(out=st.CUBA())(ones((T, 3)))),
        st.UnitError, ["LIF.update", "a current in units of `nA`", "nS"],
    ),
    "recurrent weights without a unit": (
        lambda: st.Recurrent(lif(), weight=1.0)(ones((T, N)) * u.nA),
        st.UnitError, ["LIF.update", "a current in units of `nA`", "`1.0 * u.nA`"],
    ),
    # random numbers
    "initialiser of a parameter": (
        lambda: bare_lif(tau=st.Uniform(5.0, 9.0)),
        st.StateError, ["LIF(tau=...)", "`rngs=nnx.Rngs(0)`"],
    ),
    "initialiser of V": (
        lambda: bare_lif(V_initializer=st.Uniform(0.0, 0.9)),
        st.StateError, ["LIF(V_initializer=...)", "nnx.Rngs(0)"],
    ),
    "initialiser of V_rest": (lambda: bare_lif(V_rest=st.Uniform(0.0, 0.9)), st.StateError, ["LIF(V_rest=...)"]),
    "initialiser of a trained start": (
        lambda: bare_lif(V_initializer=st.Trainable(st.Uniform(0.0, 0.9))),
        st.StateError, ["LIF(V_initializer=...)"],
    ),
    "default weights": (lambda: st.Dense(3, N), st.StateError, ["Dense(weight=...)", "nnx.Rngs(0)"]),
    "default recurrent weights": (
        lambda: st.Recurrent(bare_lif()),
        st.StateError, ["Dense(weight=...)", "nnx.Rngs(0)"],
    ),
    "bare draws at a potential": (
        lambda: lif(V_initializer=nnx.initializers.normal(), rngs=nnx.Rngs(0))(ones((T, N)) * u.nA),
        st.UnitError, ["LIF(V_initializer=...)", "`mV`", "without a unit"],
    ),
    "draws with a unit in a bare model": (
        lambda: bare_lif(V_initializer=st.Uniform(0.0 * u.mV, 1.0 * u.mV), rngs=nnx.Rngs(0))(ones((T, N))),
        st.UnitError, ["LIF(V_initializer=...)", "without a unit", "mV"],
    ),
    "draws outside the domain": (
        lambda: bare_lif(tau=st.Normal(-5.0, 0.1), rngs=nnx.Rngs(0)),
        st.DomainError, ["LIF(tau=...)"],
    ),
    "no update": (lambda: st.Dynamics()(length=3), NotImplementedError, ["Dynamics does not define update"]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_mistake_is_refused_with_a_remedy(what):
    do, error, says = REFUSED[what]
    with pytest.raises(error) as raised:
        do()
    message = str(raised.value)
    assert all(part in message for part in says), f"{message}\nlacks {[part for part in says if part not in message]}"


class Careless(st.Dynamics):
    """A Dynamics that breaks one rule, named by a static attribute."""

    def __init__(self, mistake):
        self.mistake, self.in_size = mistake, (N,)
        self.weight = st.ParamState(jnp.ones(N))

    def init_state(self, batch_shape=()):
        self.V = st.ShortTermState(jnp.zeros((*batch_shape, N)))
        if self.mistake == "creates a Param":
            self.late = nnx.Param(jnp.zeros(N))
        if self.mistake == "creates a LongTermState":
            self.late = st.LongTermState(jnp.zeros(N))

    def update(self, x):
        if self.mistake == "update creates a State":
            self.new = st.ShortTermState(x)
        if self.mistake == "update removes a State":
            del self.V
        if self.mistake == "update changes a Param":
            self.weight.value = self.weight.value + 1.0
        if self.mistake == "update changes a plain attribute":
            self.count = 1
        if self.mistake == "update changes a shape":
            self.V.value = x[..., :1]
        return x


RULES = {
    "creates a Param": ["Careless.init_state", "late", "no ShortTermState", "constructor"],
    "creates a LongTermState": ["Careless.init_state", "late", "no ShortTermState", "constructor"],
    "update creates a State": ["Careless.update created or removed State", "init_state", "`.value`"],
    "update removes a State": ["Careless.update created or removed State"],
    "update changes a Param": ["Careless.update changed the Param `weight`", "LongTermState"],
    "update changes a plain attribute": ["Careless.update", "plain attribute"],
    "update changes a shape": ["ShortTermState.value has shape (2, 5)", "(2, 1)"],
}


@pytest.mark.parametrize("mistake", RULES)
def test_a_Dynamics_that_breaks_a_rule_is_refused(mistake):
    model = Careless(mistake)
    with pytest.raises((st.StateError, st.ShapeError)) as raised:
        model(jnp.ones((T, B, N)))
    assert all(part in str(raised.value) for part in RULES[mistake]), raised.value
    assert Careless("none")(jnp.ones((T, B, N))).shape == (T, B, N)


class Twice(nnx.Module):
    """One neuron, two uses: two trials at once, of which only one could be carried."""

    def __init__(self):
        self.neuron = st.LIF(N)

    def __call__(self, x):
        return self.neuron(3.0 * self.neuron(x))


def test_one_module_used_twice_cannot_be_carried():
    x = jnp.ones((T, B, N))
    assert Twice()(x).shape == x.shape  # a whole trial needs no carry
    for run in (lambda: st.advance(Twice(), None, x), lambda: st.unroll_in_pieces(Twice(), x, steps=3)):
        with pytest.raises(st.StateError, match="one LIF twice.*Make one module per use"):
            run()


def test_a_normalisation_over_time_refuses_pieces():
    """It would average over a piece, or over the empty piece that makes the first carry, which is NaN."""

    class Net(nnx.Module):
        def __init__(self):
            self.norm, self.lif = nnx.BatchNorm(N, rngs=nnx.Rngs(0)), st.LIF(N)

        def __call__(self, x):
            return self.lif(self.norm(x))

    x, model = jnp.ones((T, B, N)), Net()
    for run in (lambda: st.advance(model, None, x), lambda: st.unroll_in_pieces(model, x, steps=3)):
        with pytest.raises(st.StateError, match=r"norm/mean.*whole trial.*model\.eval\(\)"):
            run()
    assert np.all(np.isfinite(model.norm.mean[...]))
    model.eval()
    assert st.unroll_in_pieces(model, x, steps=3).shape == x.shape


def test_our_errors_are_of_the_kind_that_python_means():
    assert issubclass(st.UnitError, ValueError) and issubclass(st.DomainError, ValueError)
    assert issubclass(st.ShapeError, ValueError) and issubclass(st.StateError, RuntimeError)
    assert all(issubclass(e, st.SpiketrainError) for e in (st.UnitError, st.DomainError, st.ShapeError, st.StateError))


@pytest.mark.parametrize(
    "model", [st.LIF(3), st.ALIF(3), st.Recurrent(st.LIF(3), weight=0.1)], ids=lambda m: type(m).__name__
)
def test_update_before_init_state_says_what_to_call(model):
    with st.environ.context(dt=1.0 * u.ms), pytest.raises(AttributeError, match=r"init_state\(batch_shape\) before"):
        model.update(jnp.ones(3))


def test_a_refractory_period_cannot_be_trained():
    with pytest.raises(st.DomainError, match=r"LIF\(tau_ref=...\) is rounded to whole steps"):
        st.LIF(3, tau_ref=st.Trainable(2.0 * u.ms))
