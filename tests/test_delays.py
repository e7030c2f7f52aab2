"""A delayed train is the train, later: every delay equals a sum over spikes and connections at their times."""

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

from helpers import active, bare, by_hand, equal, gradient

pytestmark = [pytest.mark.usefixtures("x64", "dt"), pytest.mark.slow]

PRE, POST, T = 7, 5, 60
RNG = np.random.default_rng(0)
X = RNG.binomial(1, 0.25, (T, 3, PRE)).astype(float)
LONGEST = 12
W = np.random.default_rng(1).normal(size=(PRE, POST))


def later(x, steps):
    """Shift a train; zeros arrive first."""
    return np.concatenate([np.zeros_like(x[:steps]), x[: len(x) - steps]])


def off_grid(steps, *, dt=1.0, seed=0):
    """Return delays in ms that lie within half a step of a whole number of steps, and not below zero."""
    jitter = np.random.default_rng(seed).uniform(-0.49, 0.49, np.shape(steps))
    return np.maximum(steps + jitter, 0.0) * dt


def sparse(weight=None):
    """Connect with two multapses and in no order of the targets."""
    rng = np.random.default_rng(2)
    pre, post = np.divmod(rng.permutation(PRE * POST)[:16], POST)
    pre, post = np.append(pre, pre[:2]), np.append(post, post[:2])
    weight = rng.normal(size=18) * u.nS if weight is None else weight
    return st.SparseComm(PRE, POST, pre=pre, post=post, weight=weight)


def dense():
    return st.Dense(PRE, POST, weight=W * u.nS)


def given_delays(kind, comm, seed=3):
    """Return whole steps, in the shape of the argument and one per connection."""
    pre, post = pairs(comm)
    rng = np.random.default_rng(seed)
    if kind == "projection":
        return np.array(5), np.full(len(pre), 5)
    if kind == "neuron":
        steps = rng.integers(0, LONGEST, PRE)
        return steps, steps[pre]
    steps = rng.integers(0, LONGEST, len(pre))
    return (steps.reshape(PRE, POST) if isinstance(comm, st.Dense) else steps), steps


def pairs(comm):
    return np.divmod(np.arange(PRE * POST), POST) if isinstance(comm, st.Dense) else comm.pairs()


def arriving(comm, x, steps):
    """Sum over connections, each of which passes the train on later."""
    weight = np.asarray(comm.weight.get_raw_value()).reshape(-1)
    y = np.zeros((*x.shape[:-1], POST))
    for i, j, w, d in zip(*pairs(comm), weight, steps, strict=True):
        y[..., j] += w * later(x[..., i], d)
    return y


KINDS = ("projection", "neuron", "connection")
cases = pytest.mark.parametrize("make", [dense, sparse], ids=["Dense", "SparseComm"])
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@cases
def test_spikes_arrive_when_the_sum_over_connections_says(make, kind):
    comm = make()
    given, steps = given_delays(kind, comm)
    delayed = st.Delayed(comm, off_grid(given, dt=0.1) * u.ms)
    assert delayed.unit == u.nS and delayed.in_size == (PRE,) and delayed.out_size == (POST,)
    rng = np.random.default_rng(4)
    x = rng.binomial(1, 0.03, (2000, 3, PRE)) * rng.choice([1.0, 1.0, -0.5], (2000, 3, PRE))  # graded ones, too
    with environ.context(dt=0.1 * u.ms):
        for train in (x, x[:, 0]):
            expected = arriving(comm, train, steps)
            assert np.count_nonzero(expected) > 0.05 * expected.size
            equal(bare(delayed(train), u.nS), expected, rtol=1e-12)
        equal(bare(st.unroll(delayed, x), u.nS), arriving(comm, x, steps), rtol=1e-12)


@pytest.mark.parametrize("kind", ["neuron", "connection"])
def test_stepping_by_hand_equals_the_call(kind):
    comm = sparse()
    delayed = st.Delayed(comm, given_delays(kind, comm)[0] * u.ms)
    y = delayed(X[:15])
    assert jnp.any(y.mantissa != 0)
    equal(by_hand(delayed, X[:15], batch=(3,)), y, rtol=1e-12)


class Pair(st.Dynamics):
    """One neuron that jumps to a spike when told to, and one that shows what arrives from it."""

    def __init__(self, comm):
        self.source = st.LIF(1, V_th=1.0, tau=1.0)
        self.projection = st.AlignPostProj(comm, st.Delay(1, 0.0), st.Delta())
        self.probe = st.LeakyIntegrator(1, tau=1e9)

    def update(self, jump):
        arriving = self.projection.update(self.source.spikes)
        spikes = self.source.update(st.Jump(jump))
        return spikes, self.probe.update(arriving)


@pytest.mark.parametrize(
    "delay, dt, steps", [(0.0, 1.0, 0), (1.0, 1.0, 1), (4.0, 1.0, 4), (0.5, 0.5, 1), (3.0, 0.5, 6)]
)
def test_a_spike_of_step_n_arrives_in_step_n_plus_1_plus_d(delay, dt, steps):
    """Step n ends at (n + 1) dt, where its spikes leave; step m begins at m dt, where arrivals act: `delay` later."""
    n, connection = 4, st.OneToOne(1, weight=1.0)
    jump = jnp.zeros((20, 1)).at[n].set(1.5)
    with environ.context(dt=dt * u.ms):
        for comm in (st.Delayed(connection, delay), st.Delayed(st.Dense(1, 1, weight=1.0), np.array([[delay]]))):
            spikes, V = Pair(comm)(jump)
            np.testing.assert_array_equal(np.flatnonzero(spikes[:, 0]), [n])
            arrived = np.flatnonzero(V[:, 0] > 0.5)[0]
            assert arrived == n + 1 + steps
            assert arrived * dt - (n + 1) * dt == delay


@settings(max_examples=20)
@given(
    steps=some.lists(some.integers(0, LONGEST), min_size=PRE, max_size=PRE),
    dt=some.sampled_from([0.1, 1.0, 2.5]),
    seed=some.integers(0, 99),
)
def test_a_delay_shifts_the_train(steps, dt, seed):
    with environ.context(dt=dt * u.ms):
        delay = st.Delay(PRE, off_grid(steps, dt=dt, seed=seed) * u.ms, longest=LONGEST * dt * u.ms)
        y = delay(X)
    active(y)
    equal(y, np.stack([later(X[..., i], d) for i, d in enumerate(steps)], axis=-1), rtol=0)


@pytest.mark.parametrize(
    "time, steps", [(0.0, 0), (0.3, 0), (3, 3), (3.4 * u.ms, 3), (0.0034 * u.second, 3), (T - 1.0, T - 1), (80.0, 80)]
)
def test_one_delay_for_all_shifts_the_train(time, steps):
    y = st.Delay(PRE, time)(X)
    assert np.any(y) == (steps < T)
    equal(y, later(X, min(steps, T)), rtol=0)


def test_a_half_rounds_up_in_any_precision():
    for enabled in (False, True):
        with environ.context(dt=0.1 * u.ms), jax.enable_x64(enabled):
            x = jnp.ones((10, 2))
            for time, steps in ((0.25, 3), (0.15, 2), (0.35, 4)):  # 0.35 / 0.1 is below 3.5 in double precision
                for delay in (st.Delay(2, time * u.ms), st.Delay(2, np.full(2, time) * u.ms)):
                    equal(delay(x).sum(0), [10.0 - steps] * 2, rtol=0)


@settings(max_examples=4)
@given(a=some.sampled_from([0, 1, 4]), b=some.integers(0, 6))
def test_two_delays_in_a_row_add_up(a, b):
    comm = dense()
    y = st.Delay(PRE, a + b)(X)
    active(y)
    equal(st.Delay(PRE, b)(st.Delay(PRE, a)(X)), y, rtol=0)
    nested, whole = st.Delayed(st.Delayed(comm, a), b), st.Delayed(comm, a + b)(X)
    equal(nested(X), whole, rtol=0)
    equal(st.unroll(nested, X), whole, rtol=1e-12)


@cases
def test_equal_delays_of_connections_equal_one_delay_of_the_projection(make):
    comm = make()
    shape = given_delays("connection", comm)[0].shape
    y = st.Delayed(comm, 4.0)(X)
    assert jnp.any(y.mantissa != 0)
    equal(st.Delayed(comm, np.full(shape, 4.0))(X), y, rtol=1e-12)
    equal(st.Delayed(comm, lambda key, shape, dtype: jnp.full(shape, 4.0, dtype), rngs=nnx.Rngs(0))(X), y, rtol=1e-12)
    equal(st.Delayed(comm, np.zeros(shape))(X), comm(X), rtol=1e-12)


def test_the_delay_in_ms_does_not_depend_on_dt():
    delay, delayed = st.Delay(2, 3.0 * u.ms), st.Delayed(st.Dense(2, 1, weight=1.0), np.array([[3.0], [1.5]]) * u.ms)
    for dt in (1.5, 0.1):
        with environ.context(dt=dt * u.ms):
            n = round(6.0 / dt)
            x = jnp.zeros((round(15 / dt), 2)).at[n].set(1.0)
            assert set(np.flatnonzero(delay(x)[:, 0])) == {round(9.0 / dt)}
            assert set(np.flatnonzero(delayed(x)[:, 0])) == {round(9.0 / dt), round(7.5 / dt)}


def test_an_order_of_neurons_is_only_an_order():
    comm = dense()
    each, pair = given_delays("neuron", comm)[0], given_delays("connection", comm)[0]
    p, q = np.random.default_rng(5).permutation(PRE), np.random.default_rng(6).permutation(POST)
    y = st.Delay(PRE, each)(X)
    active(y)
    equal(st.Delay(PRE, each[p])(X[..., p]), y[..., p], rtol=0)
    mixed = st.Delayed(st.Dense(PRE, POST, weight=W[p][:, q]), pair[p][:, q])
    equal(mixed(X[..., p]), bare(st.Delayed(comm, pair)(X), u.nS)[..., q], rtol=1e-12)


def test_random_delays_of_connections_lie_where_the_initialiser_draws():
    comm = st.FixedProb(40, 50, 0.5, 1.0, seed=0)
    delayed = st.Delayed(comm, st.Uniform(0.5 * u.ms, 3.0 * u.ms), rngs=nnx.Rngs(0))
    drawn = bare(delayed.delay, u.ms)
    assert drawn.shape == (comm.connections,) and 0.5 <= drawn.min() < 0.6 and 2.9 < drawn.max() <= 3.0
    x = jnp.zeros((6, 40)).at[0].set(1.0)
    arrivals = np.bincount(np.floor(drawn + 0.5).astype(int), minlength=6)
    equal(delayed(x).sum(1), arrivals.astype(float), rtol=1e-12)
    axonal = st.Delayed(comm, st.Trainable(st.Uniform(0.5, 3.0)), longest=4.0, rngs=nnx.Rngs(0))
    assert axonal.delay.shape == (40,)
    one = st.Delayed(st.OneToOne(6, weight=1.0), st.Uniform(0.5, 3.0), rngs=nnx.Rngs(0))
    assert one.delay.shape == (6,) and np.ptp(one.delay) > 0


def test_one_connection_per_neuron_may_be_meant_either_way():
    ordered = st.SparseComm(3, 3, pre=[0, 1, 2], post=[2, 2, 0], weight=1.0)
    delayed = st.Delayed(ordered, np.array([1.0, 2.0, 3.0]))
    x = jnp.zeros((6, 3)).at[0].set(1.0)
    equal(delayed(x), [[0, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]], rtol=0)
    hub = st.SparseComm(3, 3, pre=[1, 1, 2], post=[0, 1, 2], weight=1.0)
    with pytest.raises(st.ShapeError, match="as many connections as presynaptic neurons"):
        st.Delayed(hub, np.array([1.0, 2.0, 3.0]))
    drawn = st.Delayed(hub, lambda key, shape, dtype: jnp.asarray([1.0, 2.0, 3.0]), rngs=nnx.Rngs(0))
    equal(drawn(x), [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], rtol=0)


# trained delays


def trained(delays, longest=LONGEST):
    return st.Delay(PRE, st.Trainable(delays * u.ms), longest=longest * u.ms)


def test_a_trained_delay_is_interpolated_between_steps():
    delays, expected = np.array([0.01, 0.4, 1.0, 2.75, 5.0, 7.2, 12.2]), []
    for i, time in enumerate(delays):
        k = int(time)
        expected.append((1 - (time - k)) * later(X[..., i], k) + (time - k) * later(X[..., i], k + 1))
    y = trained(delays, longest=12.4)(X)
    assert jnp.any((y > 0) & (y < 1))
    equal(y, np.stack(expected, axis=-1), rtol=1e-12)


def test_a_trained_delay_of_whole_steps_equals_the_rounded_one():
    delays = np.arange(1.0, 1 + PRE)
    y = st.Delay(PRE, delays)(X)
    active(y)
    equal(trained(delays)(X), y, rtol=1e-12)
    equal(st.Delay(PRE, st.Trainable(3.0), longest=0.02 * u.second)(X), later(X, 3), rtol=1e-12)


def raw_of(delay):
    """Return the Param of a trained delay."""
    return vars(delay)["time"]


def test_a_trained_delay_stays_within_its_limits():
    for step in (-1e3, -3.0, 3.0, 1e3):
        delay = trained(np.full(PRE, 3.2))
        raw = raw_of(delay).get_raw_value()
        assert raw.shape == (PRE,)
        raw_of(delay).set_raw_value(raw + step)
        assert jnp.all((delay.time.mantissa >= 0) & (delay.time.mantissa <= LONGEST))
        active((delay(X) > 0.5).astype(float))
    equal(delay(X), later(X, LONGEST), rtol=1e-9)  # as long as can be, and still in the ring


def smooth(T=T):
    """Make trains that differ from step to step, without jumps."""
    t = np.arange(T)[:, None, None]
    return np.sin(t / 7.0 + np.arange(3)[:, None] + np.arange(PRE)) + 0.3 * np.cos(t / 3.0)


def finite_difference(f, x, h=1e-6):
    slope = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slope[i] = (f(up) - f(down)) / (2 * h)
    return slope


def test_the_gradient_with_respect_to_a_delay_equals_finite_differences():
    delays = np.array([0.3, 1.4, 2.75, 3.6, 5.5, 7.2, 11.3])
    g = np.random.default_rng(7).normal(size=(T, 3, PRE))
    run = jax.jit(lambda raw, x: jnp.sum(with_raw(raw)(x) * g))
    delay = trained(delays)

    def with_raw(raw):
        model = nnx.clone(delay)
        raw_of(model).set_raw_value(raw)
        return model

    raw = np.array(raw_of(delay).get_raw_value())
    for x in (smooth(), X):
        slope = jax.grad(run)(jnp.asarray(raw), x)
        assert np.all(np.abs(slope) > 1e-3)
        np.testing.assert_allclose(slope, finite_difference(lambda raw, x=x: float(run(raw, x)), raw), rtol=1e-5)
    (by_model,) = jax.tree.leaves(gradient(delay, lambda model: jnp.sum(model(X) * g)))
    np.testing.assert_allclose(by_model, slope, rtol=1e-12)


@pytest.mark.parametrize("kind", ["neuron", "connection"])
@cases
def test_gradients_with_respect_to_weights_and_input_equal_finite_differences(make, kind):
    comm = make()
    comm.weight = st.ParamState(comm.weight.value)
    given, steps = given_delays(kind, comm)
    delayed = st.Delayed(comm, given)
    g = np.random.default_rng(8).normal(size=(T, 3, POST))
    (dw,) = jax.tree.leaves(gradient(delayed, lambda model: jnp.sum(model(X).mantissa * g)))
    weight = np.array(comm.weight.get_raw_value())
    expected = np.zeros(weight.size)
    for c, (i, j) in enumerate(zip(*pairs(comm), strict=True)):  # linear: the difference is the sum itself
        expected[c] = np.sum(later(X[..., i], steps[c]) * g[..., j])
    assert np.all(expected != 0)
    np.testing.assert_allclose(dw.reshape(-1), expected, rtol=1e-9)
    dx = jax.grad(lambda x: jnp.sum(delayed(x).mantissa * g))(jnp.asarray(X))
    v = np.random.default_rng(9).normal(size=X.shape)
    np.testing.assert_allclose(np.sum(dx * v), np.sum(arriving(comm, v, steps) * g), rtol=1e-10)
    assert np.all(np.any(np.asarray(dx) != 0, axis=(0, 1)))


def test_training_finds_a_delay():
    wanted = np.array([1.5, 2.3, 3.0, 4.4, 5.5, 6.1, 7.8])
    x = jnp.asarray(smooth(40))
    with jax.enable_x64(True):
        target = trained(wanted)(x)
        graphdef, params, rest = nnx.split(trained(np.full(PRE, 4.0)), nnx.Param, ...)
        tx = optax.adam(0.05)

        def loss(params):
            error = nnx.merge(graphdef, params, rest, copy=True)(x) - target
            return jnp.mean(error[LONGEST:] ** 2)

        @jax.jit
        def step(params, opt):
            value, g = jax.value_and_grad(loss)(params)
            updates, opt = tx.update(g, opt)
            return optax.apply_updates(params, updates), opt, value

        opt, losses = tx.init(params), []
        for _ in range(250):
            params, opt, value = step(params, opt)
            losses.append(float(value))
    found = nnx.merge(graphdef, params, rest).time.to_decimal(u.ms)
    assert losses[-1] < 1e-3 * losses[0]
    np.testing.assert_allclose(found, wanted, atol=0.1)


def test_a_projection_trains_axonal_delays():
    """Spikes have a gradient with respect to the delay through whatever filters them."""
    comm = st.Dense(PRE, POST, weight=W)
    model = st.AlignPostProj(
        st.Delayed(comm, st.Trainable(3.3 * u.ms), longest=9.0), st.Expon(POST, tau=4.0), st.CUBA()
    )
    run = lambda model: jnp.sum(model(X).I[-1] ** 2)  # noqa: E731
    (slope,) = jax.tree.leaves(gradient(model, run))
    assert slope.shape == (PRE,) and np.all(slope != 0)

    def at(raw):
        raw_of(model.comm.line).set_raw_value(jnp.asarray(raw))
        return float(run(model))

    raw = np.array(raw_of(model.comm.line).get_raw_value())
    np.testing.assert_allclose(slope, finite_difference(at, raw), rtol=1e-5)


# pieces, batches, transformations


def model(name):
    """Build a delay of some kind."""
    if name == "Delay":
        return st.Delay(PRE, given_delays("neuron", sparse())[0])
    if name == "Delay-trained":
        return trained(np.linspace(0.3, 11.0, PRE))
    kind, make = name.split("-")
    comm = {"dense": dense, "sparse": sparse}[make]()
    delayed = st.Delayed(comm, given_delays(kind, comm)[0] * u.ms)
    return st.AlignPostProj(delayed, st.Expon(POST, tau=3.0 * u.ms), st.CUBA())


def some_activity(tree):
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(tree))


every = pytest.mark.parametrize("name", ["Delay", "Delay-trained", "neuron-sparse", "connection-sparse"])


@pytest.mark.slow
@every
def test_pieces_equal_the_whole_and_rows_are_independent(name):
    net = model(name)
    whole = net(X)
    some_activity(whole)
    equal(st.unroll_in_pieces(net, X, steps=7), whole, rtol=1e-12)
    first, carry = st.advance(net, None, X[:25])
    second, _ = st.advance(net, carry, X[25:])
    equal(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), whole, rtol=1e-12)

    def row(y, n):
        return jax.tree.map(lambda leaf: leaf[:, n], y)

    other = X.copy()
    other[:, 1] = 1 - other[:, 1]
    changed = net(other)
    equal((row(changed, 0), row(changed, 2)), (row(whole, 0), row(whole, 2)), rtol=1e-12)
    some_activity(jax.tree.map(jnp.subtract, row(changed, 1), row(whole, 1)))


@pytest.mark.parametrize("name", ["Delay-trained", "connection-sparse"])
def test_jit_and_vmap(name):
    net = model(name)
    expected = net(X)
    some_activity(expected)
    equal(jax.jit(lambda x: net(x))(X), expected, rtol=1e-12)
    equal(jax.vmap(lambda x: net(x), in_axes=1, out_axes=1)(X), expected, rtol=1e-12)


def test_delays_are_data_and_a_loop_is_compiled_for_the_longest(monkeypatch):
    traced = []
    for kind in (st.Delay, st.Delayed):
        update = kind.update
        monkeypatch.setattr(kind, "update", lambda self, x, update=update: (traced.append(1), update(self, x))[1])
    rng, outputs, counts = np.random.default_rng(0), [], []
    for _ in range(2):
        line = st.Delay(PRE, rng.uniform(0, 9, PRE), longest=9.0)
        delayed = st.Delayed(dense(), rng.uniform(0, 9, (PRE, POST)), longest=9.0)
        outputs.append((line(X), delayed(X)))
        counts.append(len(traced))
    assert 0 < counts[0] == counts[1]
    some_activity(jax.tree.map(jnp.subtract, *outputs))


def test_the_product_is_outside_the_loop_where_connections_share_delays():
    for delay in (3.0, jnp.asarray(given_delays("neuron", dense())[0])):
        jaxpr = jax.make_jaxpr(lambda x, delay=delay: st.Delayed(dense(), delay)(x).mantissa)(X)
        (product,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general")
        assert product.invars[0].aval.size == T * 3 * PRE


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, jnp.bfloat16, np.float16, np.float32])
def test_single_precision_and_any_dtype(dtype):
    x = X.astype(dtype)
    with jax.enable_x64(False):
        floating = jnp.issubdtype(dtype, jnp.floating)
        y = st.Delay(PRE, 3.0)(x)
        assert y.dtype == (jnp.dtype(dtype) if floating else jnp.float32)
        active(y)
        equal(y.astype(float), later(X, 3), rtol=0)
        if dtype in (bool, jnp.bfloat16, np.float32):
            y = st.Delayed(st.Dense(PRE, POST, weight=W), np.full((PRE, POST), 3.0))(x)
            assert y.dtype == jnp.float32
            equal(y, later(X @ W, 3), rtol=1e-5)


def test_State_in_half_precision_delays_spikes_exactly():
    with jax.enable_x64(False), environ.context(dtype=jnp.bfloat16):
        delay = st.Delay(PRE, 3.0)
        delay.init_state((3,))
        assert delay.ring.dtype == jnp.bfloat16 and delay.position.dtype == jnp.float32
        delayed = st.Delayed(dense(), np.ones((PRE, POST)))
        delayed.init_state((3,))
        assert delayed.waiting.dtype == jnp.bfloat16
        y = st.Delay(PRE, 50.0)(np.tile(X, (20, 1, 1)))
    active(y)
    equal(y, later(np.tile(X, (20, 1, 1)), 50), rtol=0)


# units, sums, and projections


def test_quantities_are_delayed_in_their_unit():
    delay = st.Delay(PRE, 2.0, unit=u.nA)
    y = delay(smooth() * 1e3 * u.pA)
    assert y.unit == u.nA
    equal(bare(y), later(smooth(), 2), rtol=1e-12)
    with pytest.raises(st.UnitError, match=r"Delay\.update expects bare numbers.*unit=u\.pA"):
        st.Delay(PRE, 2.0)(smooth() * u.pA)
    with pytest.raises(st.UnitError, match="without a unit"):
        st.Delayed(sparse(), given_delays("connection", sparse())[0])(X * u.mV)


def test_each_pathway_of_a_sum_has_its_own_delay():
    a, b, c = dense(), sparse(), st.Dense(PRE, POST, weight=2e-6 * W * u.uS)
    steps = given_delays("connection", b)[1]
    both = st.Sum(st.Delayed(a, 4.0 * u.ms), st.Delayed(b, steps * u.ms), c)
    x, y, z = X, np.roll(X, 5, 0), np.roll(X, 9, 0)
    expected = arriving(a, x, np.full(PRE * POST, 4)) + arriving(b, y, steps) + 2e-3 * z @ W
    assert np.any(expected != 0)
    equal(bare(both(x, y, z), u.nS), expected, rtol=1e-12)
    equal(bare(st.unroll(both, x, y, z), u.nS), expected, rtol=1e-12)
    projection = st.AlignPostProj(both, st.Expon(POST, tau=3.0), st.CUBA())
    equal(st.unroll(projection, x, y, z), projection(x, y, z), rtol=1e-12)
    equal(st.unroll_in_pieces(projection, x, y, z, steps=11), projection(x, y, z), rtol=1e-12)


def test_a_delay_may_stand_anywhere_in_a_linear_projection():
    """In front of the comm, within it, and as a delay per postsynaptic neuron."""
    comm = st.Dense(PRE, POST, weight=W * u.nA)
    expected = 1.0 * later(X @ W, 4)
    assert np.any(expected != 0)
    for projection in (
        st.AlignPostProj(st.Delayed(comm, 4.0), st.Delay(POST, 0.0), st.CUBA()),
        st.AlignPostProj(comm, st.Delay(POST, 4.0), st.CUBA()),
        st.AlignPreProj(st.Delay(PRE, 4.0), comm, st.CUBA()),
        st.AlignPreProj(st.Delay(PRE, 1.0), st.Delayed(comm, np.full((PRE, POST), 3.0)), st.CUBA()),
    ):
        equal(bare(projection(X).I, u.nA), expected, rtol=1e-12)
        equal(bare(st.unroll(projection, X).I, u.nA), expected, rtol=1e-12)


def test_spikes_of_a_recurrent_circuit_come_back_after_their_delay():
    class Ring(st.Dynamics):
        in_size = (1,)

        def __init__(self, delay):
            self.neuron = st.LIF(1, tau=1.0, reset=st.HardReset())
            back = st.Delayed(st.SparseComm(1, 1, pre=[0], post=[0], weight=3.0), delay)
            self.back = st.AlignPostProj(back, st.Delay(1, 0.0), st.Delta())

        def update(self, current):
            return self.neuron.update(current, self.back.update(self.neuron.spikes))

    kick = jnp.zeros((40, 1)).at[2].set(5.0)
    for delay in (0, 1, 6):
        spikes = np.flatnonzero(Ring(float(delay))(kick)[:, 0])
        np.testing.assert_array_equal(spikes, np.arange(2, 40, 1 + delay))


def test_a_delay_that_is_set_anew_is_checked_and_used():
    delay = st.Delay(PRE, 5.0 * u.ms)
    delay.time = 2.0 * u.ms
    active(delay(X))
    equal(delay(X), later(X, 2), rtol=0)
    with pytest.raises(st.DomainError, match="must not exceed longest"):
        delay.time = 6.0 * u.ms


ERRORS = [
    (lambda: st.Delay(5, -1.0 * u.ms), st.DomainError, r"Delay\(time=\.\.\.\) must not be negative, got -1 ms"),
    (lambda: st.Delay(5, np.array([0, 0, 0, 0, -1.0])), st.DomainError, "must not be negative"),
    (lambda: st.Delay(5, np.nan), st.DomainError, "finite"),
    (lambda: st.Delay(5, 1.5 * u.mV), st.UnitError, r"Delay\(time=\.\.\.\).*`ms`"),
    (lambda: st.Delay(5, "soon"), st.UnitError, r"Delay\(time=\.\.\.\)"),
    (lambda: st.Delay(5, np.ones(4)), st.ShapeError, r"\(5,\)"),
    (lambda: st.Delay(5, st.Uniform(0.0, 1.0)), st.StateError, "rngs"),
    (lambda: st.Delay(5, 3.0 * u.ms, longest=2.0), st.DomainError, r"must not exceed longest=2, got 3 ms"),
    (lambda: st.Delay(5, 3.0, longest=np.ones(5)), st.ShapeError, "longest"),
    (lambda: st.Delay(5, 3.0, longest=-1.0 * u.ms), st.DomainError, "longest"),
    (lambda: st.Delay(5, 3.0, longest=1.0 * u.mV), st.UnitError, "longest"),
    (lambda: st.Delay(5, st.Trainable(3.0 * u.ms)), st.DomainError, r"longest=20\.0 \* u\.ms"),
    (lambda: st.Delay(5, st.Trainable(0.0), longest=9.0), st.DomainError, "above 0 and below 9, got 0"),
    (lambda: st.Delay(5, st.Trainable(9.0), longest=9.0), st.DomainError, "above 0 and below 9, got 9"),
    (lambda: st.Delay(5, st.Trainable(1.0 * u.mV), longest=9.0), st.UnitError, r"Delay\(time=\.\.\.\)"),
    (lambda: st.Delay(5, 1.0)(jnp.ones((9, 4))), st.ShapeError, "Time comes first"),
    (lambda: st.Delayed(dense(), -1.0 * u.ms), st.DomainError, r"Delayed\(delay=\.\.\.\) must not be negative"),
    (lambda: st.Delayed(dense(), 1.5 * u.mV), st.UnitError, r"Delayed\(delay=\.\.\.\)"),
    (lambda: st.Delayed(dense(), np.ones(5)), st.ShapeError, r"Delayed\(delay=\.\.\.\).*\(7,\).*\(7, 5\)"),
    (lambda: st.Delayed(sparse(), np.ones((7, 5))), st.ShapeError, r"\(7,\).*\(18,\)"),
    (lambda: st.Delayed(dense(), st.Trainable(np.ones((7, 5))), longest=9), st.ShapeError, r"\(7,\).*neuron; got"),
    (lambda: st.Delayed(dense(), st.Trainable(1.0)), st.DomainError, r"Delayed\(delay=\.\.\.\) is trained"),
    (lambda: st.Delayed(dense(), np.full((7, 5), 3.0), longest=2.0), st.DomainError, r"Delayed.*longest=2"),
    (lambda: st.Delayed(dense(), st.Uniform(0.5, 3.0)), st.StateError, "Delayed.*rngs"),
    (lambda: st.Delayed(st.AllToAll(7, 5, weight=1.0), st.Uniform(0.5, 3.0), rngs=nnx.Rngs(0)), st.ShapeError, "Dense"),
    (lambda: st.Delayed(st.Sum(dense(), dense()), 1.5), st.ShapeError, "Sum"),
    (lambda: st.Delayed(dense(), np.ones((7, 5)))(X[..., :5]), st.ShapeError, r"T, B, 7"),
]


@pytest.mark.parametrize("call, error, words", ERRORS, ids=range(len(ERRORS)))
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_delay_that_is_traced_needs_a_limit():
    def build(time, longest=None):
        return st.Delay(2, time, longest=longest)(jnp.ones((5, 2)))

    with pytest.raises(st.DomainError, match="traced"):
        jax.jit(build)(jnp.array([1.0, 3.0]))
    equal(jax.jit(lambda time: build(time, 4.0).sum(0))(jnp.array([1.0, 3.0])), [4.0, 2.0], rtol=0)
