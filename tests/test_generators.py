"""Sources have the statistics of their processes and the spikes of their lists; waveforms have the edges they say."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import environ

from helpers import active, bare, equal, record

T, B, N = 2000, 4, 50


def poisson(rate=40.0 * u.Hz, size=N, seed=0):
    return st.PoissonSpikes(size, rate, rngs=nnx.Rngs(seed))


def counts(rate=5.0 * u.Hz, sources=80, size=N, seed=0):
    return st.PoissonInput(size, sources, rate, rngs=nnx.Rngs(seed))


def noise(size=N, seed=0, mean=0.2 * u.nA, std=50.0 * u.pA, tau=8.0 * u.ms):
    return st.OrnsteinUhlenbeck(size, mean, std, tau, rngs=nnx.Rngs(seed))


def spike_list(size=N):
    rng = np.random.default_rng(0)
    steps = np.stack([rng.choice(T, 30, replace=False) for _ in range(size)])
    return st.SpikeList(size, steps.ravel() * u.ms, np.repeat(np.arange(size), 30))


RANDOM = {"PoissonSpikes": poisson, "PoissonInput": counts, "OrnsteinUhlenbeck": noise}
every_random = pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM)
every_source = pytest.mark.parametrize("make", [*RANDOM.values(), spike_list], ids=[*RANDOM, "SpikeList"])


def near(actual, expected, deviation, samples):
    """Compare a mean over independent samples of the given standard deviation, to five standard errors."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=5 * deviation / np.sqrt(samples))


# --- What every source shares


@every_source
def test_a_train_equals_its_steps_and_its_pieces(make):
    with environ.context(dt=1.0 * u.ms):
        whole, hand, pieces = make(), make(), make()
        expected = bare(whole(length=16, batch_shape=(B,)))
        assert expected.shape == (16, B, N) and np.ptp(expected) > 0
        hand.init_state((B,))
        equal(np.stack([bare(hand.update()) for _ in range(16)]), expected, rtol=1e-6)
        ys, carry = [], None
        for length in (6, 1, 9):
            y, carry = st.advance(pieces, carry, length=length, batch_shape=(B,))
            ys.append(bare(y))
        equal(np.concatenate(ys), expected, rtol=1e-6)
        assert not nnx.to_flat_state(nnx.state(whole, st.ShortTermState))


@every_random
def test_draws_are_fresh_and_repeatable(make):
    with environ.context(dt=1.0 * u.ms):
        a, b, other = make(), make(), make(seed=1)
        first, second = (bare(a(length=16, batch_shape=(B,))) for _ in range(2))
        equal(bare(b(length=16, batch_shape=(B,))), first, rtol=0)
        equal(bare(b(length=16, batch_shape=(B,))), second, rtol=0)
        assert not np.array_equal(second, first)
        assert not np.array_equal(bare(other(length=16, batch_shape=(B,))), first)


@every_random
def test_rows_neurons_and_steps_are_independent(make):
    """Correlations of all pairs are those of independent trains; lagged ones too, where there is no memory."""
    with environ.context(dt=20.0 * u.ms):  # 2.5 tau
        x = bare(make(size=6)(length=4000, batch_shape=(3,)), None).reshape(4000, -1)
    memory = np.exp(-2.5) if make is noise else 0.0
    x = np.concatenate([x[:-1], x[1:]], 1)
    r = np.corrcoef(x.T)
    expected = np.eye(36) + memory * (np.eye(36, k=18) + np.eye(36, k=-18))
    np.testing.assert_allclose(r, expected, atol=5.5 / np.sqrt(4000))


@every_random
def test_sources_run_under_vmap_over_seeds(make):
    def run(key):
        return make(size=3, seed=key)(length=50)

    with environ.context(dt=1.0 * u.ms):
        keys = jax.random.split(jax.random.key(0), 3)
        together = bare(jax.jit(jax.vmap(run))(keys))
        apart = np.stack([bare(run(key)) for key in keys])
    equal(together, apart, rtol=1e-6)
    assert len(np.unique(together.reshape(3, -1), axis=0)) == 3


def test_a_source_is_a_part_of_a_circuit():
    class Net(st.Dynamics):
        def __init__(self):
            self.source, self.drive, self.noise = poisson(), counts(), noise()
            self.proj = st.AlignPostProj(st.Dense(N, 8, weight=0.3 * u.mV), st.Instant(8), st.Delta())
            self.syn = st.Expon(N, tau=5.0 * u.ms, unit=u.nA)
            self.E = st.LIF(N, V_th=15.0 * u.mV, V_rest=0.0 * u.mV, R=100.0 * u.Mohm, tau=10.0 * u.ms)

        def update(self):
            seen = self.source.spikes
            self.proj.update(seen)
            self.source.update()
            drive = self.syn.update(0.01 * u.nA * self.drive.update())
            return self.E.update(drive, self.noise.update())

    net = Net()
    with environ.context(dt=1.0 * u.ms):
        spikes, trains = record(net, length=300, batch_shape=(B,))
    active(spikes)
    assert trains["drive/emitted"].max() > 1
    emitted, seen = np.asarray(trains["source/emitted"]), bare(trains["proj/syn/g"])
    equal(seen[1:, :, 0], 0.3 * emitted[:-1].sum(-1), rtol=1e-5)


# --- Poisson


@pytest.mark.parametrize("dt", [0.2, 5.0])
def test_the_mean_rate_does_not_depend_on_dt(dt):
    rate = np.linspace(0.0, 100.0, N)
    with environ.context(dt=dt * u.ms):
        s = np.asarray(poisson(rate * u.Hz)(length=400, batch_shape=(20,))).mean((0, 1))
        n = np.asarray(counts(rate / 80 * u.Hz)(length=400, batch_shape=(20,))).mean((0, 1))
    steps = 400 * 20
    p = rate * dt * 1e-3
    assert s[0] == n[0] == 0
    assert np.all(np.abs(s - p) <= 5 * np.sqrt(p * (1 - p) / steps)) and s[-1] > 0
    assert np.all(np.abs(n - p) <= 5 * np.sqrt(p / steps)) and n[-1] > 0


def test_intervals_are_geometric():
    with environ.context(dt=1.0 * u.ms):
        s = np.asarray(poisson(100.0 * u.Hz, size=400)(length=2000))
    intervals = np.concatenate([np.diff(np.flatnonzero(train)) for train in s.T])
    p, samples = 0.1, len(intervals)
    assert samples > 70_000 and intervals.min() == 1
    near(intervals.mean(), 1 / p, np.sqrt(1 - p) / p, samples)
    np.testing.assert_allclose(intervals.std() / intervals.mean(), np.sqrt(1 - p), rtol=0.02)
    for k in (1, 5, 20):
        survival = (1 - p) ** k
        near((intervals > k).mean(), survival, np.sqrt(survival * (1 - survival)), samples)


@pytest.mark.parametrize("mean", [0.3, 4.0, 60.0])
def test_counts_are_poisson(mean):
    with environ.context(dt=0.5 * u.ms):
        n = np.asarray(counts(mean / 500 / 0.5e-3 * u.Hz, sources=500)(length=1000))
    near(n.mean(), mean, np.sqrt(mean), n.size)
    near(n.var(), mean, np.sqrt(mean + 2 * mean**2), n.size)  # of a Poisson variable's squared deviation
    np.testing.assert_array_equal(n, np.round(n))
    k = round(mean)
    p = np.exp(k * np.log(mean) - mean - np.sum(np.log(np.arange(1, k + 1))))
    near((n == k).mean(), p, np.sqrt(p * (1 - p)), n.size)


def test_counts_of_one_source_are_those_of_many_slow_ones():
    with environ.context(dt=1.0 * u.ms):
        one = counts(200.0 * u.Hz, sources=1)(length=500)
        many = counts(0.2 * u.Hz, sources=1000)(length=500)
    equal(many, one, rtol=0)
    assert np.max(one) > 1


def test_a_rate_that_is_told_in_every_step():
    t = np.arange(1000) * 0.5 * u.ms
    with environ.context(dt=0.5 * u.ms):
        rate = (st.Sine(50.0 * u.Hz, 4.0 * u.Hz) + st.Step(60.0 * u.Hz))(t)
        for source, gain in ((poisson(None), 1), (counts(None, sources=3), 3)):
            s = np.asarray(source(rate, batch_shape=(20,)))
            assert s.shape == (1000, 20, N)
            p = gain * bare(rate, u.Hz) * 0.5e-3
            per_window = s.mean((1, 2)).reshape(20, 50).mean(1)
            near(per_window, p.reshape(20, 50).mean(1), np.sqrt(p.max()), 50 * 20 * N)
        own = np.asarray(poisson(None)(jnp.broadcast_to(jnp.arange(N) * 2.0, (1000, 3, N)) * u.Hz))
        assert own.shape == (1000, 3, N) and not own[..., 0].any()
        near(own.mean((0, 1)), np.arange(N) * 1e-3, np.sqrt(0.05), 3000)
        assert not np.any(poisson(None)(-jnp.ones(50) * u.kHz)) and np.all(poisson(None)(jnp.ones(50) * 9.0 * u.kHz))


def test_a_rate_may_come_from_an_initialiser_and_bare_numbers_count_in_hertz():
    with environ.context(dt=1.0 * u.ms):
        equal(poisson(40.0)(length=100), poisson(0.04 / u.ms)(length=100), rtol=0)
        drawn = poisson(st.Uniform(0.0 * u.Hz, 100.0 * u.Hz))
        assert drawn.rate.shape == (N,) and len(np.unique(drawn.rate.mantissa)) == N
        assert poisson(40.0, size=(2, 3))(length=7).shape == (7, 2, 3)
        active(drawn(length=100))


# --- Ornstein-Uhlenbeck


@pytest.mark.parametrize("dt", [0.1, 4.0, 50.0])
def test_the_process_is_stationary_with_its_mean_spread_and_memory_at_any_dt(dt):
    rows, lags = 6000, (0, 1, 3)
    with environ.context(dt=dt * u.ms):
        x = noise()(length=4, batch_shape=(rows,))
    assert x.unit == u.nA
    x = bare(x).astype(float)
    samples = rows * N
    near(x.mean((1, 2)), 0.2, 0.05, samples)
    near(x.std((1, 2)), 0.05, 0.05 / np.sqrt(2), samples)
    z = (x - 0.2) / 0.05
    near((z**3).mean((1, 2)), 0.0, np.sqrt(15), samples)
    near((z**4).mean((1, 2)), 3.0, np.sqrt(96), samples)
    for lag in lags:
        r = np.exp(-lag * dt / 8.0)
        near((z[0] * z[lag]).mean(), r, np.sqrt(1 + r**2), samples)


def test_the_noise_of_each_neuron_has_its_own_parameters():
    tau, std, mean = np.array([2.0, 20.0]), np.array([1.0, 0.0]), np.array([-3.0, 5.0])
    with environ.context(dt=1.0 * u.ms):
        x = np.asarray(noise(2, mean=mean, std=std, tau=tau)(length=2, batch_shape=(20_000,)))
    np.testing.assert_array_equal(x[..., 1], 5.0)
    near(x[..., 0].mean(1), -3.0, 1.0, 20_000)
    near(((x[0] + 3) * (x[1] + 3))[:, 0].mean(), np.exp(-0.5), 1.5, 20_000)


def test_the_gradient_follows_the_path():
    """x is mean + std * z for a z that depends on tau alone."""

    def make():
        return noise(3, mean=st.Trainable(0.5), std=st.Trainable(2.0), tau=st.Trainable(8.0 * u.ms))

    graphdef, params, rest = nnx.split(make(), nnx.Param, ...)
    with environ.context(dt=1.0 * u.ms):
        slopes = jax.grad(lambda params: jnp.sum(nnx.merge(graphdef, params, rest, copy=True)(length=20)[-1]))(params)
        z = (make()(length=20)[-1] - 0.5) / 2.0
    np.testing.assert_allclose(slopes["mean"].get_raw_value(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(slopes["std"].get_raw_value(), z, rtol=1e-4)
    assert np.all(np.isfinite(slopes["tau"].get_raw_value())) and np.any(slopes["tau"].get_raw_value())


# --- Given spikes


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("dt", [0.1, 0.3, 1 / 3])
def test_a_spike_is_in_the_step_that_contains_it_and_none_is_lost(dt, single):
    """Also for times like 3 * 0.1, which lie next to the grid, and in single precision."""
    rng = np.random.default_rng(0)
    expected = rng.binomial(1, 0.4, (1000, 5)).astype(float)
    expected[-1] = 1.0
    n, neurons = np.nonzero(expected)
    times = (n + 0.9 * (neurons == 4)) * dt
    order = rng.permutation(len(n))
    times = jnp.asarray(times[order], jnp.float32) if single else times[order]
    with environ.context(dt=dt * u.ms):
        out = st.SpikeList(5, times * u.ms, neurons[order])(length=1000, batch_shape=(2,))
    np.testing.assert_array_equal(out, np.broadcast_to(expected[:, None], (1000, 2, 5)))


def test_late_times_keep_their_step():
    n = np.array([0, 1_000_003, 9_999_999, 16_777_215])
    source = st.SpikeList(1, n * 0.1 * u.ms, np.zeros(4, int))
    with environ.context(dt=0.1 * u.ms):
        for step in n:
            source.init_state()
            source.step.value = float(max(step - 1, 0))
            out = [float(source.update()[0]) for _ in range(3)]
            assert out == ([0.0, 1.0, 0.0] if step else [1.0, 0.0, 0.0])


def test_a_list_belongs_to_a_size_and_to_a_dt():
    source = st.SpikeList((2, 3), [1.0, 2.0, 2.0], [5, 0, 3])  # bare times count in ms
    for dt in (1.0, 0.5):
        with environ.context(dt=dt * u.ms):
            s = np.asarray(source(length=round(4 / dt)))
        at = list(zip(*np.nonzero(s), strict=True))
        assert at == [(round(1 / dt), 1, 2), (round(2 / dt), 0, 0), (round(2 / dt), 1, 0)]
    with environ.context(dt=1.0 * u.ms):
        assert not np.any(st.SpikeList(3, [], [])(length=5))
        same = st.SpikeList((2, 3), np.array([1.0, 2.0, 2.0]) * u.ms, [5, 0, 3])
        equal(same(length=4), s[::2], rtol=0)
    one, other = spike_list(), spike_list()
    assert one.events == other.events and hash(one.events) == hash(other.events) and one.events != source.events


# --- Waveforms

NA = dict(start=3.0 * u.ms, stop=7.0 * u.ms)


def sampled(waveform, dt, steps=100):
    with environ.context(dt=dt * u.ms):
        return waveform(np.arange(steps) * dt * u.ms)


@given(
    dt=some.floats(0.01, 3.0),
    first=some.integers(0, 98),
    length=some.integers(1, 60),
    rounding=some.sampled_from([0.0, 1e-9, -1e-9, 0.3, -0.3]),
)
def test_edges_lie_in_the_step_that_is_meant_at_awkward_dt(dt, first, length, rounding):
    start, stop = (first + rounding) * dt, (first + length + rounding) * dt
    expected = np.zeros(100)
    expected[first : first + length] = 2.0
    wave = st.Step(2.0, start=start, stop=stop)
    np.testing.assert_array_equal(sampled(wave, dt), expected)


@pytest.mark.parametrize("dt", [0.1, 0.3, 1 / 7])
def test_traced_times_have_the_same_edges(dt):
    wave = st.Step(2.0, start=30 * dt, stop=0.2 * u.second)
    expected = sampled(wave, dt)
    with environ.context(dt=dt * u.ms):
        t = jnp.arange(100) * jnp.float32(dt)
        np.testing.assert_array_equal(wave(t), expected)
        np.testing.assert_array_equal(jax.jit(wave)(t * u.ms), expected)
    np.testing.assert_array_equal(expected, 2.0 * (np.arange(100) >= 30))


def test_a_window_far_out_is_as_sharp():
    n = 10**9 + np.arange(100)
    with environ.context(dt=0.1 * u.ms):
        wave = st.Step(1.0 * u.nA, start=(10**9 + 40) * 0.1 * u.ms)
        np.testing.assert_array_equal(bare(wave(n * 0.1 * u.ms)), np.arange(100) >= 40)
        sine = bare(st.Sine(1.0, 7.0 * u.Hz)(n * 0.1 * u.ms))
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * 7.0 * (n % 10**4) * 1e-4), atol=2e-4)


def test_waveforms_have_their_values_units_and_sums():
    t = np.arange(100) * 0.1
    on = (np.round(t, 6) >= 3.0) & (np.round(t, 6) < 7.0)
    ramp = sampled(st.Ramp(0.1 * u.nA, 300.0 * u.pA, **NA), 0.1)
    np.testing.assert_allclose(bare(ramp), np.where(on, 0.1 + 0.2 * (t - 3.0) / 4.0, 0.0), atol=1e-7)
    sine = sampled(st.Sine(2.0 * u.nA, 0.25 * u.kHz, phase=0.4, **NA), 0.1)
    np.testing.assert_allclose(bare(sine), np.where(on, 2 * np.sin(2 * np.pi * 0.25 * (t - 3.0) + 0.4), 0.0), atol=1e-6)
    total = (
        st.Step(0.3 * u.nA) + st.Ramp(100.0 * u.pA, 300.0 * u.pA, **NA) + st.Sine(2.0 * u.nA, 250.0, phase=0.4, **NA)
    )
    values = sampled(total, 0.1)
    assert ramp.unit == sine.unit == values.unit == total.unit == u.nA and ramp.dtype == jnp.float32
    np.testing.assert_allclose(bare(values), 0.3 + bare(ramp) + bare(sine), atol=1e-6)
    with environ.context(dt=0.1 * u.ms):
        assert total(3.0 * u.ms).shape == () and total(np.zeros((2, 3)) * u.ms).shape == (2, 3)
        equal(bare(total(0.005 * u.second)), bare(values)[50], rtol=1e-6)


def test_waveforms_are_values():

    def make():
        return st.Step(0.3 * u.nA, start=1.0) + st.Sine(1.0 * u.nA, 5.0) + st.Ramp(0.0 * u.nA, 1.0 * u.nA, stop=9.0)

    assert make() == make() and hash(make()) == hash(make())
    assert st.Step(0.3) != st.Step(0.3 * u.nA) and st.Step(0.3) != st.Step(0.3, start=1.0)
    assert st.Step(0.3, start=1.0) == st.Step(0.3, start=1.0 * u.ms)


def test_a_neuron_takes_a_waveform_whole_and_in_chunks():
    neuron = st.LIF(3, tau=5.0, V_th=1.0)
    wave = st.Step(1.5, start=10.0) + st.Sine(2.0, 40.0)
    with environ.context(dt=0.3 * u.ms):
        t = np.arange(600) * 0.3 * u.ms
        whole = neuron(wave(t))
        pieces = np.concatenate([bare(wave(piece)) for piece in (t[:150], t[150:170], t[170:])])
        equal(pieces, bare(wave(t)), rtol=1e-6)
        active(whole)
        assert whole.shape == (600, 3)
        recording = st.simulate(neuron, wave, duration=180.0 * u.ms)
        equal(np.asarray(recording["output"], float), whole, rtol=0)


# --- What is refused

WRONG = {
    "negative rate": (
        lambda: poisson(-1.0 * u.Hz),
        st.DomainError,
        r"PoissonSpikes\(rate=...\) must be .* not negative",
    ),
    "no rate": (lambda: poisson(None)(length=3), st.StateError, "PoissonSpikes has no rate"),
    "rate in ms": (lambda: counts(5.0 * u.ms), st.UnitError, r"PoissonInput\(rate=...\) expects .*`Hz`"),
    "rate told in ms": (lambda: poisson(None)(jnp.ones(3) * u.ms), st.UnitError, "PoissonSpikes.update expects a rate"),
    "rate told of another shape": (
        lambda: counts(None)(jnp.ones((3, 2, N)) * u.Hz, batch_shape=(4,)),
        st.ShapeError,
        "PoissonInput.update got a rate of shape",
    ),
    "too high a rate": (
        lambda: poisson(1001.0 * u.Hz)(length=3),
        st.DomainError,
        "1001 Hz is more than one spike per step",
    ),
    "one rate too high": (
        lambda: poisson(np.arange(N) * 21.0 * u.Hz)(length=3),
        st.DomainError,
        "1029 Hz is more than one spike per step of 1 ms. Take a smaller dt, or PoissonInput",
    ),
    "trained rate": (lambda: poisson(st.Trainable(5.0 * u.Hz)), st.DomainError, "Leave out Trainable"),
    "rates of another size": (
        lambda: poisson(np.ones(3) * u.Hz),
        st.ShapeError,
        r"PoissonSpikes\(rate=...\) must be a scalar",
    ),
    "no sources": (
        lambda: counts(sources=0),
        st.DomainError,
        r"PoissonInput\(sources=...\) must be a positive integer",
    ),
    "half a source": (lambda: counts(sources=2.5), st.DomainError, r"PoissonInput\(sources=...\) must be"),
    "two units": (lambda: noise(mean=0.2), st.UnitError, r"OrnsteinUhlenbeck\(mean=..., std=...\) must share a unit"),
    "negative spread": (
        lambda: noise(std=-1.0 * u.nA),
        st.DomainError,
        r"OrnsteinUhlenbeck\(std=...\) must be .* not neg",
    ),
    "tau": (lambda: noise(tau=0.0), st.DomainError, r"OrnsteinUhlenbeck\(tau=...\) must be greater than zero"),
    "times in mV": (lambda: st.SpikeList(3, [1.0] * u.mV, [0]), st.UnitError, r"SpikeList\(times=...\) expects .*`ms`"),
    "negative time": (lambda: st.SpikeList(3, [-1.0], [0]), st.DomainError, r"SpikeList\(times=...\) must be finite"),
    "NaN": (lambda: st.SpikeList(3, [np.nan], [0]), st.DomainError, r"SpikeList\(times=...\) must be finite"),
    "lengths": (lambda: st.SpikeList(3, [1.0, 2.0], [0]), st.ShapeError, r"equal length, got shapes \(2,\) and \(1,\)"),
    "no such neuron": (lambda: st.SpikeList(3, [1.0], [3]), st.DomainError, r"neurons=...\) must be integers in 0..2"),
    "neuron -1": (lambda: st.SpikeList(3, [1.0], [-1]), st.DomainError, r"neurons=...\) must be integers in 0..2"),
    "neuron 0.5": (lambda: st.SpikeList(3, [1.0], [0.5]), st.DomainError, r"neurons=...\) must be integers"),
    "two in one step": (
        lambda: st.SpikeList(3, [1.1, 4.0, 1.6], [2, 2, 2])(length=9),
        st.DomainError,
        "two spikes of neuron 2 in step 1 of 1 ms",
    ),
    "too late": (lambda: st.SpikeList(3, [2.0e7], [2])(length=9), st.DomainError, r"beyond 2\*\*24 steps of 1 ms"),
    "stop first": (
        lambda: st.Step(1.0, start=2.0, stop=1.0),
        st.DomainError,
        r"Step\(start=..., stop=...\) needs start < stop",
    ),
    "start in mV": (lambda: st.Sine(1.0, 2.0, start=1.0 * u.mV), st.UnitError, r"Sine\(start=...\) expects .*`ms`"),
    "frequency in ms": (lambda: st.Sine(1.0, 2.0 * u.ms), st.UnitError, r"Sine\(frequency=...\) expects .*`Hz`"),
    "frequency 0": (lambda: st.Sine(1.0, 0.0), st.DomainError, r"Sine\(frequency=...\) must be positive"),
    "ramp of two units": (
        lambda: st.Ramp(1.0, 2.0 * u.nA, stop=3.0),
        st.UnitError,
        r"Ramp\(first, last\) must share a unit",
    ),
    "sum of two units": (
        lambda: st.Step(1.0) + st.Step(1.0 * u.nA),
        st.UnitError,
        "must share a unit, got `1` and `nA`",
    ),
    "time in mV": (lambda: st.Step(1.0)(np.ones(3) * u.mV), st.UnitError, r"Step\(t=...\) expects .*`ms`"),
    "endless start": (lambda: st.Step(1.0, start=np.inf), st.DomainError, r"Step\(start=...\) must be a finite time"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_refused_by_name(name):
    do, error, says = WRONG[name]
    with environ.context(dt=1.0 * u.ms), pytest.raises(error, match=says):
        do()
