"""Surrogates: a step forward, the declared slope backward, in every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spiketrain as st

SURROGATES = [
    st.ATan(),
    st.ATan(0.5),
    st.Sigmoid(),
    st.Sigmoid(25.0),
    st.SuperSpike(),
    st.SuperSpike(100.0),
    st.Triangle(),
    st.Triangle(0.3),
]
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float64]

every_surrogate = pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def slope_by_formula(surrogate, x):
    """Return the slope from the paper's formula, in float64."""
    match surrogate:
        case st.ATan(alpha=a):
            return a / (2 * (1 + (np.pi * a * x / 2) ** 2))
        case st.Sigmoid(alpha=a):
            return a / (2 + 2 * np.cosh(a * x))
        case st.SuperSpike(alpha=a):
            return (1 + a * np.abs(x)) ** -2.0
        case st.Triangle(gamma=c):
            return c * np.clip(1 - np.abs(x), 0, None)
    raise AssertionError(f"write the formula of {surrogate} here")


@every_surrogate
def test_the_jvp_is_the_declared_slope(surrogate):
    with jax.enable_x64(True):
        x = jnp.linspace(-3, 3, 241)
        spikes, tangent = jax.jvp(surrogate, (x,), (jnp.full_like(x, 1.7),))
        np.testing.assert_allclose(tangent, 1.7 * surrogate.slope(x), rtol=1e-14)
        np.testing.assert_allclose(tangent, 1.7 * slope_by_formula(surrogate, np.asarray(x)), rtol=1e-10)
        np.testing.assert_allclose(jax.grad(lambda x: surrogate(x).sum())(x), surrogate.slope(x), rtol=1e-14)
        assert 0 < spikes.sum() < spikes.size


@every_dtype
@every_surrogate
def test_forward_is_zero_or_one_in_the_dtype_of_its_argument(surrogate, dtype):
    with jax.enable_x64(dtype is jnp.float64):
        x = jnp.asarray([-np.inf, -1e4, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1e4, np.inf], dtype)
        spikes = surrogate(x)
        assert spikes.dtype == dtype
        np.testing.assert_array_equal(np.asarray(spikes, float), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])


@every_dtype
@every_surrogate
def test_gradients_are_finite_far_from_threshold(surrogate, dtype):
    with jax.enable_x64(dtype is jnp.float64):
        x = jnp.asarray([-1e4, -1e2, -1.0, 0.0, 1.0, 1e2, 1e4], dtype)
        gradient = jax.grad(lambda x: surrogate(x).sum())(x)
        assert gradient.dtype == dtype
        assert bool(jnp.all(jnp.isfinite(gradient))) and bool(jnp.all(gradient >= 0)) and gradient[3] > 0


@pytest.mark.parametrize(
    "surrogate", [st.ATan(0.5), st.ATan(), st.ATan(8.0), st.Sigmoid(1.0), st.Sigmoid(), st.Sigmoid(25.0)], ids=repr
)
def test_the_slope_integrates_to_one(surrogate):
    """Over x = tan(t), so that the heavy tails count too; the trapezium rule then converges fast."""
    with jax.enable_x64(True):
        t = np.linspace(-np.pi / 2, np.pi / 2, 400_001)[1:-1]
        integrand = np.asarray(surrogate.slope(jnp.asarray(np.tan(t)))) / np.cos(t) ** 2
        np.testing.assert_allclose(np.trapezoid(integrand, t), 1.0, atol=2e-5)


@every_surrogate
def test_nan_in_is_nan_out(surrogate):
    """A NaN potential must not look like a silent neuron for ever."""
    spikes, tangent = jax.jvp(surrogate, (jnp.asarray([jnp.nan, 1.0]),), (jnp.ones(2),))
    assert jnp.isnan(spikes[0]) and spikes[1] == 1.0
    assert jnp.isnan(tangent[0]) and jnp.isfinite(tangent[1])


@every_surrogate
def test_a_surrogate_works_under_jit_and_vmap_and_is_a_static_value(surrogate):
    x = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
    np.testing.assert_array_equal(jax.jit(surrogate)(x), surrogate(x))
    np.testing.assert_array_equal(jax.vmap(surrogate)(x), surrogate(x))
    assert hash(surrogate) == hash(type(surrogate)(*vars(surrogate).values()))
    assert surrogate == type(surrogate)(*vars(surrogate).values()) and surrogate != st.ATan(123.0)


def test_a_new_surrogate_is_its_slope():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Boxcar(st.Surrogate):
        width: float = 0.5

        def slope(self, x):
            return (jnp.abs(x) < self.width / 2) / self.width

    x = jnp.asarray([-1.0, -0.2, 0.0, 0.2, 1.0])
    np.testing.assert_array_equal(jax.grad(lambda x: Boxcar()(x).sum())(x), [0, 2, 2, 2, 0])
    np.testing.assert_array_equal(Boxcar()(x), [0, 0, 1, 1, 1])
