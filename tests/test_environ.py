"""The time step: part of the key of every jit, local to its thread, asked for when it is missing."""

import threading
from functools import partial

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain import environ
from spiketrain.errors import DomainError

from helpers import active, by_hand, equal

X = np.random.default_rng(0).normal(2.0, 2.0, (60, 2, 4))


def model():
    return st.ALIF(4, tau=7.0, tau_a=30.0)


def fresh(dt):
    """Return what is right at `dt`, without any cache: by hand."""
    with environ.context(dt=dt):
        spikes = by_hand(model(), jnp.asarray(X), batch=(2,))
    active(spikes)
    return spikes


@pytest.fixture
def set_dt():
    """Set the time step of the process, and forget it afterwards."""
    try:
        yield environ.set
    finally:
        environ._dt_seconds.set_global(None)
        environ._dtype.set_global(None)


CALLS = {
    "the library's own loop": lambda model: model,
    "the user's jit": lambda model: jax.jit(lambda x: model(x)),
    "nnx.jit": lambda model: partial(nnx.jit(lambda model, x: model(x)), model),
    "a jit inside a jit": lambda model: jax.jit(lambda x: jax.jit(lambda x: model(x))(x)),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_compiled_function_is_used_under_another_time_step(call, set_dt):
    run = CALLS[call](model())
    slow, quick = fresh(1.0 * u.ms), fresh(0.25 * u.ms)
    assert not np.array_equal(slow, quick)
    for _ in range(2):
        with environ.context(dt=1.0 * u.ms):
            equal(run(X), slow, rtol=1e-6)
            with environ.context(dt=0.25 * u.ms):
                equal(run(X), quick, rtol=1e-6)
            equal(run(X), slow, rtol=1e-6)
    set_dt(dt=1.0 * u.ms)
    equal(run(X), slow, rtol=1e-6)
    set_dt(dt=0.25 * u.ms)
    equal(run(X), quick, rtol=1e-6)
    with environ.context(dt=1.0 * u.ms):
        equal(run(X), slow, rtol=1e-6)
    equal(run(X), quick, rtol=1e-6)


def test_gradients_know_the_time_step():
    gradient = jax.jit(jax.grad(lambda x: st.LeakyIntegrator(1, tau=10.0)(x)[-1, 0]))
    for dt in (1.0, 2.0, 1.0):
        with environ.context(dt=dt * u.ms):
            np.testing.assert_allclose(gradient(jnp.zeros((3, 1)))[-1, 0], 1 - np.exp(-dt / 10), rtol=1e-6)


def test_a_context_may_be_opened_inside_a_compiled_function():
    @jax.jit
    def run(x):
        with environ.context(dt=0.25 * u.ms):
            quick = model()(x)
        with environ.context(dt=1.0 * u.ms):
            return model()(x), quick

    slow, quick = run(X)
    equal(slow, fresh(1.0 * u.ms), rtol=1e-6)
    equal(quick, fresh(0.25 * u.ms), rtol=1e-6)


def test_a_backward_pass_remembers_the_time_step_of_its_forward_pass():
    cell, x = st.LeakyIntegrator(1, tau=10.0), jnp.zeros((6, 1))
    for run in (cell, lambda x: st.unroll_in_pieces(cell, x, steps=3)):
        with environ.context(dt=2.0 * u.ms):
            y, pull_back = jax.vjp(run, x)
        (slope,) = pull_back(jnp.zeros_like(y).at[-1].set(1.0))
        np.testing.assert_allclose(slope[-1, 0], 1 - np.exp(-0.2), rtol=1e-6)


@pytest.mark.parametrize(
    "call", [lambda m: m(X), lambda m: jax.jit(lambda x: m(x))(X), lambda m: by_hand(m, X, batch=(2,))]
)
def test_a_missing_time_step_is_asked_for(call):
    with pytest.raises(st.StateError) as error:
        call(model())
    assert "dt is not set" in str(error.value)
    assert "environ.context(dt=1.0 * u.ms)" in str(error.value) and "environ.set(dt=1.0 * u.ms)" in str(error.value)


def test_a_model_is_built_without_a_time_step():
    assert model().tau == 7.0


def test_get_dt_is_a_quantity():
    with environ.context(dt=250.0 * u.us):
        assert environ.get_dt().to_decimal(u.ms) == pytest.approx(0.25, rel=1e-15)
        assert environ.dt_in_seconds() == pytest.approx(2.5e-4, rel=1e-15)


def test_a_context_ends_with_its_block_even_on_an_error():
    with pytest.raises(ZeroDivisionError), environ.context(dt=1.0 * u.ms):
        raise ZeroDivisionError
    with pytest.raises(st.StateError):
        environ.get_dt()


def test_a_context_stays_in_its_thread(set_dt):
    seen = {}

    def look(name):
        try:
            seen[name] = environ.dt_in_seconds()
        except st.StateError:
            seen[name] = None

    def in_thread(name):
        thread = threading.Thread(target=look, args=(name,))
        thread.start()
        thread.join()

    with environ.context(dt=2.0 * u.ms):
        in_thread("beside a context")
        look("in the context")
    set_dt(dt=3.0 * u.ms)
    with environ.context(dt=2.0 * u.ms):
        in_thread("with a setting")
    assert seen == {"beside a context": None, "in the context": 2e-3, "with a setting": 3e-3}


def test_threads_run_at_their_own_time_steps():
    expected = {dt: fresh(dt * u.ms) for dt in (1.0, 0.25)}
    shared, together, results = model(), threading.Barrier(2), {}

    def work(dt):
        with environ.context(dt=dt * u.ms):
            for _ in range(3):
                together.wait(timeout=60)
                results.setdefault(dt, []).append(np.asarray(shared(X)))

    threads = [threading.Thread(target=work, args=(dt,)) for dt in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for dt, spikes in expected.items():
        assert len(results[dt]) == 3
        for result in results[dt]:
            equal(result, spikes, rtol=1e-6)


@pytest.mark.parametrize(
    "dt, error, says",
    [
        (0.1, st.UnitError, ["environ(dt=...)", "`ms`", "0.1 without a unit", "`0.1 * u.ms`"]),
        (1.0 * u.mV, st.UnitError, ["environ(dt=...)", "`ms`", "1 mV", "`1.0 * u.ms`"]),
        (0.0 * u.ms, st.DomainError, ["dt", "positive", "`dt=0.1 * u.ms`"]),
        (-1.0 * u.ms, st.DomainError, ["positive", "-1"]),
        (float("nan") * u.ms, st.DomainError, ["positive", "nan"]),
        (float("inf") * u.ms, st.DomainError, ["positive", "inf"]),
    ],
)
@pytest.mark.parametrize("how", [environ.context, environ.set], ids=["context", "set"])
def test_a_time_step_that_makes_no_sense_is_refused(how, dt, error, says):
    with pytest.raises(error) as raised:
        how(dt=dt)
    assert all(part in str(raised.value) for part in says), raised.value


def test_decay_is_computed_in_double_precision_for_a_constant():
    with environ.context(dt=0.1 * u.ms):
        assert environ.decay(20.0 * u.ms) == pytest.approx(np.exp(-0.005), rel=1e-15)
        assert environ.decay(20.0) == environ.decay(20.0 * u.ms)
        assert environ.steps_per(20.0 * u.ms) == pytest.approx(0.005, rel=1e-15)
        np.testing.assert_allclose(environ.decay(jnp.asarray([10.0, 20.0]) * u.ms), np.exp([-0.01, -0.005]), rtol=1e-6)


# --- The dtype of State


def kept():
    """Return the dtype of V, under the settings that hold now."""
    cell = model()
    cell.init_state()
    return cell.V.get_raw_value().dtype


def test_State_is_kept_in_the_dtype_that_is_set(set_dt):
    with environ.context(dt=1.0 * u.ms):
        assert kept() == environ.get_dtype() == jnp.float32
        with environ.context(dtype=jnp.bfloat16):
            assert kept() == environ.get_dtype() == jnp.bfloat16
            assert environ.dt_in_seconds() == 1e-3
            with environ.context(dt=2.0 * u.ms):
                assert kept() == jnp.bfloat16 and environ.dt_in_seconds() == 2e-3
            with environ.context(dt=2.0 * u.ms, dtype="float16"):
                assert kept() == jnp.float16 and environ.dt_in_seconds() == 2e-3
        assert kept() == jnp.float32
    set_dt(dtype=np.float16)
    assert kept() == jnp.float16
    with jax.enable_x64(True):
        assert kept() == jnp.float16
        environ._dtype.set_global(None)
        assert kept() == jnp.float64
        with environ.context(dtype=float):
            assert kept() == jnp.float64
        with environ.context(dtype=jnp.float32):
            assert kept() == jnp.float32


@pytest.mark.parametrize("call", CALLS)
def test_no_compiled_function_is_used_under_another_dtype(call):
    run = CALLS[call](model())
    with environ.context(dt=1.0 * u.ms):
        single = run(X)
        with environ.context(dtype=jnp.bfloat16):
            half = by_hand(model(), jnp.asarray(X), batch=(2,))
            active(half)
            equal(run(X), half, rtol=0)
        assert not np.array_equal(half, single)
        equal(run(X), single, rtol=0)


@pytest.mark.parametrize(
    "given, error, says",
    [
        (dict(dtype=jnp.int32), st.DomainError, ["environ(dtype=...)", "floating", "int32", "`dtype=jnp.bfloat16`"]),
        (dict(dtype="bf16"), st.DomainError, ["environ(dtype=...)", "floating", "'bf16'"]),
        (dict(dtype=np.float64), st.DomainError, ["environ(dtype=...)", "float64", "JAX_ENABLE_X64"]),
        ({}, TypeError, ["dt, dtype, residuals or loop", "`environ.context(dt=1.0 * u.ms)`"]),
    ],
)
@pytest.mark.parametrize("how", [environ.context, environ.set], ids=["context", "set"])
def test_a_dtype_that_makes_no_sense_is_refused(how, given, error, says):
    with pytest.raises(error) as raised:
        how(**given)
    assert all(part in str(raised.value) for part in says), raised.value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"residuals": int}, "environ(residuals=...) must be a floating dtype"),
        ({"loop": "fast"}, "environ(loop=...) must be one of 'auto', 'scan', 'fused', got 'fast'"),
    ],
)
def test_a_loop_and_residuals_that_make_no_sense_are_refused(given, says):
    with pytest.raises(DomainError) as raised:
        environ.context(**given)
    assert says in str(raised.value)
