"""Plastic weights equal explicit sums over the spikes of both sides, stay within bounds and outlive a trial."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import environ
from spiketrain.training import state as training_state
from spiketrain.training.checkpoint import Checkpoints, find, restore

from helpers import active, bare, by_hand, equal, gradient

pytestmark = pytest.mark.usefixtures("x64", "dt")

T, PRE, POST = 300, 7, 5
PAIR = dict(tau_plus=13.0, tau_minus=21.0, A_plus=0.07, A_minus=0.05)
TRIPLET = dict(
    tau_plus=13.0, tau_minus=21.0, tau_x=60.0, tau_y=45.0, A2_plus=0.02, A2_minus=0.05, A3_plus=0.06, A3_minus=0.03
)
RULES = {"STDP": (st.STDP, PAIR), "TripletSTDP": (st.TripletSTDP, TRIPLET)}
LOW, HIGH = -0.4, 1.6
START = np.random.default_rng(3).uniform(0.2, 0.9, (PRE, POST))


def trains(*batch, pre=PRE, post=POST, seed=0, length=T, p=0.08):
    """Draw the spikes of both sides."""
    rng = np.random.default_rng(seed)
    return [rng.binomial(1, p, (length, *batch, n)).astype(float) for n in (pre, post)]


# The references know nothing of traces that are carried on: each value is a sum over all earlier spikes.


def filtered(s, tau, dt=1.0):
    """Return the sum of exp(-lag / tau) over all spikes before each step, without those of the step."""
    n = np.arange(len(s))
    lag = dt * (n[:, None] - n)
    return np.tensordot(np.where(lag > 0, np.exp(-np.abs(lag) / tau), 0.0), s, 1)


def pair_changes(pre, post, dt, *, tau_plus, tau_minus, A_plus, A_minus):
    """Return potentiation and depression of every step and pair of neurons, (T, pre, post)."""
    x, y = filtered(pre, tau_plus, dt), filtered(post, tau_minus, dt)
    return A_plus * x[:, :, None] * post[:, None, :], -A_minus * pre[:, :, None] * y[:, None, :]


def triplet_changes(pre, post, dt, *, tau_plus, tau_minus, tau_x, tau_y, A2_plus, A2_minus, A3_plus, A3_minus):
    """Return potentiation and depression of every step, from sums over all pairs and triplets of spikes."""
    up, down = np.zeros((2, len(pre), pre.shape[1], post.shape[1]))
    for i in range(pre.shape[1]):
        for j in range(post.shape[1]):
            a, b = (np.flatnonzero(s) for s in (pre[:, i], post[:, j]))
            for t in b:
                for s in a[a < t]:
                    pair = np.exp(-dt * (t - s) / tau_plus)
                    up[t, i, j] += A2_plus * pair + sum(A3_plus * pair * np.exp(-dt * (t - b[b < t]) / tau_y))
            for t in a:
                for s in b[b < t]:
                    pair = np.exp(-dt * (t - s) / tau_minus)
                    down[t, i, j] -= A2_minus * pair + sum(A3_minus * pair * np.exp(-dt * (t - a[a < t]) / tau_x))
    return up, down


def changes(rule, pre, post, dt, **parameters):
    return (pair_changes if rule == "STDP" else triplet_changes)(pre, post, dt, **parameters)


def course(w, up, down, mu, low=LOW, high=HIGH):
    """Return the weights before every step and after the last, event by event."""
    ws = [w]
    for more, less in zip(up, down, strict=True):
        room, used = (high - ws[-1]) / (high - low), (ws[-1] - low) / (high - low)
        ws.append(np.clip(ws[-1] + (high - low) * (more * room**mu + less * used**mu), low, high))
    return np.stack(ws)


def all_pairs(n_pre, n_post, weight):
    """Connect every pair of neurons by a sparse comm."""
    pre, post = (x.reshape(-1) for x in np.mgrid[:n_pre, :n_post])
    return st.SparseComm(n_pre, n_post, pre=pre, post=post, weight=weight)


def some_pairs(weight):
    """Connect some pairs in no order, one of them twice."""
    pre, post = np.array([3, 0, 6, 3, 1, 1, 5, 0, 6]), np.array([2, 4, 0, 2, 1, 0, 3, 0, 2])
    order = np.argsort(pre, kind="stable")
    return st.SparseComm(PRE, POST, pre=pre, post=post, weight=weight), pre[order], post[order]


def connected(kind):
    """Return a comm, the neurons of each of its connections, and its initial weights."""
    i, j = np.mgrid[:PRE, :POST]
    if kind == "Dense":
        return st.Dense(PRE, POST, weight=START), i, j
    if kind == "SparseComm":
        return some_pairs(START.reshape(-1)[:9])
    if kind == "FixedProb":
        comm = st.FixedProb(PRE, POST, 0.5, 0.6, seed=1)
        return comm, *comm.pairs()
    return st.OneToOne(POST, weight=0.6), np.arange(POST), np.arange(POST)


@pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("kind", ["Dense", "SparseComm", "FixedProb", "OneToOne"])
@pytest.mark.parametrize("rule", RULES)
def test_weights_and_what_arrives_equal_sums_over_all_earlier_spikes(rule, kind, mu):
    make, parameters = RULES[rule]
    comm, i, j = connected(kind)
    pre, post = trains(pre=comm.in_size[0])
    w0 = np.broadcast_to(bare(comm.weight.value), i.shape)
    up, down = (x[:, i, j] for x in changes(rule, pre, post, 1.0, **parameters))
    ws = course(w0, up, down, mu)
    active(pre), active(post)
    assert np.min(np.ptp(ws, axis=0)) > 0.1 and (mu > 0 or np.any(ws == HIGH) or np.any(ws == LOW))

    plastic = make(comm, bounds=st.WeightBounds(LOW, HIGH, mu=mu), **parameters)
    out = plastic(pre, post)
    equal(plastic.weight.value, ws[-1], rtol=1e-12)
    arriving = np.zeros_like(post)
    for k in np.ndindex(i.shape):
        arriving[:, j[k]] += pre[:, i[k]] * ws[:-1, *k]  # with the weights as they were before the step
    equal(out, arriving, rtol=1e-12)


def pairing(rule, parameters, steps, *, mu=0.0, start=0.6, length=60):
    """Return the change of a single weight by presynaptic and postsynaptic spikes in given steps."""
    plastic = rule(st.Dense(1, 1, weight=start), bounds=st.WeightBounds(LOW, HIGH, mu=mu), **parameters)
    pre, post = np.zeros((2, length, 1))
    pre[steps[0]], post[steps[1]] = 1, 1
    out = plastic(pre, post)
    return bare(plastic.weight.value).item() - start, bare(out)[:, 0]


@pytest.mark.parametrize("rule", [st.STDP, st.TripletSTDP])
def test_a_single_pair_draws_the_window_of_stdp(rule):
    names = ("A2_plus", "A2_minus") if rule is st.TripletSTDP else ("A_plus", "A_minus")
    parameters = dict(tau_plus=13.0, tau_minus=21.0) | dict(zip(names, (0.07, 0.05), strict=True))
    for lag in (1, 2, 10, 25):
        strengthened, _ = pairing(rule, parameters, ([20], [20 + lag]))
        weakened, _ = pairing(rule, parameters, ([20 + lag], [20]))
        np.testing.assert_allclose(strengthened, (HIGH - LOW) * 0.07 * np.exp(-lag / 13.0), rtol=1e-12)
        np.testing.assert_allclose(weakened, -(HIGH - LOW) * 0.05 * np.exp(-lag / 21.0), rtol=1e-12)
    half, _ = pairing(rule, parameters, ([20], [25]), mu=1.0)
    np.testing.assert_allclose(half, (HIGH - 0.6) * 0.07 * np.exp(-5 / 13.0), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_spikes_of_one_step_do_not_pair_and_go_with_the_weight_before(rule):
    make, parameters = RULES[rule]
    assert pairing(make, parameters, ([20], [20]))[0] == 0.0
    change, out = pairing(make, parameters, ([20, 30], [10, 25, 30]))
    assert change != 0 and out[20] == 0.6  # the weight of before the pair (20, 10), which the spike itself completes
    assert out[30] != 0.6 and out[30] != 0.6 + change


def test_triplets_without_triplet_terms_are_pairs():
    pre, post = trains()
    weights = []
    for rule, names in ((st.STDP, PAIR), (st.TripletSTDP, dict(A2_plus=0.07, A2_minus=0.05, A3_plus=0.0))):
        taus = dict(tau_plus=13.0, tau_minus=21.0)
        plastic = rule(st.Dense(PRE, POST, weight=START), bounds=st.WeightBounds(LOW, HIGH), **taus | names)
        plastic(pre, post)
        weights.append(bare(plastic.weight.value))
    assert np.ptp(weights[0] - START) > 0.1
    equal(weights[1], weights[0], rtol=1e-12)


def test_only_triplets_turn_depression_into_potentiation_at_high_rates():
    """The pairing protocol of Sjoestroem et al. (2001): 60 pairs, the postsynaptic spike 10 ms before or after."""
    change = {}
    for rule in (st.STDP, st.TripletSTDP):
        for rate in (1, 50):
            for lag in (10, -10):
                first = 20 + np.arange(60 if rate == 50 else 6) * (1000 // rate)
                plastic = rule(
                    st.Dense(1, 1, weight=0.0),
                    bounds=st.WeightBounds(-5.0, 5.0),
                    **(dict(tau_plus=16.8, tau_minus=33.7, A_plus=6.5e-3, A_minus=7.1e-3) if rule is st.STDP else {}),
                )
                pre, post = np.zeros((2, 6000, 1))
                pre[first], post[first + lag] = 1, 1
                plastic(pre, post)
                change[rule, rate, lag] = bare(plastic.weight.value).item() / len(first)
    triplet = {key[1:]: value for key, value in change.items() if key[0] is st.TripletSTDP}
    assert triplet[50, 10] > 0 and triplet[50, -10] > 0 > triplet[1, -10] and abs(triplet[1, 10]) < triplet[50, 10] / 20
    assert change[st.STDP, 50, 10] < change[st.STDP, 1, 10] and change[st.STDP, 50, -10] < 0


REWARDED = dict(PAIR, tau_e=40.0)
FAR = st.WeightBounds(-1000.0, 1000.0)  # with amplitudes as small, so that no weight gets there
SMALL = dict(PAIR, A_plus=7e-5, A_minus=5e-5)


@pytest.mark.parametrize("kind", ["Dense", "SparseComm"])
@pytest.mark.parametrize("rows", [0, 3])
def test_reward_releases_what_the_pairs_left(kind, rows):
    """Reference: each pair decays as exp(-t / tau_e), and what decays within a step counts times its reward."""
    batch = (rows,) if rows else ()
    pre, post = trains(*batch)
    reward = np.random.default_rng(5).normal(size=(T, *batch))
    comm, i, j = connected(kind)
    w0 = bare(comm.weight.value)
    n = np.arange(T)
    lag = np.maximum(n[:, None] - n, 0)
    share = np.where(lag > 0, np.exp((1 - lag) / 40.0) - np.exp(-lag / 40.0), 0.0)  # of the pairs of step k, in step n
    total = 0.0
    for row in range(rows or 1):
        x, y, R = (z[:, row] if rows else z for z in (pre, post, reward))
        eligible = sum(pair_changes(x, y, 1.0, **SMALL))[:, i, j]
        total = total + np.tensordot(R, np.tensordot(share, eligible, 1), 1) / (rows or 1)
    plastic = st.RewardSTDP(comm, bounds=FAR, tau_e=40.0, **SMALL)
    plastic(pre, post, reward)
    assert np.max(np.abs(total)) > 1e-5
    equal(bare(plastic.weight.value) - w0, 2000.0 * total, rtol=1e-10)


def change_after(pre, post, reward, tau_e=40.0):
    plastic = st.RewardSTDP(st.Dense(PRE, POST, weight=START), bounds=FAR, tau_e=tau_e, **SMALL)
    plastic(pre, post, reward)
    return bare(plastic.weight.value) - START


def test_no_reward_no_change_and_a_late_one_changes_less():
    pre, post = trains()
    pre[60:], post[60:] = 0, 0
    assert not np.any(change_after(pre, post, np.zeros(T)))

    def pulse(step):
        return np.where(np.arange(T) == step, 3.0, 0.0)

    early, late, negative = (change_after(pre, post, R) for R in (pulse(70), pulse(110), -pulse(70)))
    assert np.max(np.abs(early)) > 0.01
    equal(late, early * np.exp(-40 / 40.0), rtol=1e-10)
    equal(negative, -early, rtol=1e-10)


def test_a_constant_reward_of_one_is_stdp_in_the_end():
    pre, post = trains()
    pre[100:], post[100:] = 0, 0
    plain = st.STDP(st.Dense(PRE, POST, weight=START), bounds=FAR, **SMALL)
    plain(pre, post)
    by_pairs = bare(plain.weight.value) - START
    assert np.max(np.abs(by_pairs)) > 0.1
    equal(change_after(pre, post, np.ones(T), tau_e=5.0), by_pairs, rtol=1e-10)


@settings(max_examples=10)
@given(
    mu=some.sampled_from([0.0, 0.3, 1.0]),
    amplitudes=some.tuples(some.floats(-3.0, 3.0), some.floats(-3.0, 3.0)),
    bounds=some.sampled_from([(-0.1, 0.7), (0.0, 0.30000001), (0.2, 40.0)]),
    single=some.booleans(),
    seed=some.integers(0, 99),
)
def test_bounds_are_never_left(mu, amplitudes, bounds, single, seed):
    pre, post = trains(length=60, p=0.4, seed=seed)
    w = np.random.default_rng(seed).uniform(*bounds, (PRE, POST))
    w[0], w[1] = bounds
    with jax.enable_x64(not single):
        plastic = st.STDP(
            st.Dense(PRE, POST, weight=w),
            bounds=st.WeightBounds(*bounds, mu=mu),
            A_plus=amplitudes[0],
            A_minus=amplitudes[1],
        )
        dtype = plastic.weight.dtype
        low, high = (np.asarray(b, dtype) for b in bounds)
        states = []
        plastic.init_state()
        for a, b in zip(jnp.asarray(pre[:5]), jnp.asarray(post[:5]), strict=True):
            plastic.update(a, b)
            states.append(bare(plastic.weight.value))
        plastic(pre, post)
        states.append(bare(plastic.weight.value))
    assert dtype == (np.float32 if single else np.float64)
    for w in states:
        assert w.dtype == dtype and np.all((low <= w) & (w <= high))


def test_a_weight_may_start_where_rounding_left_it_beyond_a_bound():
    bounds = st.WeightBounds(0.0 * u.uS, 1e-3 * u.uS, mu=0.5)
    plastic = st.STDP(st.Dense(2, 1, weight=np.array([[1.0 + 1e-9], [-1e-9]]) * u.nS), bounds=bounds)
    low, high = ((1e-3 * w * u.uS).to_decimal(u.nS) for w in (0.0, 1.0))
    assert np.array_equal(bare(plastic.weight.value), [[high], [low]])


class Drive(st.Dynamics):
    """A neuron that Poisson spikes drive through plastic weights."""

    def __init__(self, n, bounds):
        comm = st.Dense(n, 1, weight=np.linspace(0.08, 0.22, n)[:, None])
        self.neuron = st.LIF(1, tau=10.0, V_th=1.0)
        self.E = st.AlignPostProj(
            st.STDP(comm, A_plus=0.03, A_minus=0.036, bounds=bounds), st.Expon(1, tau=5.0), st.CUBA()
        )
        self.in_size = (n,)

    def update(self, pre):
        self.neuron.update(self.E.update(pre, self.neuron.spikes))
        return self.neuron.spikes


def test_additive_weights_split_in_two_and_multiplicative_ones_stay_together():
    """Song, Miller and Abbott (2000) against van Rossum, Bi and Turrigiano (2000)."""
    n = 60
    with jax.enable_x64(False):
        pre = np.random.default_rng(0).binomial(1, 0.02, (60_000, n)).astype(np.float32)
        share = {}
        for mu in (0.0, 1.0):
            net = Drive(n, st.WeightBounds(0.0, 0.3, mu=mu))
            out = net(pre)
            assert 0.002 < np.mean(out) < 0.2
            share[mu] = np.histogram(bare(net.E.comm.weight.value), [0.0, 0.06, 0.24, 0.3])[0] / n
    low, middle, high = share[0.0]
    assert low > 0.3 and high > 0.2 and middle < 0.3
    assert share[1.0][1] > 0.9


@pytest.mark.parametrize("mu, batch", [(0.0, ()), (0.4, (3,))])
def test_dense_equals_sparse_with_all_pairs(mu, batch):
    pre, post = trains(*batch)
    bounds = st.WeightBounds(LOW, HIGH, mu=mu)
    for make, parameters, more in (
        *((*rule, ()) for rule in RULES.values()),
        (st.RewardSTDP, REWARDED, (np.linspace(-1.0, 2.0, T),)),
    ):
        dense = make(st.Dense(PRE, POST, weight=START), bounds=bounds, **parameters)
        sparse = make(all_pairs(PRE, POST, START.reshape(-1)), bounds=bounds, **parameters)
        equal(sparse(pre, post, *more), dense(pre, post, *more), rtol=1e-12)
        equal(bare(sparse.weight.value), bare(dense.weight.value).reshape(-1), rtol=1e-12)
        assert np.ptp(bare(dense.weight.value) - START) > 0.1


def test_a_batch_changes_the_weights_by_the_mean_of_its_rows():
    pre, post = trains(3)

    def learned(pre, post):
        plastic = st.STDP(all_pairs(PRE, POST, START.reshape(-1)), bounds=FAR, **SMALL)
        plastic(pre, post)
        return bare(plastic.weight.value) - START.reshape(-1)

    singles = [learned(pre[:, b], post[:, b]) for b in range(3)]
    assert np.ptp(singles[0] - singles[1]) > 0.1
    equal(learned(pre, post), sum(singles) / 3, rtol=1e-10)
    same = np.repeat(pre[:, :1], 3, axis=1), np.repeat(post[:, :1], 3, axis=1)
    equal(learned(*same), singles[0], rtol=1e-10)


def test_units_equal_bare_numbers():
    pre, post = trains()
    weights = []
    for nS, ms, bounds in ((1.0, 1.0, (LOW, HIGH)), (u.nS, u.ms, (LOW * 1e-3 * u.uS, HIGH * u.nS))):
        plastic = st.STDP(
            st.Dense(PRE, POST, weight=START * nS),
            tau_plus=13.0 * ms,
            tau_minus=21.0 * ms,
            A_plus=0.07,
            A_minus=0.05,
            bounds=st.WeightBounds(*bounds, mu=0.5),
        )
        out = plastic(pre, post)
        weights.append((bare(plastic.weight.value), bare(out)))
    assert plastic.unit == u.nS and out.unit == u.nS and np.ptp(weights[0][0] - START) > 0.1
    equal(weights[1], weights[0], rtol=1e-10)


def test_neurons_may_be_numbered_in_any_order():
    pre, post = trains()
    rng = np.random.default_rng(1)
    p, q = rng.permutation(PRE), rng.permutation(POST)
    a, b = (
        st.TripletSTDP(st.Dense(PRE, POST, weight=w), bounds=st.WeightBounds(LOW, HIGH), **TRIPLET)
        for w in (START, START[p][:, q])
    )
    out = a(pre, post)
    equal(b(pre[:, p], post[:, q]), out[:, q], rtol=1e-12)
    equal(bare(b.weight.value), bare(a.weight.value)[p][:, q], rtol=1e-12)
    assert np.ptp(bare(a.weight.value) - START) > 0.1


def test_weights_depend_on_times_and_not_on_the_step():
    pre, post = trains()
    reward = np.linspace(-1.0, 2.0, T)
    finer = []
    for k in (1, 4):
        plastic = st.RewardSTDP(st.Dense(PRE, POST, weight=START), bounds=FAR, tau_e=40.0, **SMALL)
        spikes = [np.zeros((k * T, s.shape[-1])) for s in (pre, post)]
        for fine, s in zip(spikes, (pre, post), strict=True):
            fine[k - 1 :: k] = s
        with environ.context(dt=1.0 / k * u.ms):
            plastic(*spikes, np.repeat(reward, k))
        finer.append(bare(plastic.weight.value))
    assert np.ptp(finer[0] - START) > 0.1
    equal(finer[1], finer[0], rtol=1e-10)


@pytest.mark.parametrize("single", [False, True])
def test_silence_changes_no_bit(single):
    with jax.enable_x64(not single):
        plastic = st.STDP(st.Dense(PRE, POST, weight=START), bounds=st.WeightBounds(LOW, HIGH, mu=0.5))
        before = bare(plastic.weight.value)
        pre, post = trains()
        out = plastic(pre, 0 * post)
        assert np.array_equal(before, plastic.weight.value) and np.max(np.abs(out)) > 0
        plastic(0 * pre, post)
        assert np.array_equal(before, plastic.weight.value)


def test_spikes_may_be_of_any_dtype():
    pre, post = trains()
    weights = []
    for dtype in (float, bool, np.int32):
        plastic = st.STDP(st.Dense(PRE, POST, weight=START), bounds=st.WeightBounds(LOW, HIGH), **PAIR)
        plastic(pre.astype(dtype), post.astype(dtype))
        weights.append(bare(plastic.weight.value))
    assert np.ptp(weights[0] - START) > 0.1
    equal(weights[1:], [weights[0]] * 2, rtol=1e-12)


# Circuits

STEPS = 40  # where a model is stepped in Python


class Net(st.Dynamics):
    """Excitatory neurons whose connections to each other learn, under a reward or without one."""

    def __init__(self, rule=st.STDP, n=20, **parameters):
        scaled = dict(V_rest=-60.0 * u.mV, V_reset=-60.0 * u.mV, V_th=-50.0 * u.mV)
        self.E = st.LIF(n, R=100.0 * u.Mohm, tau=20.0 * u.ms, reset=st.HardReset(), **scaled)
        comm = st.FixedProb(n, n, 0.3, 0.5 * u.nS, seed=0)
        plastic = rule(comm, bounds=st.WeightBounds(0.0 * u.nS, 1.0 * u.nS), **parameters)
        self.E2E = st.AlignPostProj(plastic, st.Expon(n, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV))

    def update(self, current, *reward):
        e = self.E.spikes
        self.E.update(current, self.E2E.update(e, e, *reward))
        return self.E.spikes


def current(length=T, *batch, seed=0, n=20):
    return np.random.default_rng(seed).normal(0.2, 0.4, (length, *batch, n)) * u.nA


def weights(net):
    return bare(net.E2E.comm.weight.value)


def test_a_circuit_learns_and_the_next_trial_goes_on_from_there():
    net = Net()
    start = weights(net)
    first = net(current())
    active(first)
    learned = weights(net)
    assert np.ptp(learned - start) > 0.01 and type(net.E2E.comm.weight) is st.LongTermState
    assert not jax.tree.leaves(nnx.state(net, st.ShortTermState)) and not jax.tree.leaves(nnx.state(net, nnx.Param))

    second = net(current(seed=1))
    assert np.ptp(weights(net) - learned) > 0.01
    resumed = Net()
    resumed.E2E.comm.weight.value = learned * u.nS
    equal(resumed(current(seed=1)), second, rtol=0)
    equal(weights(resumed), weights(net), rtol=1e-12)


def test_pieces_of_a_trial_equal_the_whole_and_modules_split_and_merge():
    whole = Net()
    out = whole(current())
    net, carry, pieces = nnx.merge(*nnx.split(Net())), None, []
    for a, b in ((0, 100), (100, 150), (150, T)):
        piece, carry = st.advance(net, carry, current()[a:b])
        pieces.append(piece)
    active(out)
    equal(np.concatenate(pieces), out, rtol=0)
    equal(weights(net), weights(whole), rtol=1e-12)

    again = Net()
    equal(st.unroll_in_pieces(again, current(), steps=70), out, rtol=0)
    equal(weights(again), weights(whole), rtol=1e-12)


def test_a_circuit_takes_a_batch_and_a_reward_for_each_row():
    reward = np.linspace(-1.0, 1.0, STEPS * 2).reshape(STEPS, 2)
    net = Net(st.RewardSTDP, tau_e=50.0)
    start = weights(net)
    out = net(current(STEPS, 2), reward, batch_shape=(2,))
    active(out)
    assert np.ptp(weights(net) - start) > 0.001
    stepped = Net(st.RewardSTDP, tau_e=50.0)
    equal(by_hand(stepped, current(STEPS, 2), reward, batch=(2,)), out, rtol=0)
    equal(weights(stepped), weights(net), rtol=1e-12)


def test_a_projection_runs_a_whole_train_of_both_sides():
    def make():
        plastic = st.STDP(st.Dense(PRE, POST, weight=START * u.nS), bounds=st.WeightBounds(-1.0 * u.nS, 2.0 * u.nS))
        return st.AlignPostProj(plastic, st.Expon(POST, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV))

    pre, post = trains(2, length=STEPS)
    whole, stepped = make(), make()
    out = whole(pre, post, batch_shape=(2,))
    steps = by_hand(stepped, pre, post, batch=(2,))
    assert np.max(bare(out.g)) > 0
    equal(bare(steps.g), bare(out.g), rtol=1e-12)
    equal(bare(stepped.comm.weight.value), bare(whole.comm.weight.value), rtol=1e-12)


class Late(st.Dynamics):
    """Delays on both sides of a plastic comm."""

    def __init__(self, plastic):
        self.plastic, self.axon, self.dendrite = plastic, st.Delay(PRE, 4.0 * u.ms), st.Delay(POST, 2.0 * u.ms)

    def update(self, pre, post):
        return self.plastic.update(self.axon.update(pre), self.dendrite.update(post))


def test_spikes_pair_when_they_reach_the_synapse():
    pre, post = trains()
    late, plain = (
        st.STDP(st.Dense(PRE, POST, weight=START), bounds=st.WeightBounds(LOW, HIGH), **PAIR) for _ in range(2)
    )
    out = Late(late)(pre, post)
    later = [np.concatenate([np.zeros((d, s.shape[1])), s[:-d]]) for d, s in ((4, pre), (2, post))]
    equal(out, plain(*later), rtol=1e-12)
    equal(late.weight.value, plain.weight.value, rtol=1e-12)
    assert np.ptp(bare(late.weight.value) - START) > 0.1


def test_a_checkpoint_keeps_what_was_learned(tmp_path):
    net = Net()
    net(current())
    leaves, layout = training_state.init(net, optax.sgd(0.1))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, leaves, layout, {"config": {}, "metrics": {}})
    checkpoints.close()

    fresh = Net()
    leaves, layout = training_state.init(fresh, optax.sgd(0.1))
    restored = layout.evaluation_model(restore(find(tmp_path), leaves, layout))
    assert np.ptp(weights(net) - weights(fresh)) > 0.01
    equal(weights(restored), weights(net), rtol=0)


def test_a_rule_can_be_trained_through_what_it_learns():
    pre, post = trains()
    target = np.random.default_rng(2).normal(size=(T, POST))

    def make(A, tau):
        return st.STDP(
            st.Dense(PRE, POST, weight=START), bounds=st.WeightBounds(-9.0, 9.0, mu=1.0), A_plus=A, tau_plus=tau
        )

    def loss(model):
        return jnp.sum(model(pre, post) * target)

    slopes = gradient(make(st.Trainable(0.07), st.Trainable(13.0)), loss)
    h = 1e-5
    for slope, up, down in (
        (slopes["A_plus"], (0.07 + h, 13.0), (0.07 - h, 13.0)),
        (slopes["tau_plus"], (0.07, 13.0 * np.exp(h)), (0.07, 13.0 * np.exp(-h))),  # trained as a logarithm
    ):
        expected = (loss(make(*up)) - loss(make(*down))) / (2 * h)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(slope.get_raw_value(), expected, rtol=1e-6)


def test_a_plastic_comm_can_be_built_abstractly():
    shape = nnx.eval_shape(lambda: Net())
    assert shape.E2E.comm.weight.shape == Net().E2E.comm.weight.shape


# Errors

UP = st.WeightBounds(0.0, 1.0)
ones = np.ones


def dense(weight=0.5):
    return st.Dense(3, 2, weight=weight)


def running(rule=st.STDP, batch=()):
    plastic = rule(dense(), bounds=UP)
    plastic.init_state(batch)
    return plastic


REFUSED = {
    "trained": (
        lambda: st.STDP(st.Dense(3, 2, rngs=nnx.Rngs(0)), bounds=UP),
        st.DomainError,
        ["STDP(comm)", "optimizer"],
    ),
    "shared weight": (
        lambda: st.STDP(st.AllToAll(3, 2, weight=0.5), bounds=UP),
        st.ShapeError,
        ["STDP(comm)", "AllToAll", "`Dense`"],
    ),
    "delayed": (
        lambda: st.STDP(st.Delayed(dense(), 1.0 * u.ms), bounds=UP),
        st.ShapeError,
        ["STDP(comm)", "Delayed", "`update(delay.update(pre), post)`"],
    ),
    "several comms": (lambda: st.TripletSTDP(st.Sum(dense()), bounds=UP), st.ShapeError, ["TripletSTDP(comm)", "Sum"]),
    "no bounds": (lambda: st.STDP(dense(), bounds=(0.0, 1.0)), st.DomainError, ["STDP(bounds=...)", "`WeightBounds("]),
    "bounds without unit": (
        lambda: st.STDP(dense(0.5 * u.nS), bounds=UP),
        st.UnitError,
        ["STDP(bounds=...)", "`nS`", "0 and 1"],
    ),
    "weight outside": (
        lambda: st.RewardSTDP(dense(1.2), bounds=UP),
        st.DomainError,
        ["RewardSTDP(comm, bounds=...)", "1.2", "between 0 and 1"],
    ),
    "order of bounds": (
        lambda: st.WeightBounds(1.0, 1.0),
        st.DomainError,
        ["WeightBounds(w_min, w_max)", "got 1 and 1"],
    ),
    "infinite bound": (lambda: st.WeightBounds(0.0, np.inf), st.DomainError, ["finite", "inf"]),
    "bounds of two kinds": (
        lambda: st.WeightBounds(0.0 * u.nS, 1.0 * u.mV),
        st.UnitError,
        ["WeightBounds(w_max=...)", "`nS`", "1 mV"],
    ),
    "mu": (lambda: st.WeightBounds(0.0, 1.0, mu=2.0), st.DomainError, ["WeightBounds(mu=...)", "got 2"]),
    "mu with a unit": (
        lambda: st.WeightBounds(0.0, 1.0, mu=1.0 * u.ms),
        st.UnitError,
        ["WeightBounds(mu=...)", "1 ms"],
    ),
    "negative tau": (
        lambda: st.STDP(dense(), tau_plus=-3.0, bounds=UP),
        st.DomainError,
        ["STDP(tau_plus=...)", "greater than zero"],
    ),
    "tau in mV": (lambda: st.TripletSTDP(dense(), tau_y=3.0 * u.mV, bounds=UP), st.UnitError, ["(tau_y=...)", "`ms`"]),
    "amplitude in nS": (lambda: st.STDP(dense(), A_plus=3.0 * u.nS, bounds=UP), st.UnitError, ["STDP(A_plus=...)"]),
    "spikes swapped": (
        lambda: running().update(ones(2), ones(3)),
        st.ShapeError,
        ["STDP.update(pre, post)", "pre of shape (3,)", "got (2,)"],
    ),
    "spikes of a batch": (
        lambda: running().update(ones((4, 3)), ones((4, 2))),
        st.ShapeError,
        ["pre of shape (3,)", "got (4, 3)"],
    ),
    "spikes with a unit": (
        lambda: running().update(ones(3), ones(2) * u.mV),
        st.UnitError,
        ["STDP.update(post=...)", "without a unit"],
    ),
    "reward with a unit": (
        lambda: running(st.RewardSTDP).update(ones(3), ones(2), 1.0 * u.Hz),
        st.UnitError,
        ["RewardSTDP.update(reward=...)"],
    ),
    "shape of a reward": (
        lambda: running(st.RewardSTDP, (4,)).update(ones((4, 3)), ones((4, 2)), ones(3)),
        st.ShapeError,
        ["RewardSTDP.update(reward=...)", "(4,)", "got shape (3,)"],
    ),
    "no postsynaptic spikes": (
        lambda: st.AlignPostProj(running(), st.Expon(2), st.CUBA()).update(ones(3)),
        TypeError,
        ["post"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_name_the_argument_what_arrived_and_what_to_write(case):
    make, error, words = REFUSED[case]
    with pytest.raises(error) as caught:
        make()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
