"""One row per model: how to build it, what to feed it, and what it must return.

Whoever adds a model adds a row, and the whole suite runs on it: equality with a numpy reference, unrolling, pieces,
gradients, batches, padding, splitting and merging.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain.neurons.base import Cell
from spiketrain.synapses.base import Synapse

import neuron_references as refn
import references as ref
import synapse_references as refs

N, PRE = 5, 7
MV, MOHM, MS, NA, US = u.mV, u.Mohm, u.ms, u.nA, u.uS


@dataclass(frozen=True)
class Row:
    """A model and its reference.

    Attributes:
        name: the test's name.
        make: build the model; every call builds an equal one.
        draw: `draw(rng, (T, *batch))` returns the inputs as float64 numpy arrays.
        feed: turn those arrays into the arguments of the model.
        reference: `reference(*arrays, dt=...)` returns the output as `out` and the trains of States by their path.
        out: the unit of the output, where it has one.
        dt: the step of the comparison with the reference, in ms.
        steps: its length.
        rtol: its tolerance; wider where the upstroke of a spike amplifies rounding.
    """

    name: str
    make: Callable[[], Any]
    draw: Callable[..., tuple[np.ndarray, ...]]
    reference: Callable[..., dict[str, np.ndarray]]
    feed: Callable[..., tuple[Any, ...]] = lambda *arrays: tuple(map(jnp.asarray, arrays))
    out: Any = u.UNITLESS
    dt: float = 0.7
    steps: int = 1000
    rtol: float = 1e-10

    @property
    def spiking(self) -> bool:
        """Whether the output is spikes."""
        integrating = ("LIF", "ALIF", "SEAdLIF", "BRF", "CSiLIF", "IF", "ExpIF", "AdExIF", "QuaIF", "AdQuaIF", "Izhikevich", "Gif")
        return self.name.startswith((*integrating, "HH", "WangBuzsakiHH", "Recurrent", "EI")) or self.name.endswith(
            "LIF"
        )

    def inputs(self, T, *, batch=(), seed=0):
        """Draw the model's inputs."""
        return self.feed(*self.draw(np.random.default_rng(seed), (T, *batch)))


class Driven(st.Dynamics):
    """A neuron behind projections that all receive the same spikes."""

    def __init__(self, neuron, *projections):
        self.neuron, self.projections, self.in_size = neuron, nnx.List(projections), projections[0].in_size

    def update(self, spikes):
        return self.neuron.update(*(projection.update(spikes) for projection in self.projections))


class EINet(st.Dynamics):
    """Excitatory and inhibitory neurons with conductances back to both."""

    def __init__(self, E, I, E2E, E2I, I2E, I2I):
        self.E, self.I, self.in_size = E, I, E.in_size
        self.E2E, self.E2I, self.I2E, self.I2I = E2E, E2I, I2E, I2I

    def update(self, current):
        e, i = self.E.spikes, self.I.spikes
        self.E.update(current, self.E2E.update(e), self.I2E.update(i))
        self.I.update(current, self.E2I.update(e), self.I2I.update(i))
        return self.E.spikes


# What the rows share: parameters as plain numbers for the reference, with units for the model.
BARE = dict(R=1.0, tau=11.0, V_th=1.0, V_reset=-0.2, V_rest=0.1)
REAL = dict(R=40.0, tau=14.0, V_th=-50.0, V_reset=-71.0, V_rest=-66.0)
UNITS = dict(
    R=MOHM,
    tau=MS,
    V_th=MV,
    V_reset=MV,
    V_rest=MV,
    V_initializer=MV,
    beta=MV,
    tau_a=MS,
)
RESETS = {"soft": st.SoftReset(), "hard": st.HardReset(), "none": st.NoReset()}
VARIED = dict(
    R=np.array([0.7, 0.9, 1.0, 1.2, 1.4]),
    tau=np.array([2.0, 6.0, 11.0, 17.0, 40.0]),
    V_th=np.array([0.8, 0.9, 1.0, 1.1, 1.2]),
    V_reset=np.array([-0.3, -0.2, 0.0, 0.1, 0.2]),
    V_rest=np.array([0.0, 0.1, 0.1, 0.2, 0.3]),
)
START = np.array([-0.5, 0.3, 1.0, 1.7, 0.9])  # the third and the fourth spike before the first step
W = np.random.default_rng(7).normal(0.0, 0.35, (N, N))
W_IN = np.random.default_rng(8).uniform(0.0, 1.0, (PRE, N))


def quantities(parameters):
    """Give parameters their units."""
    return {name: value * UNITS[name] for name, value in parameters.items()}


def current(mean, std):
    """Draw normal currents."""
    return lambda rng, shape: (rng.normal(mean, std, (*shape, N)),)


def spikes(rng, shape):
    """Draw presynaptic spikes."""
    return (rng.binomial(1, 0.1, (*shape, PRE)).astype(float),)


def arrivals(rng, shape):
    """Draw what arrives at synapses, mostly nothing."""
    return (rng.binomial(1, 0.1, (*shape, N)) * rng.uniform(0.2, 3.0, (*shape, N)),)


def everything(rng, shape):
    """Draw excitatory and inhibitory conductances in nS, currents in pA, jumps in mV."""
    shape = (*shape, N)
    return (
        rng.gamma(2.0, 15.0, shape),
        rng.gamma(2.0, 5.0, shape),
        rng.normal(150.0, 200.0, shape),
        rng.binomial(1, 0.05, shape) * rng.normal(2.0, 3.0, shape),
    )


def feed_everything(exc, inh, I, dV):
    """Turn the arrays of `everything` into inputs."""
    E_exc, E_inh = st.COBA(E=0.0 * u.mV).E, st.COBA(E=-80.0 * u.mV).E
    return (
        st.Conductance(jnp.asarray(exc) * u.nS, E_exc),
        st.Conductance(jnp.asarray(inh) * u.nS, E_inh),
        jnp.asarray(I) * u.pA,
        st.Jump(jnp.asarray(dV) * u.mV),
    )


def reference_of(**parameters):
    """Return the reference of neurons that receive a current."""

    def run(I, *, dt):
        trains = ref.neuron(I, dt=dt, **parameters)
        return {"out": trains["spikes"] if "V_th" in parameters else trains["V"], **trains}

    return run


def reference_of_everything(**parameters):
    """Return the reference of neurons that receive `everything`."""

    def run(exc, inh, I, dV, *, dt):
        g = [(exc * 1e-3, 0.0), (inh * 1e-3, -80.0)]
        trains = ref.neuron(I * 1e-3, conductances=g, jump=dV, dt=dt, **parameters)
        return {"out": trains["spikes"] if "V_th" in parameters else trains["V"], **trains}

    return run


def below(prefix, trains):
    """Put trains of States under the path of the part that holds them."""
    return {f"{prefix}/{name}": train for name, train in trains.items()}


def without(parameters, *names):
    """Leave some parameters out."""
    return {name: value for name, value in parameters.items() if name not in names}


def neurons():
    """Every neuron, for every reset, with and without units."""
    feed_nA = dict(feed=lambda I: (jnp.asarray(I) * u.nA,))
    for how, reset in RESETS.items():
        yield Row(
            f"LIF-{how}",
            lambda reset=reset: st.LIF(N, reset=reset, **BARE),
            current(1.0, 2.0),
            reference_of(reset=how, **BARE),
        )
        yield Row(
            f"LIF-{how}-units",
            lambda reset=reset: st.LIF(N, reset=reset, **quantities(REAL)),
            current(0.5, 0.6),
            reference_of(reset=how, **REAL),
            **feed_nA,
        )
        yield Row(
            f"ALIF-{how}-units",
            lambda reset=reset: st.ALIF(N, reset=reset, **quantities(dict(REAL, beta=3.0, tau_a=60.0))),
            current(0.8, 0.8),
            reference_of(reset=how, beta=3.0, tau_a=60.0, **REAL),
            **feed_nA,
        )
    yield Row(
        "LIF-one-value-per-neuron",
        lambda: st.LIF(N, reset=st.HardReset(), V_initializer=START, **VARIED),
        current(1.0, 2.0),
        reference_of(reset="hard", V0=START, **VARIED),
    )
    yield Row(
        "LIF-conductances",
        lambda: st.LIF(N, reset=st.HardReset(), **quantities(REAL)),
        everything,
        reference_of_everything(reset="hard", **REAL),
        feed=feed_everything,
    )
    yield Row(
        "ALIF",
        lambda: st.ALIF(N, beta=0.4, tau_a=70.0, **BARE),
        current(1.5, 2.0),
        reference_of(beta=0.4, tau_a=70.0, **BARE),
    )
    varied = dict(VARIED, beta=np.array([0.0, 0.1, 0.2, -0.1, 0.5]), tau_a=np.array([5.0, 20.0, 40.0, 90.0, 200.0]))
    yield Row(
        "ALIF-one-value-per-neuron",
        lambda: st.ALIF(N, V_initializer=START, **varied),
        current(1.5, 2.0),
        reference_of(V0=START, **varied),
    )
    yield Row(
        "ALIF-conductances",
        lambda: st.ALIF(N, **quantities(dict(REAL, beta=1.5, tau_a=90.0))),
        everything,
        reference_of_everything(beta=1.5, tau_a=90.0, **REAL),
        feed=feed_everything,
    )
    passive = without(BARE, "V_th", "V_reset")
    yield Row("LeakyIntegrator", lambda: st.LeakyIntegrator(N, **passive), current(1.0, 2.0), reference_of(**passive))
    passive_units = without(REAL, "V_th", "V_reset")
    yield Row(
        "LeakyIntegrator-conductances",
        lambda: st.LeakyIntegrator(N, **quantities(passive_units)),
        everything,
        reference_of_everything(**passive_units),
        feed=feed_everything,
        out=u.mV,
    )


NONLINEAR = dict(R=100.0, tau=9.0, V_th=-30.0, V_reset=-68.0, V_rest=-65.0)
EXPONENTIAL = dict(V_T=-59.9, delta_T=3.48)
QUADRATIC = dict(V_c=-50.0, c=0.07)
ADAPTATION = dict(a=2e-3, b=0.04, tau_w=60.0)
RS = dict(a=0.02, b=0.2, c=-65.0, d=8.0, V_th=30.0, V_rest=-70.0)
GIF = dict(
    R=40.0,
    tau=14.0,
    V_rest=-70.0,
    V_reset=-68.0,
    V_th_inf=-50.0,
    V_th_reset=-47.0,
    a=0.01,
    b=0.02,
    k1=0.2,
    k2=0.02,
    R1=0.1,
    R2=0.9,
    A1=0.2,
    A2=-0.3,
)


def more_neurons():
    """Refractory periods, the nonlinear integrate-and-fire neurons, and those with channels."""

    def reference(run, **parameters):
        def call(*arrays, dt):
            trains = run(arrays if len(arrays) > 1 else arrays[0], dt=dt, **parameters)
            return {"out": trains["spikes"], **trains}

        return call

    def row(name, make, draw, expected, unit=None, **options):
        feed = dict(feed=lambda I: (jnp.asarray(I) * unit,)) if unit is not None else {}
        return Row(name, make, draw, expected, **{"steps": 2000, **feed, **options})

    yield row("IF", lambda: st.IF(N, **BARE), current(1.0, 3.0), reference(refn.integrate_and_fire, leak=0.0, **BARE))
    tau_ref = np.array([1.0, 2.0, 3.0, 5.0, 7.0])
    for how, reset in RESETS.items():
        yield row(
            f"LIF-{how}-refractory",
            lambda reset=reset: st.LIF(N, reset=reset, tau_ref=tau_ref, **BARE),
            current(1.5, 3.0),
            reference(refn.integrate_and_fire, reset=how, tau_ref=tau_ref, **BARE),
        )
    yield row(
        "ALIF-refractory-units",
        lambda: st.ALIF(N, tau_ref=3.0 * u.ms, **quantities(dict(REAL, beta=3.0, tau_a=60.0))),
        current(0.8, 0.8),
        reference(refn.adaptive_threshold, tau_ref=3.0, beta=3.0, tau_a=60.0, **REAL),
        u.nA,
    )
    exponential, quadratic = refn.exponential(V_rest=-65.0, **EXPONENTIAL), refn.quadratic(V_rest=-65.0, **QUADRATIC)
    yield row(
        "ExpIF-conductances",
        lambda: st.ExpIF(N, **quantities(NONLINEAR)),
        everything,
        lambda exc, inh, I, dV, *, dt: reference(refn.nonlinear, curve=exponential, g=(0.0, -80.0), **NONLINEAR)(
            I * 1e-3, exc * 1e-3, inh * 1e-3, dV, dt=dt
        ),
        feed=feed_everything,
        rtol=1e-8,
    )
    yield row(
        "AdExIF-refractory",
        lambda: st.AdExIF(
            N,
            V_T=-59.9 * u.mV,
            delta_T=3.48 * u.mV,
            a=2.0 * u.nS,
            b=40.0 * u.pA,
            tau_w=60.0 * u.ms,
            tau_ref=4.0 * u.ms,
            **quantities(NONLINEAR),
        ),
        current(0.3, 0.3),
        reference(refn.nonlinear, curve=exponential, tau_ref=4.0, **ADAPTATION, **NONLINEAR),
        u.nA,
        rtol=1e-8,
    )
    yield row(
        "QuaIF",
        lambda: st.QuaIF(N, **quantities(NONLINEAR)),
        current(0.3, 0.3),
        reference(refn.nonlinear, curve=quadratic, **NONLINEAR),
        u.nA,
        rtol=1e-8,
    )
    yield row(
        "AdQuaIF",
        lambda: st.AdQuaIF(N, **quantities(NONLINEAR), a=2.0 * u.nS, b=40.0 * u.pA, tau_w=60.0 * u.ms),
        current(0.5, 0.5),
        reference(refn.nonlinear, curve=quadratic, **ADAPTATION, **NONLINEAR),
        u.nA,
        rtol=1e-8,
    )
    yield row(
        "Izhikevich",
        lambda: st.Izhikevich(N),
        current(12.0, 15.0),
        reference(refn.izhikevich, **RS),
        u.nA,
        rtol=1e-8,
    )
    units = dict(R=MOHM, tau=MS, a=1 / MS, b=1 / MS, k1=1 / MS, k2=1 / MS, R1=1.0, R2=1.0, A1=NA, A2=NA)
    yield row(
        "Gif",
        lambda: st.Gif(N, **{name: value * units.get(name, MV) for name, value in GIF.items()}),
        current(0.8, 0.8),
        reference(refn.gif, **GIF),
        u.nA,
    )
    per_area = u.uA / u.cm**2
    yield row(
        "HH",
        lambda: st.HH(N),
        current(12.0, 15.0),
        reference(refn.channels, **refn.HH),
        per_area,
        dt=0.1,
        rtol=1e-8,
    )
    yield row(
        "WangBuzsakiHH",
        lambda: st.WangBuzsakiHH(N, V_th=-20.0 * u.mV),
        current(8.0, 8.0),
        reference(refn.channels, V_th=-20.0, **refn.WB),
        per_area,
        dt=0.1,
        rtol=1e-8,
    )


def oscillating_neurons():
    """Neurons of second order, and complex ones."""

    def reference(run, **parameters):
        def call(*arrays, dt):
            trains = run(arrays if len(arrays) > 1 else arrays[0], dt=dt, **parameters)
            return {"out": trains["spikes"], **trains}

        return call

    second = dict(a=np.array([0.0, 5.0, 20.0, 60.0, 110.0]), b=np.array([60.0, 0.0, 10.0, 100.0, 30.0]), tau_w=90.0)
    yield Row(
        "SEAdLIF",
        lambda: st.SEAdLIF(N, **second, **BARE),
        current(3.0, 5.0),
        reference(refn.symplectic, **second, **BARE),
        steps=2000,
    )
    yield Row(
        "SEAdLIF-refractory-units",
        lambda: st.SEAdLIF(
            N, a=90.0 * u.nS, b=3000.0 * u.pA, tau_w=90.0 * u.ms, tau_ref=3.0 * u.ms, **quantities(REAL)
        ),
        current(0.8, 0.8),
        reference(refn.symplectic, a=0.09, b=3.0, tau_w=90.0, tau_ref=3.0, **REAL),
        steps=2000,
        feed=lambda I: (jnp.asarray(I) * u.nA,),
    )
    turning = dict(period=np.array([3.0, 8.0, 20.0, 45.0, 200.0]))
    refractory = dict(beta=0.6, kappa=np.array([0.0, 0.5, 1.0, 2.0, 5.0]), tau_q=9.0)
    yield Row(
        "BRF",
        lambda: st.BRF(N, **turning, **refractory, **BARE),
        current(2.0, 5.0),
        reference(refn.resonating, **turning, **refractory, **BARE),
        steps=2000,
    )
    speed = np.array([0.2, 0.5, 1.0, 1.7, 3.0])
    yield Row(
        "CSiLIF-conductances",
        lambda: st.CSiLIF(N, speed=speed, period=30.0 * u.ms, reset=st.HardReset(), **quantities(REAL)),
        everything,
        lambda exc, inh, I, dV, *, dt: reference(
            refn.resonating, speed=speed, period=30.0, reset="hard", g=(0.0, -80.0), **REAL
        )(I * 1e-3, exc * 1e-3, inh * 1e-3, dV, dt=dt),
        feed=feed_everything,
    )


def neurons_with_synapses():
    """Neurons with synapses of their own."""

    def arriving(*scales):
        """Draw what arrives at each kind of synapse, and a current in nA."""
        return lambda rng, shape: (
            *(scale * arrivals(rng, shape)[0] for scale in scales),
            *current(0.1, 0.3)(rng, shape),
        )

    def reference(run, **parameters):
        def call(*arrays, dt):
            trains = run(*arrays, dt=dt, **parameters)
            return {"out": trains["spikes"], **trains}

        return call

    tau_syn = np.array([0.6, 3.0, 14.0, 14.001, 90.0])  # of the membrane: 14
    yield Row(
        "LIFCurrExp-units",
        lambda: st.LIFCurrExp(N, tau_syn=tau_syn * u.ms, **quantities(REAL)),
        arriving(0.6),
        reference(lambda *x, **k: refn.synaptic_current(x, **k), tau_syn=tau_syn, **REAL),
        feed=lambda w, I: (jnp.asarray(w) * u.nA, jnp.asarray(I) * u.nA),
    )
    yield Row(
        "LIFCurrExp-conductances-refractory",
        lambda: st.LIFCurrExp(N, tau_syn=5.0 * u.ms, reset=st.HardReset(), tau_ref=3.0 * u.ms, **quantities(REAL)),
        lambda rng, shape: (*arrivals(rng, shape), *everything(rng, shape)),
        lambda w, exc, inh, I, dV, *, dt: reference(
            lambda *x, **k: refn.synaptic_current(x, **k),
            tau_syn=5.0,
            g=(0.0, -80.0),
            reset="hard",
            tau_ref=3.0,
            **REAL,
        )(w, I * 1e-3, exc * 1e-3, inh * 1e-3, dV, dt=dt),
        feed=lambda w, *rest: (jnp.asarray(w) * u.nA, *feed_everything(*rest)),
    )
    synapses = dict(tau_exc=np.array([1.0, 3.0, 5.0, 8.0, 20.0]), tau_inh=10.0, E_exc=0.0, E_inh=-80.0)
    units = dict(tau_exc=MS, tau_inh=MS, E_exc=MV, E_inh=MV)
    yield Row(
        "LIFCondExp-refractory",
        lambda: st.LIFCondExp(
            N, tau_ref=3.0 * u.ms, **quantities(REAL), **{name: value * units[name] for name, value in synapses.items()}
        ),
        arriving(20.0, 8.0),
        lambda exc, inh, I, *, dt: reference(refn.synaptic_conductances, tau_ref=3.0, **synapses, **REAL)(
            exc * 1e-3, inh * 1e-3, I, dt=dt
        ),
        feed=lambda exc, inh, I: (jnp.asarray(exc) * u.nS, jnp.asarray(inh) * u.nS, jnp.asarray(I) * u.nA),
    )


def synapses():
    """Every synapse, with and without units."""
    tau = np.array([1.0, 3.0, 5.0, 20.0, 100.0])
    for kind, respond in ((st.Expon, ref.expon), (st.Alpha, ref.alpha)):
        yield Row(
            kind.__name__,
            lambda kind=kind: kind(N, tau=6.0),
            arrivals,
            lambda x, *, dt, respond=respond: {"out": respond(x, tau=6.0, dt=dt)},
        )
        yield Row(
            f"{kind.__name__}-units",
            lambda kind=kind: kind(N, tau=tau * u.ms, unit=u.nS),
            arrivals,
            lambda x, *, dt, respond=respond: {"out": respond(x * 1e3, tau=tau, dt=dt)},  # uS arrive at nS
            feed=lambda x: (jnp.asarray(x) * u.uS,),
            out=u.nS,
        )


def more_synapses():
    """The dual exponential, short-term plasticity and receptor kinetics."""
    rise, fall = np.array([0.5, 1.0, 2.0, 5.0, 4.0]), np.array([2.0, 10.0, 2.0, 5.0, 60.0])  # two are equal
    yield Row(
        "DualExpon",
        lambda: st.DualExpon(N, tau_rise=rise, tau_decay=fall),
        arrivals,
        lambda x, *, dt: {"out": refs.dual_expon(x, tau_rise=rise, tau_decay=fall, dt=dt)},
    )
    yield Row(
        "DualExpon-amplitude-units",
        lambda: st.DualExpon(N, tau_rise=1.3 * u.ms, tau_decay=9.0 * u.ms, A=1.7, unit=u.nS),
        arrivals,
        lambda x, *, dt: {"out": refs.dual_expon(x, tau_rise=1.3, tau_decay=9.0, A=1.7, dt=dt)},
        feed=lambda x: (jnp.asarray(x) * u.nS,),
        out=u.nS,
    )
    yield Row(
        "STP",
        lambda: st.STP(PRE, U=0.2, tau_f=300.0 * u.ms, tau_d=120.0),
        spikes,
        lambda s, *, dt: {"out": refs.stp(s, U=0.2, tau_f=300.0, tau_d=120.0, dt=dt)},
    )
    per_ms, per_ms_mM = u.ms**-1, u.ms**-1 * u.mM**-1
    for name, kind, rates in (
        ("AMPA", st.AMPA, dict(alpha=0.98, beta=0.18, T=0.5, T_dur=0.5)),
        ("GABAa", st.GABAa, dict(alpha=0.53, beta=0.18, T=1.0, T_dur=1.0)),
        ("AMPA-long-pulse-units", st.AMPA, dict(alpha=0.4, beta=0.05, T=1.5, T_dur=3.2)),
    ):
        given = dict(alpha=per_ms_mM, beta=per_ms, T=u.mM, T_dur=u.ms) if "units" in name else {}
        arguments = {n: rates[n] * unit for n, unit in given.items()}
        yield Row(
            name,
            lambda kind=kind, arguments=arguments: kind(PRE, **arguments),
            spikes,
            lambda s, *, dt, rates=rates: {"out": refs.ampa(s, dt=dt, **rates)},
        )
    yield Row(
        "HighPass-units",
        lambda: st.HighPass(PRE, tau=12.0 * u.ms, unit=u.nA),
        spikes,
        lambda x, *, dt: (lambda m: {"out": x - m, "m": m})(refs.mean_of(x, tau=12.0, dt=dt)),
        feed=lambda x: (jnp.asarray(x) * u.nA,),
        out=u.nA,
    )
    rates = dict(alpha1=2.0, beta1=0.01, alpha2=1.0, beta2=0.5, T=1.0, T_dur=0.5)

    def nmda(s, *, dt):
        g, x = refs.bio_nmda(s, dt=dt, **rates)
        return {"out": g, "x": x}

    yield Row("BioNMDA", lambda: st.BioNMDA(PRE), spikes, nmda)


class TwoPathways(st.Dynamics):
    """A neuron behind one synapse that two populations share."""

    def __init__(self, neuron, projection):
        self.neuron, self.projection, self.in_size = neuron, projection, projection.in_size

    def update(self, a, b):
        return self.neuron.update(self.projection.update(a, b))


class Coupled(st.Dynamics):
    """Neurons that gap junctions couple."""

    def __init__(self, neuron, gap):
        self.neuron, self.gap, self.in_size = neuron, gap, neuron.in_size

    def update(self, current):
        return self.neuron.update(current, self.gap(self.neuron.V_after_reset))


def matrix(comm):
    """Return the weights of a sparse comm as a matrix of plain numbers."""
    dense = np.zeros((*comm.in_size, *comm.out_size))
    pre, post = comm.pairs()
    np.add.at(dense, (pre, post), np.broadcast_to(np.asarray(comm.weight.get_raw_value()), post.shape))
    return dense


def more_projections():
    """Sparse, shared, saturating, blocked and electrical."""

    def sparse():
        return st.FixedProb(PRE, N, 0.4, 60.0 * u.nS, seed=2)

    def sparse_chain(x, *, dt):
        g = ref.expon(x @ (matrix(sparse()) * 1e-3), tau=5.0, dt=dt)
        trains = ref.neuron(conductances=[(g, 0.0)], dt=dt, **REAL)
        return {"out": trains["spikes"], "projections/0/syn/g": g * 1e3, **below("neuron", trains)}

    yield Row(
        "FixedProb-Expon-COBA-LIF",
        lambda: Driven(
            st.LIF(N, **quantities(REAL)),
            st.AlignPostProj(sparse(), st.Expon(N, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV)),
        ),
        spikes,
        sparse_chain,
    )

    def shared(a, b, *, dt):
        g = ref.expon(a @ (W_IN * 0.04) + b @ (matrix(sparse()) * 1e-3), tau=5.0, dt=dt)
        trains = ref.neuron(conductances=[(g, 0.0)], dt=dt, **REAL)
        return {"out": trains["spikes"], "projection/syn/g": g * 1e3, **below("neuron", trains)}

    yield Row(
        "Sum-Expon-COBA-LIF",
        lambda: TwoPathways(
            st.LIF(N, **quantities(REAL)),
            st.AlignPostProj(
                st.Sum(st.Dense(PRE, N, weight=40.0 * W_IN * u.nS), sparse()),
                st.Expon(N, tau=5.0 * u.ms),
                st.COBA(E=0.0 * u.mV),
            ),
        ),
        lambda rng, shape: (*spikes(rng, shape), *spikes(rng, shape)),
        shared,
    )

    def saturating(s, *, dt):
        g = refs.ampa(s, alpha=0.98, beta=0.18, T=0.5, T_dur=0.5, dt=dt) @ (W_IN * 0.3)
        trains = ref.neuron(conductances=[(g, 0.0)], dt=dt, **REAL)
        return {"out": trains["spikes"], **below("neuron", trains)}

    yield Row(
        "AMPA-COBA-LIF",
        lambda: Driven(
            st.LIF(N, **quantities(REAL)),
            st.AlignPreProj(st.AMPA(PRE), st.Dense(PRE, N, weight=0.3 * W_IN * u.uS), st.COBA(E=0.0 * u.mV)),
        ),
        spikes,
        saturating,
    )
    passive, rates = without(REAL, "V_th", "V_reset"), dict(alpha1=2.0, beta1=0.01, alpha2=1.0, beta2=0.5, T=1.0)

    def blocked(s, *, dt):
        g, _ = refs.bio_nmda(s, T_dur=0.5, dt=dt, **rates)
        V = refs.blocked_membrane(g @ (W_IN * 0.01), E=2.0, V_offset=-3.0, dt=dt, **passive)
        return {"out": V, "neuron/V": V}

    yield Row(
        "BioNMDA-MgBlock-LeakyIntegrator",
        lambda: Driven(
            st.LeakyIntegrator(N, **quantities(passive)),
            st.AlignPreProj(
                st.BioNMDA(PRE),
                st.Dense(PRE, N, weight=10.0 * W_IN * u.nS),
                st.MgBlock(E=2.0 * u.mV, V_offset=-3.0 * u.mV),
            ),
        ),
        spikes,
        blocked,
        out=u.mV,
    )
    conductances = np.abs(W) + np.abs(W).T

    def coupled(I, *, dt):
        trains = refs.coupled(I, 0.03 * conductances, dt=dt, **REAL)
        return {"out": trains["spikes"], **below("neuron", trains)}

    yield Row(
        "GapJunction-LIF",
        lambda: Coupled(
            st.LIF(N, reset=st.HardReset(), **quantities(REAL)),
            st.GapJunction(st.Dense(N, N, weight=30.0 * conductances * u.nS)),
        ),
        current(0.9, 0.8),
        coupled,
        feed=lambda I: (jnp.asarray(I) * u.nA,),
    )


def chains():
    """Every kind of projection, on its way into a neuron."""

    def coba(x, *, dt):
        g = ref.expon(x @ (W_IN * 0.06), tau=5.0, dt=dt)
        trains = ref.neuron(conductances=[(g, 0.0)], dt=dt, **REAL)
        return {"out": trains["spikes"], "projections/0/syn/g": g * 1e3, **below("neuron", trains)}

    yield Row(
        "Expon-COBA-LIF",
        lambda: Driven(
            st.LIF(N, **quantities(REAL)),
            st.AlignPostProj(
                st.Dense(PRE, N, weight=60.0 * W_IN * u.nS), st.Expon(N, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV)
            ),
        ),
        spikes,
        coba,
    )

    def cuba(x, *, dt):
        I = ref.alpha(x @ (3.0 * W_IN), tau=4.0, dt=dt)
        trains = ref.neuron(I, beta=0.3, tau_a=50.0, dt=dt, **BARE)
        return {"out": trains["spikes"], "projections/0/syn/g": I, **below("neuron", trains)}

    yield Row(
        "Alpha-CUBA-ALIF",
        lambda: Driven(
            st.ALIF(N, beta=0.3, tau_a=50.0, **BARE),
            st.AlignPostProj(st.Dense(PRE, N, weight=3.0 * W_IN), st.Alpha(N, tau=4.0), st.CUBA()),
        ),
        spikes,
        cuba,
    )

    def delta(x, *, dt):
        trains = ref.neuron(jump=x @ (6.0 * W_IN), dt=dt, reset="hard", **REAL)
        return {"out": trains["spikes"], **below("neuron", trains)}

    yield Row(
        "Instant-Delta-LIF",
        lambda: Driven(
            st.LIF(N, reset=st.HardReset(), **quantities(REAL)),
            st.AlignPostProj(st.Dense(PRE, N, weight=6.0 * W_IN * u.mV), st.Instant(N), st.Delta()),
        ),
        spikes,
        delta,
    )
    passive = without(REAL, "V_th", "V_reset")

    def two(x, *, dt):
        g, I = ref.alpha(x @ (0.01 * W_IN), tau=8.0, dt=dt), ref.expon(x @ (0.2 * W_IN), tau=3.0, dt=dt)
        trains = ref.neuron(I, conductances=[(g, -80.0)], dt=dt, **passive)
        return {"out": trains["V"], **below("neuron", trains)}

    yield Row(
        "Alpha-COBA-and-Expon-CUBA-LeakyIntegrator",
        lambda: Driven(
            st.LeakyIntegrator(N, **quantities(passive)),
            st.AlignPostProj(
                st.Dense(PRE, N, weight=10.0 * W_IN * u.nS), st.Alpha(N, tau=8.0 * u.ms), st.COBA(E=-80.0 * u.mV)
            ),
            st.AlignPostProj(st.Dense(PRE, N, weight=200.0 * W_IN * u.pA), st.Expon(N, tau=3.0 * u.ms), st.CUBA()),
        ),
        spikes,
        two,
        out=u.mV,
    )


def circuits():
    """Everything with feedback."""

    def recurrent(**parameters):
        def run(I, *, dt):
            trains = ref.neuron(I, dt=dt, **parameters)
            return {"out": trains["spikes"], **below("neuron", trains)}

        return run

    yield Row(
        "Recurrent-LIF-units",
        lambda: st.Recurrent(st.LIF(N, **quantities(REAL)), weight=st.Trainable(W * u.nA)),
        current(0.5, 0.6),
        recurrent(W=W, **REAL),
        feed=lambda I: (jnp.asarray(I) * u.nA,),
    )
    yield Row(
        "Recurrent-ALIF",
        lambda: st.Recurrent(st.ALIF(N, beta=0.4, tau_a=70.0, **BARE), weight=W),
        current(1.5, 2.0),
        recurrent(W=W, beta=0.4, tau_a=70.0, **BARE),
    )
    weights = {
        name: np.random.default_rng(i).uniform(0.0, 1.0, (N, N)) for i, name in enumerate(("ee", "ei", "ie", "ii"))
    }

    def projection(name, scale, tau, E):
        comm = st.Dense(N, N, weight=scale * weights[name] * u.nS)
        return st.AlignPostProj(comm, st.Expon(N, tau=tau * u.ms), st.COBA(E=E * u.mV))

    def ei(I, *, dt):
        shape = I.shape[1:]
        excitatory, inhibitory = (ref.IntegrateAndFire(shape, dt=dt, **REAL) for _ in range(2))

        def g(source, weight, tau):
            age = dt * np.arange(len(source.spikes) - 1, -1, -1).reshape(-1, *[1] * len(shape))
            return (np.exp(-age / tau) * (np.stack(source.spikes) @ weight)).sum(0)

        for n in range(len(I)):
            to_e = [
                (g(excitatory, 8e-3 * weights["ee"], 5.0), 0.0),
                (g(inhibitory, 30e-3 * weights["ie"], 10.0), -80.0),
            ]
            to_i = [
                (g(excitatory, 8e-3 * weights["ei"], 5.0), 0.0),
                (g(inhibitory, 30e-3 * weights["ii"], 10.0), -80.0),
            ]
            excitatory.step(I[n], to_e)
            inhibitory.step(I[n], to_i)
        trains = excitatory.trains()
        return {"out": trains["spikes"], **below("E", trains), **below("I", inhibitory.trains())}

    yield Row(
        "EI-circuit",
        lambda: EINet(
            st.LIF(N, **quantities(REAL)),
            st.LIF(N, **quantities(REAL)),
            projection("ee", 8.0, 5.0, 0.0),
            projection("ei", 8.0, 5.0, 0.0),
            projection("ie", 30.0, 10.0, -80.0),
            projection("ii", 30.0, 10.0, -80.0),
        ),
        current(0.7, 0.6),
        ei,
        feed=lambda I: (jnp.asarray(I) * u.nA,),
    )


ROWS = [
    *neurons(),
    *more_neurons(),
    *oscillating_neurons(),
    *neurons_with_synapses(),
    *synapses(),
    *more_synapses(),
    *chains(),
    *more_projections(),
    *circuits(),
]


class LayeredNet(nnx.Module):
    """A train-level model: weights outside the loops, one layer with feedback, a readout."""

    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.fc1 = nnx.Linear(N, 8, param_dtype=float, rngs=rngs)
        self.lif = st.LIF(8, tau=st.Trainable(12.0), V_initializer=st.Trainable(0.2))
        self.fc2 = nnx.Linear(8, 6, param_dtype=float, rngs=rngs)
        self.alif = st.Recurrent(st.ALIF(6, V_th=0.6, beta=0.3, tau_a=st.Trainable(40.0)), rngs=rngs)
        self.fc3 = nnx.Linear(6, 3, param_dtype=float, rngs=rngs)
        self.readout = st.LeakyIntegrator(3, tau=8.0, V_rest=st.Trainable(0.1))

    def __call__(self, x):
        return self.readout(self.fc3(self.alif(3.0 * self.fc2(self.lif(4.0 * self.fc1(x))))))


class ProjectionNet(nnx.Module):
    """A train-level model in units: a projection and the neuron behind it."""

    def __init__(self):
        weight = st.Trainable(60.0 * W_IN * u.nS)
        self.projection = st.AlignPostProj(
            st.Dense(PRE, N, weight=weight), st.Expon(N, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV)
        )
        self.neuron = st.LIF(N, **quantities(dict(without(REAL, "tau"))), tau=st.Trainable(14.0 * u.ms))

    def __call__(self, x):
        return self.neuron(self.projection(x))


def nets():
    """Train-level models, which have no reference of their own: they consist of rows."""
    yield Row("Layered-LeakyIntegrator", LayeredNet, current(1.0, 1.0), None)
    yield Row("Projected-LIF", ProjectionNet, spikes, None)


NETS = [*nets()]
BY_NAME = {row.name: row for row in (*ROWS, *NETS)}
assert len(BY_NAME) == len(ROWS) + len(NETS), "two rows share a name"


def rows(*names):
    """Pick rows by name."""
    return [BY_NAME[name] for name in names]


def repeated(row):
    """Whether a row differs from others only in its units or its reset, or is made of parts with rows of their own."""
    model = row.make()
    composed = not isinstance(model, Cell | Synapse) and row.name not in ("Expon-COBA-LIF", "GapJunction-LIF")
    return composed or row.name.endswith(("-units", "-hard-refractory", "-none-refractory"))


# Every row, those marked as slow that repeat others.
CASES = [pytest.param(row, marks=[pytest.mark.slow] * repeated(row)) for row in ROWS]
