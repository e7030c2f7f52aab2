"""Initialisers draw what they say, in their unit, and are static values."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

KEY = jax.random.key(0)
SHAPE = (200, 300)
lecun = nnx.initializers.lecun_normal()

NAMED = {
    st.KaimingNormal: nnx.initializers.kaiming_normal,
    st.KaimingUniform: nnx.initializers.kaiming_uniform,
    st.XavierNormal: nnx.initializers.xavier_normal,
    st.XavierUniform: nnx.initializers.xavier_uniform,
    st.LecunNormal: nnx.initializers.lecun_normal,
    st.LecunUniform: nnx.initializers.lecun_uniform,
    st.Orthogonal: nnx.initializers.orthogonal,
}
DRAWS = [
    st.Uniform(1.0 * u.nS, 0.003 * u.uS),
    st.Normal(1.5 * u.nS, 0.0001 * u.uS),
    st.TruncatedNormal(1.0 * u.nS, 0.5 * u.nS, low=0.0 * u.nS, high=0.002 * u.uS),
    st.LogNormal(1.0 * u.nS, 0.0005 * u.uS),
    st.Sparse(0.2, 2.0 * u.nS),
    st.Scaled(lecun, 2.0 * u.nS),
    st.Dale(st.Sparse(0.2, 2.0 * u.nS), excitatory=0.8, inhibition=4.0),
    st.Constant(2.0 * u.nS),
    *(named(2.0 * u.nS) for named in NAMED),
]
every_draw = pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: type(draw).__name__)


def numbers(draw, shape=SHAPE):
    value = draw(KEY, shape, jnp.float32)
    return np.asarray(u.get_mantissa(value), np.float64)


@every_draw
def test_the_unit_is_that_of_the_first_argument_and_the_dtype_is_kept(draw):
    drawn = draw(KEY, (6, 4), jnp.bfloat16)
    assert drawn.unit == u.nS and drawn.mantissa.dtype == jnp.bfloat16 and drawn.shape == (6, 4)
    np.testing.assert_array_equal(drawn.mantissa, draw(KEY, (6, 4), jnp.bfloat16).mantissa)
    assert np.isfinite(np.asarray(drawn.mantissa, float)).all()


@pytest.mark.parametrize("draw", DRAWS[-9:], ids=lambda draw: type(draw).__name__)
def test_an_initialiser_becomes_a_trained_weight_with_a_unit(draw):
    weight = st.Dense(8, 6, weight=st.Trainable(draw), rngs=nnx.Rngs(0)).weight
    assert isinstance(weight, st.ParamState) and weight.value.unit == u.nS and weight.value.shape == (8, 6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: st.Uniform(1.0 * u.nS, 3.0 * u.nS),
        lambda: st.Normal(1.5 * u.nS, 0.1 * u.nS),
        lambda: st.TruncatedNormal(1.0 * u.nS, 0.5 * u.nS, low=0.0 * u.nS, high=2.0 * u.nS),
        lambda: st.LogNormal(1.0 * u.nS, 0.5 * u.nS),
        lambda: st.Sparse(0.2, 2.0 * u.nS),
        lambda: st.Scaled(lecun, 2.0 * u.nS),
        lambda: st.Dale(st.Sparse(0.2, 2.0 * u.nS), excitatory=0.8, inhibition=4.0),
        lambda: st.Constant(2.0 * u.nS),
        lambda: st.Orthogonal(2.0 * u.nS),
        lambda: st.KaimingNormal(),
    ],
)
def test_equal_arguments_make_equal_values(make):
    one, same = make(), make()
    assert one == same and hash(one) == hash(same) and {one: 1}[same] == 1
    assert one != st.Sparse(0.3, 2.0 * u.nS) and repr(one).startswith(type(one).__name__)


def test_the_unit_and_every_argument_tell_two_apart():
    assert st.LogNormal(1.0, 0.5) != st.LogNormal(1.0 * u.nS, 0.5 * u.nS)
    assert st.LogNormal(1.0, 0.5) != st.Normal(1.0, 0.5)
    assert st.Scaled(lecun, 1.0) != st.Scaled(lecun, 1.0 * u.nS)
    assert st.Dale(st.Sparse(0.1, 1.0)) != st.Dale(st.Sparse(0.1, 1.0), inhibition=2.0)
    assert st.TruncatedNormal(0.0, 1.0, low=-1.0, high=1.0) != st.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0)


@pytest.mark.parametrize("named, stock", NAMED.items(), ids=lambda x: x.__name__)
def test_a_named_initialiser_is_that_of_jax_times_its_scale(named, stock):
    for shape in ((60, 40), (3, 3, 2, 30)):
        bare = np.asarray(stock()(KEY, shape, jnp.float32))
        np.testing.assert_array_equal(named()(KEY, shape, jnp.float32), bare)
        scaled = named(0.5 * u.nS)(KEY, shape, jnp.float32)
        assert scaled.unit == u.nS
        np.testing.assert_array_equal(scaled.mantissa, 0.5 * bare)
    assert named() != named(2.0) != named(2.0 * u.nS) and len({kind() for kind in NAMED}) == len(NAMED)


@pytest.mark.parametrize("shape, fan_in, fan_out", [((300, 200), 300, 200), ((5, 5, 20, 80), 500, 2000)])
def test_named_initialisers_have_the_variance_of_their_papers(shape, fan_in, fan_out):
    """Counted over a matrix (pre, post), and over a kernel with its places."""
    for named, variance in {
        st.KaimingNormal: 2 / fan_in,
        st.KaimingUniform: 2 / fan_in,
        st.XavierNormal: 2 / (fan_in + fan_out),
        st.XavierUniform: 2 / (fan_in + fan_out),
        st.LecunNormal: 1 / fan_in,
        st.LecunUniform: 1 / fan_in,
    }.items():
        w = numbers(named(3.0 * u.nS), shape)
        np.testing.assert_allclose([w.mean() / w.std(), w.var()], [0.0, 9 * variance], atol=0.03, rtol=0.03)
    w = numbers(st.Orthogonal(3.0 * u.nS), (30, 20))
    np.testing.assert_allclose(w.T @ w, 9 * np.eye(20), atol=1e-5)


def test_a_constant_is_the_same_everywhere_and_may_be_signed():
    np.testing.assert_array_equal(numbers(st.Constant(0.3 * u.nS), (3, 2)), np.float32(0.3))
    signed = numbers(st.Dale(st.Constant(0.5 * u.nS), excitatory=0.5, inhibition=2.0), (4, 3))
    np.testing.assert_array_equal(signed, np.repeat([0.5, -1.0], 2)[:, None] * np.ones(3))


def test_a_log_normal_has_the_mean_and_spread_of_its_own():
    w = numbers(st.LogNormal(2.0 * u.nS, 1.0 * u.nS))
    assert w.min() > 0
    np.testing.assert_allclose([w.mean(), w.std()], [2.0, 1.0], rtol=0.03)
    np.testing.assert_allclose(np.median(w), 2.0 / np.sqrt(1 + 0.25), rtol=0.01)
    np.testing.assert_array_equal(numbers(st.LogNormal(2.0, 0.0), (3,)), np.float32(2.0))


@pytest.mark.parametrize("mean, std, low, high", [(1.0, 0.5, 0.0, 2.0), (1.0, 2.0, 0.5, 9.0), (-1.0, 1.0, 0.0, 3.0)])
def test_a_truncated_normal_is_a_normal_seen_through_a_window(mean, std, low, high):
    w = numbers(st.TruncatedNormal(mean, std, low=low, high=high))
    assert low <= w.min() and w.max() <= high
    x = np.linspace(low, high, 20_001)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2)
    density /= np.trapezoid(density, x)
    expected_mean = np.trapezoid(x * density, x)
    expected_std = np.sqrt(np.trapezoid((x - expected_mean) ** 2 * density, x))
    error = 5 * expected_std / np.sqrt(w.size)
    np.testing.assert_allclose([w.mean(), w.std()], [expected_mean, expected_std], atol=error)


@pytest.mark.parametrize("name", ["orthogonal", "kaiming_normal", "xavier_uniform"])
def test_a_stock_initialiser_gets_a_unit_and_nothing_else_changes(name):
    stock = getattr(nnx.initializers, name)()
    drawn = st.Scaled(stock, 0.5 * u.nS)(KEY, (30, 20), jnp.float32)
    bare = np.asarray(stock(KEY, (30, 20), jnp.float32))
    assert drawn.unit == u.nS
    np.testing.assert_array_equal(drawn.mantissa, 0.5 * bare)
    np.testing.assert_array_equal(st.Scaled(stock, 2.0)(KEY, (30, 20), jnp.float32), 2 * bare)


def test_a_dale_matrix_has_one_sign_per_presynaptic_row():
    w = numbers(st.Dale(st.Sparse(0.2, 0.5), excitatory=0.75, inhibition=3.0))
    rows, _ = SHAPE
    e = round(0.75 * rows)
    assert set(np.unique(w[:e])) == {0.0, 0.5} and set(np.unique(w[e:])) == {0.0, -1.5}
    np.testing.assert_allclose([(w[:e] > 0).mean(), (w[e:] < 0).mean()], 0.2, atol=0.01)
    normal = numbers(st.Dale(st.Normal(0.0, 1.0), excitatory=0.5))
    assert (normal[:100] >= 0).all() and (normal[100:] <= 0).all()
    np.testing.assert_array_equal(np.abs(normal), np.abs(numbers(st.Normal(0.0, 1.0))))


@pytest.mark.parametrize("share, excitatory_rows", [(0.0, 0), (1.0, 5), (0.8, 4)])
def test_the_first_rows_are_excitatory(share, excitatory_rows):
    w = numbers(st.Dale(st.Uniform(0.5, 1.0), excitatory=share), (5, 3))
    np.testing.assert_array_equal((w > 0).all(1), np.arange(5) < excitatory_rows)


@pytest.mark.parametrize(
    "wrong, error, says",
    [
        (lambda: st.LogNormal(0.0, 1.0), st.DomainError, r"LogNormal\(mean=...\) must be positive, got 0"),
        (lambda: st.LogNormal(1.0, -1.0), st.DomainError, r"LogNormal\(std=...\) must not be negative"),
        (lambda: st.LogNormal(1.0 * u.nS, 1.0), st.UnitError, r"LogNormal\(mean=..., std=...\) must share a unit"),
        (
            lambda: st.TruncatedNormal(1.0 * u.nS, 1.0 * u.nS, low=0.0, high=2.0 * u.nS),
            st.UnitError,
            r"must share a unit, got 1 nS, 1 nS, 0 and 2 nS",
        ),
        (lambda: st.TruncatedNormal(0.0, 1.0, low=1.0, high=1.0), st.DomainError, "needs low < high, got 1 and 1"),
        (lambda: st.TruncatedNormal(0.0, 0.0, low=0.0, high=1.0), st.DomainError, r"\(std=...\) must be positive"),
        (lambda: st.TruncatedNormal(0.0, 1.0, low=9.0, high=10.0), st.DomainError, "within four standard deviations"),
        (lambda: st.Scaled(st.Sparse(0.1, 1.0 * u.nS), 1.0 * u.nS)(KEY, (2, 2)), st.UnitError, "bare numbers"),
        (lambda: st.Dale(lecun, excitatory=1.2), st.DomainError, r"Dale\(excitatory=...\) must lie in \[0, 1\]"),
        (lambda: st.Dale(lecun, inhibition=-1.0), st.DomainError, r"Dale\(inhibition=...\) must not be negative"),
        (lambda: st.Dale(lecun)(KEY, (4,)), st.ShapeError, r"draws a matrix \(pre, post\), got shape \(4,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()
