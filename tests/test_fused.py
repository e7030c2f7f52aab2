"""The fused kernel equals `lax.scan` of the same step, lowers for every target, and says what it does not take."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from jax import lax
from jax.extend import core as jex
from scipy import special

import spiketrain as st
from scripts.fused_table import PAGE, TARGETS, lower, step_of
from spiketrain.kernels import fused, fused_gpu, fused_rewrites, fused_tpu
from spiketrain.kernels.fused_pullback import pullback, tangent
from spiketrain.kernels.step import Step

from helpers import active
from models_table import ROWS, rows

pytestmark = pytest.mark.usefixtures("dt")

MATRICES, REVERSE = "multiplies matrices (dot_general)", "has a derivative in reverse only (custom_vjp_call)"
REFUSED = {
    "FixedProb-Expon-COBA-LIF": REVERSE,
    "Sum-Expon-COBA-LIF": REVERSE,
    "AMPA-COBA-LIF": MATRICES,
    "BioNMDA-MgBlock-LeakyIntegrator": MATRICES,
    "GapJunction-LIF": MATRICES,
    "Recurrent-LIF-units": MATRICES,
    "Recurrent-ALIF": MATRICES,
    "EI-circuit": MATRICES,
}
FITS = [row for row in ROWS if row.name not in REFUSED]
named = partial(pytest.mark.parametrize, ids=lambda x: getattr(x, "name", None))
FAST_TO_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
T = 9


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Let nine steps be several blocks of time, the last one shorter."""
    monkeypatch.setattr(fused_gpu, "AHEAD", 2)
    monkeypatch.setattr(fused_tpu, "BYTES", 2**16)


def scanned(step, consts, carry, xs, length):
    """Return the last carry and the outputs by `lax.scan`."""

    def body(carry, x):
        out = jex.jaxpr_as_fun(step.jaxpr)(*consts, *carry, *x)
        return out[: step.n_carry], out[step.n_carry :]

    return lax.scan(body, list(carry), list(xs), length)


def is_floating(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def with_gradients(run, consts, carry, xs):
    """Return what `run` returns, and the gradients of a number that every entry of it moves."""

    def split(leaves):
        floats = [x for x in leaves if is_floating(x)]

        def join(values):
            values = iter(values)
            return [next(values) if is_floating(x) else x for x in leaves]

        return floats, join

    floats, join = split([*consts, *carry, *xs])

    def loss(floats):
        leaves = join(floats)
        out = run(
            leaves[: len(consts)], leaves[len(consts) : len(consts) + len(carry)], leaves[len(consts) + len(carry) :]
        )
        total = 0.0
        for i, leaf in enumerate(x for x in jax.tree.leaves(out) if is_floating(x)):
            total += jnp.sum(leaf * np.cos(i + 1.0 + np.arange(leaf.size).reshape(leaf.shape)).astype(leaf.dtype))
        return total, out

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=FAST_TO_COMPILE)
    (_, out), gradients = compiled(floats)
    return jax.tree.leaves(out), gradients


def compare(step, consts, carry, xs, *, target, rtol, length=T, **options):
    """Assert that values and all gradients equal those of the scan; return the scan's."""
    expected, slopes = with_gradients(lambda *g: scanned(step, *g, length), consts, carry, xs)
    run = partial(fused.run, step, length=length, target=target, interpret=True, **options)
    actual, gradients = with_gradients(lambda *g: run(*g), consts, carry, xs)
    assert len(actual) == len(expected) and len(gradients) == len(slopes)
    for a, b in zip([*actual, *gradients], [*expected, *slopes], strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert np.all(np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.max(np.abs(b), initial=0.0))
    assert any(np.any(np.asarray(x) != 0) for x in slopes), "a gradient of zero is equal to anything"
    return expected, slopes


def made(f, consts, carry, xs):
    """Return the step of `f(consts, carry, x) -> (carry, y)`."""
    n, m = len(consts), len(consts) + len(carry)

    def flat(*a):
        after, y = f(a[:n], a[n:m], a[m:])
        return [*after, *y]

    return Step(jax.make_jaxpr(flat)(*consts, *carry, *[x[0] for x in xs]), n, m - n)


def repeats(row):
    """Whether the equations of a row are those of others, up to units, parameters or the kind of reset."""
    return re.search("units|none|GABAa|Wang|ALIF-cond|Integrator-cond|LIFCurr|AdQuaIF", row.name) is not None


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.slow
@named("row", [pytest.param(row, marks=pytest.mark.slow if repeats(row) else ()) for row in FITS])
def test_every_elementwise_model_equals_the_scan(row, double, monkeypatch):
    monkeypatch.setattr(fused_gpu, "AHEAD", 1)  # compiles in half the time
    target = ("triton", "tpu")[FITS.index(row) % 2]
    step, consts, carry, xs = step_of(row.make(), row.inputs(T, batch=(3,)), (3,))
    assert fused.refusal(step, target) == "computes in float64"  # and nothing else is in the way
    expected, _ = compare(step, consts, carry, xs, target=target, rtol=1e-9)
    if row.spiking and row.name not in ("HH", "WangBuzsakiHH", "ExpIF-conductances"):  # which need more time
        active(expected[step.n_carry])


@named("row", rows(*REFUSED))
def test_a_model_that_does_not_fit_is_refused_with_the_reason(row):
    step, *_ = step_of(row.make(), row.inputs(T, batch=(3,)), (3,))
    assert {fused.refusal(step, target) for target in TARGETS} == {REFUSED[row.name]}


shapes = some.tuples(some.sampled_from([(), (1,), (3,)]), some.sampled_from([1, 5, 127, 300]), some.integers(1, 12))


def check_shape(batch, N, length, target):
    rng = np.random.default_rng(N)
    tau = jnp.asarray(rng.uniform(3.0, 30.0, N), jnp.float32)
    model = st.ALIF(N, tau=st.Trainable(tau), beta=0.3, tau_a=st.Trainable(tau + 20.0), V_th=st.Trainable(0.9))
    current = jnp.asarray(rng.normal(2.0, 4.0, (length, *batch, N)), jnp.float32).at[0].set(100.0)
    step, consts, carry, xs = step_of(model, (current,), batch)
    assert any(x.size == N for x in consts)
    assert fused.refusal(step, target) is None
    expected, _ = compare(step, consts, carry, xs, target=target, rtol=3e-5, length=length)
    assert np.any(np.asarray(expected[-1]) == 1)


@settings(max_examples=3)
@example(((3,), 127, 11), "tpu")  # ragged rows of lanes and a ragged block of time
@example(((), 5, 1), "triton")
@given(shapes, some.sampled_from(["triton", "tpu"]))
def test_any_shape_equals_the_scan(shape, target):
    check_shape(*shape, target)


@pytest.mark.every
@settings(max_examples=40)
@given(shapes, some.sampled_from(["triton", "mosaic", "tpu"]))
def test_many_shapes_equal_the_scan(shape, target):
    check_shape(*shape, target)


@pytest.mark.parametrize("target", ["triton", "tpu"])
def test_ragged_rows_and_blocks_of_a_large_state(target):
    """More than one block of elements in every direction."""
    N = 33 * 128 + 5
    xs = [jnp.asarray(np.random.default_rng(0).normal(0.5, 1.0, (T, N)), jnp.float32)]
    carry, consts = [jnp.zeros(N)], [jnp.linspace(0.5, 0.9, N)]
    step = made(lambda c, s, x: ([jnp.tanh(c[0] * s[0] + x[0])], [s[0] * x[0]]), consts, carry, xs)
    compare(step, consts, carry, xs, target=target, rtol=1e-5)


@pytest.mark.parametrize("target", ["triton", "tpu"])
def test_numbers_counters_and_booleans(target):
    """One number per step, a counter of integers, a flag, and padded lanes in which the step divides by zero."""

    def f(consts, carry, x):
        (scale, tau), (V, count, fired), (I, gain) = consts, carry, x
        V = jnp.where(fired, 0.0, V) / tau + gain * I * scale
        fired = (V > 1) & (count % 3 != 1)
        return [V, count + fired, fired], [V * V, fired, count, jnp.broadcast_to(gain, V.shape)]

    rng = np.random.default_rng(1)
    xs = [jnp.asarray(rng.normal(1.0, 1.0, (T, 2, 5)), jnp.float32), jnp.linspace(0.5, 1.5, T)]
    carry = [jnp.full((2, 5), 0.3), jnp.zeros((2, 5), jnp.int32), jnp.zeros((2, 5), bool)]
    consts = [jnp.asarray(1.3), jnp.linspace(1.5, 3.0, 5)]
    step = made(f, consts, carry, xs)
    expected, _ = compare(step, consts, carry, xs, target=target, rtol=1e-5)
    assert 0 < np.sum(np.asarray(expected[4])) < T * 10


def lif(length=T, B=4, N=6, **parameters):
    model = st.LIF(N, tau=st.Trainable(jnp.linspace(3.0, 20.0, N)), **parameters)
    current = jnp.asarray(np.random.default_rng(2).normal(1.5, 4.0, (length, B, N)), jnp.float32)
    return step_of(model, (current,), (B,))


@pytest.mark.parametrize("reset", [st.SoftReset(), st.HardReset(), st.SoftReset(detach=True)], ids=repr)
def test_half_precision_residuals_change_gradients_by_little_and_outputs_not_at_all(reset):
    """A hard reset reads the spikes again, and keeps single precision."""
    step, *given = lif(60, 16, 32, reset=reset)
    outputs, gradients = {}, {}
    for dtype in (None, jnp.bfloat16):
        run = partial(fused.run, step, length=60, target="triton", interpret=True, residuals=dtype)
        outputs[dtype], gradients[dtype] = with_gradients(lambda *g, run=run: run(*g), *given)
    active(outputs[None][-1])
    for full, half in zip(outputs[None], outputs[jnp.bfloat16], strict=True):
        np.testing.assert_array_equal(full, half)
    errors = [
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(gradients[jnp.bfloat16], gradients[None], strict=True)
    ]
    assert all(np.any(b != 0) for b in gradients[None])
    assert np.all(errors[1:] < np.float32(0.01))  # the first is that of the decay, which multiplies V after the reset
    assert errors and (0 < max(errors) < 0.02 if isinstance(reset, st.SoftReset) else max(errors) == 0)


def test_what_is_saved_for_the_backward_pass():
    """A current is linear and not read again; a conductance is; what has no gradient costs nothing."""
    step, *_ = lif()
    derivative = tangent(step.jaxpr)
    inputs = {step.n_consts + step.n_carry}
    to_inputs = pullback(derivative, step.n_consts, step.n_carry, inputs, {1})
    assert to_inputs.state == (0,) and to_inputs.xs == () and to_inputs.to_consts == ()
    dead = pullback(derivative, step.n_consts, step.n_carry, inputs, set())
    assert dead.carry == dead.y == dead.state == ()
    (row,) = rows("LIF-soft-refractory")
    step, *_ = step_of(row.make(), row.inputs(T, batch=(3,)), (3,))
    refractory = pullback(tangent(step.jaxpr), step.n_consts, step.n_carry, {len(step.jaxpr.in_avals) - 1}, {2})
    assert len(refractory.carry) == 1 < step.n_carry  # no gradient flows through the counter


@pytest.mark.parametrize("target", ["triton", "tpu"])
def test_vmap_is_the_loop_over_its_batch(target):
    step, consts, carry, xs = lif()
    many = [jnp.stack([c, 0.9 * c]) for c in consts], [jnp.stack([s, s + 0.1]) for s in carry]

    def loss(consts, carry, xs):
        last, (y,) = fused.run(step, consts, carry, xs, T, target=target, interpret=True)
        return jnp.sum(last[0] * 0.7) + jnp.sum(y * xs[0]), y

    grad = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    together = jax.jit(jax.vmap(grad, in_axes=(0, 0, None)))(*many, xs)
    active(together[0][1])
    for i in range(2):
        alone = jax.jit(grad)(*jax.tree.map(lambda x, i=i: x[i], many), xs)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


def test_forward_mode_and_second_derivatives_are_refused():
    step, consts, carry, xs = lif()

    def run(xs):
        return fused.run(step, consts, carry, xs, T, target="triton", interpret=True)[1][0].sum()

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(run, (xs,), (xs,))
    with pytest.raises(NotImplementedError, match="second derivative"):
        jax.grad(lambda xs: sum(jnp.sum(g**2) for g in jax.grad(run)(xs)))(xs)


def test_no_step_at_all_returns_the_start():
    step, consts, carry, xs = lif()
    last, (y,) = fused.run(step, consts, carry, [x[:0] for x in xs], 0, target="triton", interpret=True)
    np.testing.assert_array_equal(last[0], carry[0])
    assert y.shape == (0, 4, 6)


V = jnp.ones((2, 4))


@pytest.mark.parametrize(
    "f, reason",
    [
        (lambda v: v - v.mean(-1, keepdims=True), "combines neurons (reduce_sum)"),
        (lambda v: jnp.cumsum(v, -1), "combines neurons (cumsum)"),
        (lambda v: jnp.sort(v), "combines neurons (sort)"),
        (lambda v: jnp.roll(v, 1, -1), "moves values between neurons"),
        (lambda v: v[:, ::-1], "moves values between neurons (rev)"),
        (lambda v: v[:, jnp.asarray([1, 0, 3, 2])], "moves values between neurons"),
        (lambda v: (v.reshape(4, 2) + 1).reshape(2, 4), "moves values between neurons (reshape)"),
        (lambda v: v @ jnp.ones((4, 4)), "multiplies matrices (dot_general)"),
        (lambda v: v + jax.random.normal(jax.random.key(0), v.shape), "draws random numbers"),
        (lambda v: lax.while_loop(lambda v: jnp.all(v < 0), jnp.abs, v), "loops or branches (while)"),
        (lambda v: lax.cond(v[0, 0] > 0, jnp.abs, jnp.negative, v), "moves values between neurons"),
        (lambda v: lax.lgamma(v), "is no elementwise operation (lgamma)"),
        (lambda v: jnp.arctan(v), "needs atan, which mosaic does not have"),
    ],
)
def test_each_reason_has_words(f, reason):
    step = made(lambda c, s, x: ([f(s[0]) + x[0]], [s[0]]), [], [V], [V[None]])
    assert fused.refusal(step, "mosaic").startswith(reason)


def test_more_reasons():
    def refused(f, carry, xs, target="tpu"):
        return fused.refusal(made(f, [], carry, xs), target)

    assert refused(lambda c, s, x: ([], [x[0] * 2]), [], [V[None]]) == "has no State"
    unrelated = refused(lambda c, s, x: ([s[0], s[1]], [x[0]]), [V, jnp.ones((2, 3))], [V[None]])
    assert unrelated == "has values of unrelated shapes ((2, 4), (2, 3))"
    printing = made(lambda c, s, x: ([s[0] + x[0]], [jax.debug.print("{}", s[0][0, 0]) or s[0]]), [], [V], [V[None]])
    assert fused.refusal(printing, "tpu").startswith("has effects")
    square = jnp.ones((4, 4))
    across = made(lambda c, s, x: ([s[0] + jnp.broadcast_to(c[0][:, None], (4, 4))], [s[0]]), [V[0]], [square], [])
    assert fused.refusal(across, "tpu") == "moves values between neurons (broadcast_in_dim)"


def test_the_platform_decides_and_a_cpu_has_no_kernel():
    assert fused.target("cpu") is None
    assert fused.target("tpu") == "tpu"
    assert fused.target("gpu") in ("triton", "mosaic")


x32 = np.concatenate([np.linspace(-30, 30, 20001), np.geomspace(1e-8, 80, 10001), -np.geomspace(1e-8, 80, 10001)])
x32 = np.concatenate([x32, [0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, 8388609.0, np.inf, -np.inf]]).astype(np.float32)
SINGLE = np.dtype(np.float32)


@pytest.mark.parametrize(
    "name, exact",
    [("expm1", np.expm1), ("log1p", np.log1p), ("erf", special.erf), ("sqrt", np.sqrt)],
)
def test_a_formula_equals_its_primitive_to_a_few_roundings(name, exact):
    x = x32[np.abs(x32) < 85]
    x = x[{"log1p": x > -0.999, "sqrt": x >= 0}.get(name, slice(None))]
    expected = exact(x.astype(float))
    actual = np.asarray(fused_rewrites.FORMULAS[name](jnp.asarray(x), dtype=SINGLE), float)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=3e-7 if name == "erf" else 1e-30)


def test_exact_formulas_are_exact():
    x, of = jnp.asarray(x32), fused_rewrites.FORMULAS
    for name in ("floor", "ceil", "sign"):
        np.testing.assert_array_equal(of[name](x, dtype=SINGLE), getattr(lax, name)(x))
    for method in (lax.RoundingMethod.TO_NEAREST_EVEN, lax.RoundingMethod.AWAY_FROM_ZERO):
        np.testing.assert_array_equal(of["round"](x, rounding_method=method, dtype=SINGLE), lax.round(x, method))
    np.testing.assert_array_equal(of["is_finite"](jnp.append(x, math.nan)), jnp.isfinite(jnp.append(x, math.nan)))
    np.testing.assert_array_equal(of["not"](x > 0, dtype=np.dtype(bool)), x <= 0)
    np.testing.assert_array_equal(of["sqrt"](jnp.asarray([0.0, math.inf, -1.0])), [0.0, math.inf, math.nan])


def test_pow_is_exact_in_sign_and_special_values():
    power = partial(fused_rewrites.FORMULAS["pow"], dtype=SINGLE)
    x = jnp.asarray([-2.0, -2.0, -2.0, 0.0, 0.0, 0.0, -3.0])
    y = jnp.asarray([3.0, 2.0, 0.5, 0.0, 2.0, -1.0, -3.0])
    np.testing.assert_allclose(power(x, y), lax.pow(x, y), rtol=1e-6)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.01, 50.0, 10**4).astype(np.float32), rng.uniform(-5, 5, 10**4).astype(np.float32)
    exact = np.power(x.astype(float), y)
    bound = 2e-7 * (1 + np.abs(y * np.log(x)))
    assert np.all(np.abs(np.asarray(power(jnp.asarray(x), jnp.asarray(y)), float) / exact - 1) < bound)


LOWERED = rows(
    "LIF-one-value-per-neuron", "LIF-hard-refractory", "DualExpon", "HH", "Expon-COBA-LIF", "Instant-Delta-LIF"
)


@named("row", LOWERED)
@pytest.mark.parametrize("target", TARGETS)
def test_kernels_lower_for_every_target_without_a_device(row, target):
    step, *given = step_of(row.make(), row.inputs(100, batch=(64,)), (64,))
    assert fused.refusal(step, target) is None
    text = lower(target, step, *given, residuals=jnp.bfloat16)
    call = {"triton": "triton", "mosaic": "mosaic_gpu", "tpu": "tpu_custom_call"}[target]
    assert len(re.findall(rf"custom_call @\S*{call}", text)) == 2  # one forward, one backward


@pytest.mark.parametrize("target", TARGETS)
def test_every_formula_lowers(target):
    def f(consts, carry, x):
        (V,), (I,) = carry, x
        V = (
            jnp.expm1(V)
            + jnp.log1p(abs(V))
            + lax.erf(lax.stop_gradient(V))
            + jnp.sqrt(abs(V))
            + abs(V) ** I
            + jnp.sign(V)
        )
        V = jnp.round(V) + jnp.floor(V) + jnp.ceil(V) + lax.round(V, lax.RoundingMethod.AWAY_FROM_ZERO) + 1 / V**2
        V = jnp.where(jnp.isfinite(V) & ~(V > 3) & V.astype(bool), V, I)
        return [lax.reduce_precision(lax.reduce_precision(V, 8, 7), 5, 10)], [V]

    xs = [jnp.ones((20, 3, 50))]
    step = made(f, [], [jnp.ones((3, 50))], xs)
    assert fused.refusal(step, target) is None
    assert lower(target, step, [], [jnp.ones((3, 50))], xs)


def test_the_page_lists_every_model_of_the_table_and_what_is_refused():
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    table = {name: outcomes for name, *outcomes in lines if name in {row.name for row in ROWS}}
    assert set(table) == {row.name for row in ROWS}
    for name, outcomes in table.items():
        assert outcomes == [REFUSED.get(name, "yes")] * len(TARGETS)
