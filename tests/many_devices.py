"""What holds on eight devices. `test_devices.py` runs this file in a process that has them."""

import faulthandler

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from one_of_several import VOWELS, losses

import spiketrain as st
from spiketrain.config.check import check
from spiketrain.errors import TrainingError
from spiketrain.mesh import is_whole, shared
from spiketrain.training import devices, step
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.run import make_trainer, train

from runs import record, small

pytestmark = pytest.mark.usefixtures("one_ms")


def test_there_are_eight_devices():
    assert jax.device_count() == 8


def test_losses_do_not_depend_on_the_number_of_devices():
    """With the encoder's noise and dropout, which are those of the whole batch: 50 steps of real data."""

    def run(n, fsdp=1):
        return losses(check(VOWELS | {"trainer": VOWELS["trainer"] | {"devices": n, "fsdp": fsdp}}))

    one, t = run(1)
    metrics = t.evaluate("test")
    assert one[-1] < one[0] - 0.02 and metrics["rate_hz/spiking/0"] > 1
    for n, fsdp in ((8, 1), (8, 4)):  # two devices: `test_processes.py`
        several, t = run(n, fsdp)
        assert dict(t.mesh.shape) == {"data": n // fsdp, "fsdp": fsdp}
        assert all(leaf.sharding.is_fully_replicated for leaf in t.leaves) == (fsdp == 1)
        np.testing.assert_allclose(several, one, rtol=1e-6)
        assert t.evaluate("test") == pytest.approx(metrics, rel=1e-4)


def test_no_device_is_held_up_while_another_waits_for_it():
    """More steps, and then more batches of evaluation, than XLA lets wait for a device, and no look at them between."""
    faulthandler.dump_traceback_later(200, exit=True)  # else it would wait forever
    settings = {"devices": 8, "epochs": 6, "eval_batch_size": 8, "log_every_steps": 1000, "save_every": 100}
    t = make_trainer(check(VOWELS | {"trainer": VOWELS["trainer"] | settings | {"validation_fraction": 0.0}}), None)
    result = t.fit()
    assert result["step"] == t.total_steps > 50 and -(-len(t.splits["test"]) // t.eval_size) > 40
    faulthandler.cancel_dump_traceback_later()


def test_parameters_their_moments_and_averages_are_divided(data):
    t = make_trainer(
        small(data, trainer__devices=8, trainer__fsdp=4, trainer__batch_size=8, trainer__ema_decay=0.9), None
    )
    data_, order = step.on_devices(t.splits["train"], t.mesh), t.epochs.order(0)[0]
    for _ in range(2):
        divided = {
            n: x.sharding.shard_shape(x.shape) for n, x in zip(t.layout.names, t.leaves, strict=True) if x.ndim == 2
        }
        assert divided["params/spiking/0/comm/weight"] == (8, 2) and divided["params/linear/0/kernel"] == (3, 2)
        for of in ("optimizer", "ema"):
            assert sum(shape == (8, 2) for name, shape in divided.items() if name.startswith(of)) >= 1, divided
        t.leaves, _ = t.functions.train_step()(t.leaves, data_, order)  # they stay where they are


def test_an_ensemble_shares_devices(data):
    def members(devices, fsdp=1):
        settings = dict(trainer__devices=devices, trainer__fsdp=fsdp, trainer__batch_size=8, trainer__epochs=2)
        return make_trainer(small(data, ensemble=2, **settings), None).fit()["members"]

    alone, shared = members(1), members(4, 2)
    assert alone[0]["test"]["rate_hz/spiking/0"] > 1
    for a, b in zip(alone, shared, strict=True):
        assert a["test"] == pytest.approx(b["test"], rel=1e-4)


def test_a_run_continues_on_another_number_of_devices(tmp_path, data):
    def config(devices, epochs):
        how = dict(trainer__devices=abs(devices), trainer__fsdp=2 if devices < 0 else 1)
        return small(data, trainer__epochs=epochs, trainer__batch_size=8, **how)

    results = {}
    for name, first, second in (("whole", 1, 1), ("fewer", 8, 1), ("divided", 1, -4)):
        train(config(first, 2), tmp_path / name)
        results[name] = train(config(second, 4), tmp_path / name, resume=True)[1]
        assert results[name]["devices"] == abs(second)
        assert steps_in(tmp_path / name / "checkpoints")[-1] == 8
    for name in ("fewer", "divided"):
        assert results[name]["test"] == pytest.approx(results["whole"]["test"], rel=1e-4)
        for a, b in zip(record(tmp_path / name), record(tmp_path / "whole"), strict=True):
            assert (a.pop("step"), a.pop("split")) == (b.pop("step"), b.pop("split"))
            assert a == pytest.approx(b, rel=1e-4)


def test_devices_that_cannot_be_had(data):
    for count, batch, message in (
        (9, 9, "trainer.devices=9: there are 8, of platform cpu. JAX_NUM_CPU_DEVICES=9 divides a CPU into so many"),
        (3, 8, "trainer.devices=3 does not divide trainer.batch_size=8. Write, for example, `trainer.batch_size=9`"),
    ):
        with pytest.raises(TrainingError) as error:
            make_trainer(small(data, trainer__devices=count, trainer__batch_size=batch), None)
        assert message in str(error.value)
    with pytest.raises(TrainingError, match="trainer.fsdp=3 does not divide trainer.devices=4"):
        make_trainer(small(data, trainer__devices=4, trainer__fsdp=3, trainer__batch_size=8), None)


@pytest.mark.parametrize("batch, count", [(1, 1), (31, 1), (32, 2), (48, 3), (64, 4), (100, 5), (128, 8), (1000, 8)])
def test_the_number_of_devices_unless_it_is_given(batch, count):
    assert devices.mesh_of(None, batch).size == count
    assert batch // count >= devices.FEWEST_ON_CPU or count == 1


def divided(mesh, x):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, ("data", "fsdp"))))


@pytest.mark.parametrize("name", ["dense", "bf16", "conv"])
def test_products_of_trains_stay_on_the_device_of_their_trials(name):
    """Time and trials become one axis in them, which the compiler alone would gather on every device."""
    rng = np.random.default_rng(0)
    if name == "conv":
        layer = st.Conv((6, 6, 2), 4, (3, 3), pool=2, rngs=nnx.Rngs(0))
        x = rng.random((5, 16, 6, 6, 2)) < 0.3
    else:
        product = st.SpikeProduct("bf16" if name == "bf16" else "float32")
        layer = nnx.Linear(12, 7, use_bias=False, dot_general=product, rngs=nnx.Rngs(0))
        x = rng.random((5, 16, 12)) < 0.3
    x, mesh = x.astype(np.float32), devices.mesh_of(8, 16)
    definition, params = nnx.split(layer)

    def loss(params, x):
        return (nnx.merge(definition, params, copy=True)(x) ** 2).sum()

    def on_devices(params, x):
        with shared(mesh):
            assert not is_whole()
            return loss(params, x)

    wanted = jax.value_and_grad(loss, argnums=(0, 1))(params, jnp.asarray(x))
    assert wanted[0] > 1
    compiled = jax.jit(jax.value_and_grad(on_devices, argnums=(0, 1))).lower(params, divided(mesh, x)).compile()
    assert "all-gather" not in compiled.as_text()
    assert "all-reduce" in compiled.as_text()
    got = compiled(params, divided(mesh, x))
    tolerance = 2e-2 if name == "bf16" else 1e-5
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_a_batch_that_devices_do_not_divide_is_left_to_the_compiler():
    layer = st.Conv((6, 6, 2), 4, (3, 3), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).random((5, 6, 6, 6, 2)) < 0.3, jnp.float32)
    mesh = devices.mesh_of(8, 16)

    @jax.jit
    def run(x):
        with shared(mesh):
            return layer(x)

    np.testing.assert_allclose(run(x), layer(x), rtol=1e-5, atol=1e-6)
    assert layer(x).any()


def test_pieces_within_a_memory_budget_of_each_device(data):
    def temporaries(count):
        t = make_trainer(small(data, trainer__devices=count, trainer__batch_size=16), None)
        data_ = step.on_devices(t.splits["train"], t.mesh)
        return t.functions.temporaries(t.leaves, data_, t.epochs.order(0)[0], None)

    assert temporaries(8) < temporaries(1)
