"""Surrogates: a step forward, the declared slope backward, in every dtype."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spiketrain as st
from spiketrain.config import registry

SURROGATES = [
    st.ATan(),
    st.ATan(0.5),
    st.Sigmoid(),
    st.Sigmoid(25.0),
    st.ERF(),
    st.ERF(3.0),
    st.SoftSign(),
    st.SoftSign(7.0),
    st.PiecewiseExp(),
    st.PiecewiseExp(5.0),
    st.QPseudoSpike(),
    st.QPseudoSpike(1.3),
    st.QPseudoSpike(9.0),
    st.SuperSpike(),
    st.SuperSpike(100.0),
    st.InvSquareGrad(),
    st.InvSquareGrad(20.0),
    st.SlayerGrad(),
    st.SlayerGrad(4.0),
    st.NonzeroSignLog(),
    st.NonzeroSignLog(6.0),
    st.GaussianGrad(),
    st.GaussianGrad(sigma=0.2, alpha=1.0),
    st.MultiGaussianGrad(),
    st.MultiGaussianGrad(h=0.4, s=3.0, sigma=0.3, scale=1.5),
    st.Triangle(),
    st.Triangle(0.3),
    st.ReluGrad(),
    st.ReluGrad(alpha=2.0, width=0.25),
    st.PiecewiseQuadratic(),
    st.PiecewiseQuadratic(3.0),
    st.PiecewiseLeakyRelu(),
    st.PiecewiseLeakyRelu(c=0.1, w=0.6),
    st.LeakyRelu(),
    st.LeakyRelu(alpha=0.0, beta=2.0),
    st.LogTailedRelu(),
    st.LogTailedRelu(0.2),
    st.S2NN(),
    st.S2NN(alpha=2.0, beta=0.5),
    st.SquarewaveFourierSeries(),
    st.SquarewaveFourierSeries(n=5, t_period=3.0),
]
INTEGRATE_TO_ONE = (st.ATan, st.Sigmoid, st.ERF, st.SoftSign, st.PiecewiseExp, st.QPseudoSpike, st.PiecewiseQuadratic)
MAY_BE_NEGATIVE = (st.MultiGaussianGrad, st.SquarewaveFourierSeries)
DEFAULTS = [s for s in SURROGATES if s == type(s)()]

every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
every_default = pytest.mark.parametrize("surrogate", DEFAULTS, ids=repr)
every_dtype = pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda dtype: dtype.__name__
)


def gauss(x, mean, std):
    return np.exp(-0.5 * np.square((x - mean) / std)) / np.sqrt(2 * np.pi * std**2)


def slope_by_formula(surrogate, x):
    """Return the slope from the paper's formula, in float64."""
    far = np.abs(x)
    match surrogate:
        case st.ATan(alpha=a):
            return a / (2 * (1 + (np.pi * a * x / 2) ** 2))
        case st.Sigmoid(alpha=a):
            return a / (2 + 2 * np.cosh(a * x))
        case st.ERF(alpha=a):
            return gauss(x, 0, 1 / (np.sqrt(2) * a))
        case st.SoftSign(alpha=a):
            return 1 / (2 * a * (1 / a + far) ** 2)
        case st.PiecewiseExp(alpha=a):
            return a * np.where(x < 0, np.exp(a * x), np.exp(-a * x)) / 2
        case st.QPseudoSpike(alpha=q):
            return np.exp(-q * np.log1p(2 * far / (q - 1)))
        case st.SuperSpike(alpha=a):  # and InvSquareGrad
            return (1 + a * far) ** -2.0
        case st.SlayerGrad(alpha=a):
            return np.minimum(np.exp(a * x), np.exp(-a * x))
        case st.NonzeroSignLog(alpha=a):
            return 1 / (1 / a + far)
        case st.GaussianGrad(sigma=sigma, alpha=a):
            return a * gauss(x, 0, sigma)
        case st.MultiGaussianGrad(h=h, s=s, sigma=d, scale=c):
            return c * ((1 + h) * gauss(x, 0, d) - h * gauss(x, d, s * d) - h * gauss(x, -d, s * d))
        case st.Triangle(gamma=c):
            return c * np.clip(1 - far, 0, None)
        case st.ReluGrad(alpha=a, width=w):
            return np.where(far < w, a * (w - far), 0)
        case st.PiecewiseQuadratic(alpha=a):
            return np.where(far < 1 / a, a - a**2 * far, 0)
        case st.PiecewiseLeakyRelu(c=c, w=w):
            return np.select([far > w], [c], 1 / w)
        case st.LeakyRelu(alpha=a, beta=b):
            return np.select([x < 0], [a], b)
        case st.LogTailedRelu(alpha=a):
            return np.select([x < 0, x <= 1], [a, 1.0], 1 / np.where(x > 1, x, 1.0))
        case st.S2NN(alpha=a, beta=b):
            return np.select([x < 0], [a / (2 + 2 * np.cosh(a * x))], b / np.where(x < 0, 1.0, 1 + x))
        case st.SquarewaveFourierSeries(n=n, t_period=t):
            odd = np.arange(1, 2 * n, 2)
            return 4 / t * np.cos(2 * np.pi / t * odd * x[..., None]).sum(-1)
    raise AssertionError(f"write the formula of {surrogate} here")


def test_every_registered_surrogate_is_tested_here():
    registered = {registry.lookup("surrogate", name, "surrogate").load() for name in registry.names("surrogate")}
    assert {type(s) for s in SURROGATES} == registered | {st.ATan}
    for cls in registered:
        assert getattr(st, cls.__name__) is cls


@every_surrogate
def test_the_jvp_is_the_declared_slope(surrogate):
    with jax.enable_x64(True):
        x = jnp.linspace(-3, 3, 242)
        spikes, tangent = jax.jvp(surrogate, (x,), (jnp.full_like(x, 1.7),))
        np.testing.assert_allclose(tangent, 1.7 * surrogate.slope(x), rtol=1e-14)
        expected = 1.7 * slope_by_formula(surrogate, np.asarray(x))
        np.testing.assert_allclose(tangent, expected, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(jax.grad(lambda x: surrogate(x).sum())(x), surrogate.slope(x), rtol=1e-14)
        assert 0 < spikes.sum() < spikes.size and spikes.dtype == tangent.dtype == jnp.float64


@every_dtype
@every_default
def test_forward_is_zero_or_one_in_the_dtype_of_its_argument(surrogate, dtype):
    tiny = 2 * float(jnp.finfo(dtype).tiny)
    x = jnp.asarray([-np.inf, -1e4, -1.0, -tiny, -0.0, 0.0, tiny, 1.0, 1e4, np.inf], dtype)
    spikes = surrogate(x)
    assert spikes.dtype == dtype
    np.testing.assert_array_equal(np.asarray(spikes, float), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])


@every_dtype
@every_default
def test_gradients_are_finite_far_from_threshold(surrogate, dtype):
    x = jnp.asarray([-1e4, -1e2, -1.0, 0.0, 1.0, 1e2, 1e4], dtype)
    gradient = jax.grad(lambda x: surrogate(x).sum())(x)
    assert gradient.dtype == dtype
    values = np.asarray(gradient, float)
    assert np.isfinite(values).all() and values[3] > 0
    assert isinstance(surrogate, MAY_BE_NEGATIVE) or (values >= 0).all()


@pytest.mark.parametrize(
    "surrogate",
    [s for s in SURROGATES if isinstance(s, INTEGRATE_TO_ONE) and s != st.QPseudoSpike(1.3)],
    ids=repr,
)
def test_the_slope_integrates_to_one(surrogate):
    np.testing.assert_allclose(integral(surrogate), 1.0, atol=2e-5)


@pytest.mark.parametrize(
    "surrogate, area",
    [
        (st.SuperSpike(), 0.2),
        (st.InvSquareGrad(), 0.02),
        (st.SlayerGrad(4.0), 0.5),
        (st.GaussianGrad(), 0.5),
        (st.GaussianGrad(sigma=0.2, alpha=1.0), 1.0),
        (st.MultiGaussianGrad(), 0.5 * 0.85),
        (st.Triangle(0.3), 0.3),
        (st.ReluGrad(), 0.3),
        (st.ReluGrad(alpha=2.0, width=0.25), 0.125),
    ],
    ids=repr,
)
def test_the_others_have_the_area_of_their_docstring(surrogate, area):
    np.testing.assert_allclose(integral(surrogate), area, atol=2e-5)


def integral(surrogate):
    """Integrate over x = tan(t), so that the heavy tails count too; the trapezium rule then converges fast."""
    with jax.enable_x64(True):
        t = np.linspace(-np.pi / 2, np.pi / 2, 400_001)[1:-1]
        integrand = np.asarray(surrogate.slope(jnp.asarray(np.tan(t)))) / np.cos(t) ** 2
        return np.trapezoid(integrand, t)


def test_more_terms_bring_the_square_wave_closer_to_a_step():
    with jax.enable_x64(True):
        x = np.linspace(-2, 2, 20_001)
        area = [np.trapezoid(st.SquarewaveFourierSeries(n, 8.0).slope(jnp.asarray(x)), x) for n in (1, 2, 40)]
    np.testing.assert_allclose(area[:2], [4 / math.pi, 4 / math.pi * 2 / 3], rtol=1e-6)
    assert abs(area[2] - 1) < 0.01


@every_default
def test_nan_in_is_nan_out(surrogate):
    """A NaN potential must not look like a silent neuron for ever."""
    spikes, tangent = jax.jvp(surrogate, (jnp.asarray([jnp.nan, 1.0]),), (jnp.ones(2),))
    assert jnp.isnan(spikes[0]) and spikes[1] == 1.0
    assert jnp.isnan(tangent[0]) and jnp.isfinite(tangent[1])


@every_default
def test_a_surrogate_works_under_jit_and_vmap_and_is_a_static_value(surrogate):
    x = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
    np.testing.assert_array_equal(jax.jit(surrogate)(x), surrogate(x))
    np.testing.assert_array_equal(jax.vmap(surrogate)(x), surrogate(x))
    assert hash(surrogate) == hash(dataclasses.replace(surrogate))
    assert surrogate == dataclasses.replace(surrogate) and surrogate != st.ATan(123.0)


def test_surrogates_of_one_curve_are_distinct_values():
    assert st.InvSquareGrad(10.0) != st.SuperSpike(10.0)
    x = jnp.linspace(-1.0, 1.0, 9)
    np.testing.assert_array_equal(st.InvSquareGrad(10.0).slope(x), st.SuperSpike(10.0).slope(x))


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: st.QPseudoSpike(1.0), r"QPseudoSpike\(alpha=...\) must be greater than one, got 1.0"),
        (lambda: st.GaussianGrad(sigma=0.0), r"GaussianGrad\(sigma=...\) must be positive, got 0.0"),
        (lambda: st.MultiGaussianGrad(s=-1.0), r"MultiGaussianGrad\(s=...\) must be positive, got -1.0"),
        (lambda: st.ReluGrad(width=0.0), r"ReluGrad\(width=...\) must be positive"),
        (lambda: st.PiecewiseLeakyRelu(w=math.nan), r"PiecewiseLeakyRelu\(w=...\) must be positive, got nan"),
        (lambda: st.SquarewaveFourierSeries(n=0), r"SquarewaveFourierSeries\(n=...\) must be at least one, got 0"),
        (lambda: st.SquarewaveFourierSeries(t_period=0.0), r"\(t_period=...\) must be positive"),
    ],
)
def test_constants_without_a_slope_are_refused(wrong, says):
    with pytest.raises(st.DomainError, match=says):
        wrong()


def test_a_plain_number_will_do():
    surrogate = st.ATan(2.0)
    assert float(surrogate(0.1)) == 1.0 and float(surrogate(-0.1)) == 0.0
    np.testing.assert_allclose(jax.grad(surrogate)(0.1), surrogate.slope(0.1), rtol=1e-6)


def test_a_new_surrogate_is_its_slope():
    @dataclasses.dataclass(frozen=True)
    class Boxcar(st.Surrogate):
        width: float = 0.5

        def slope(self, x):
            return (jnp.abs(x) < self.width / 2) / self.width

    x = jnp.asarray([-1.0, -0.2, 0.0, 0.2, 1.0])
    np.testing.assert_array_equal(jax.grad(lambda x: Boxcar()(x).sum())(x), [0, 2, 2, 2, 0])
    np.testing.assert_array_equal(Boxcar()(x), [0, 0, 1, 1, 1])
