"""A warm start takes the parameters that fit, says what it left, and nothing else."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from spiketrain.config.schema import LoggerSettings, TrainerSettings
from spiketrain.errors import CheckpointError
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.training import state
from spiketrain.training.constraints import constrain
from spiketrain.training.trainer import Trainer
from spiketrain.training.warm_start import warm_start

from runs import dataset

pytestmark = pytest.mark.usefixtures("one_ms")

TX = optax.adam(0.1)


def net(n_out=2, hidden=(8,), seed=0):
    return SpikingNet(3, n_out, hidden=hidden, dropout=0.25, rngs=nnx.Rngs(seed))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = TrainerSettings(epochs=1, batch_size=7, save_every=1)
    logger = LoggerSettings(tensorboard=False, pictures=False, progress=False)
    trainer = Trainer(net(), dataset(), optimizer=TX, settings=settings, logger=logger, folder=folder)
    trainer.fit()
    return folder, params(trainer.layout, trainer.leaves)


def params(layout, leaves):
    """Return the parameters by path."""
    named = zip(layout.names, leaves, strict=True)
    return {name.removeprefix("params/"): np.asarray(x) for name, x in named if name.startswith("params/")}


def rest(layout, leaves):
    """Return all other leaves, bit for bit."""
    others = [x for name, x in zip(layout.names, leaves, strict=True) if not name.startswith("params/")]
    keys = jax.dtypes.prng_key
    return [np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x).tobytes() for x in others]


def test_a_model_that_is_the_same_takes_all_and_nothing_but_parameters(trained):
    folder, wanted = trained
    leaves, layout = state.init(net(seed=1), TX)
    new, report = warm_start(leaves, layout, TX, folder)
    taken = params(layout, new)
    assert {name: x.tobytes() for name, x in taken.items()} == {name: x.tobytes() for name, x in wanted.items()}
    assert sorted(report.taken) == sorted(wanted) and not report.left and not report.unused
    assert rest(layout, new) == rest(layout, leaves)
    assert any((x != y).any() for x, y in zip(taken.values(), params(layout, leaves).values(), strict=True))


def test_what_does_not_fit_is_left_and_said(trained):
    folder, wanted = trained
    [step] = (folder / "checkpoints").iterdir()
    leaves, layout = state.init(net(n_out=5, hidden=(8, 4), seed=1), TX)
    before = params(layout, leaves)
    new, report = warm_start(leaves, layout, TX, step)
    after = params(layout, new)
    assert "linear/0/kernel" in report.taken and not set(report.taken) & set(report.left)
    assert set(report.taken) | set(report.left) == set(before)
    for name, x in after.items():
        np.testing.assert_array_equal(x, wanted[name] if name in report.taken else before[name])
    assert report.left["linear/1/kernel"] == "the checkpoint has none of that path"
    assert report.left["to_readout/bias"] == "[5] of type float32, and the checkpoint has [2] of type float32"
    assert f"of {len(before)} parameters are taken from {step}" in str(report)
    assert "left as drawn: to_readout/bias ([5] of" in str(report)


def test_what_the_checkpoint_has_besides_is_said_and_another_type_is_another_parameter(trained):
    folder, _ = trained

    class Part(nnx.Module):
        def __init__(self):
            own = net(seed=1)
            self.to_readout, self.readout = own.to_readout, own.readout
            self.to_readout.bias = nnx.Param(jnp.zeros(2, jnp.bfloat16))

    leaves, layout = state.init(Part(), TX)
    _, report = warm_start(leaves, layout, TX, folder)
    assert report.taken == ["readout/tau", "to_readout/kernel"] and "linear/0/kernel" in report.unused
    assert "bfloat16" in report.left["to_readout/bias"]
    assert "in the checkpoint only: linear/0/kernel" in str(report)


def test_constraints_start_from_what_was_taken(trained):
    folder, wanted = trained
    tx = optax.chain(optax.sgd(0.1), constrain({"linear/*/kernel": "keep_sign", "to_readout/kernel": "non_negative"}))
    leaves, layout = state.init(net(seed=1), tx, ema=True)
    new, _ = warm_start(leaves, layout, tx, folder)
    [positive] = [
        np.asarray(x) for n, x in zip(layout.names, new, strict=True) if n.endswith("positive/linear/0/kernel")
    ]
    np.testing.assert_array_equal(positive, wanted["linear/0/kernel"] >= 0)
    started = params(layout, new)
    np.testing.assert_array_equal(started["to_readout/kernel"], np.maximum(wanted["to_readout/kernel"], 0))
    average = jax.tree.leaves(layout.state(new).ema)
    assert [np.asarray(x).tobytes() for x in average] == [x.tobytes() for x in started.values()]
    assert len({x.unsafe_buffer_pointer() for x in new if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)}) >= len(
        average
    )


def test_nothing_that_fits_is_refused(trained, tmp_path):
    folder, _ = trained
    other = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    leaves, layout = state.init(other, TX)
    with pytest.raises(
        CheckpointError, match=r"(?s)^init_from=.*: no parameter fits.\n0 of 2 parameters .*left as drawn: bias"
    ):
        warm_start(leaves, layout, TX, folder)
    with pytest.raises(CheckpointError, match=r"holds no checkpoint"):
        warm_start(leaves, layout, TX, tmp_path)


def test_a_damaged_checkpoint_is_refused(trained, tmp_path):
    folder, _ = trained
    copy = shutil.copytree(folder, tmp_path / "copy")
    victim = max(filter(Path.is_file, copy.glob("checkpoints/**/*")), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    leaves, layout = state.init(net(seed=1), TX)
    with pytest.raises(CheckpointError, match="damaged"):
        warm_start(leaves, layout, TX, copy)
