"""A number that is not finite: named with its step, its layers and its batch; left out; or gone back from."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from test_trainer import QUIET, bits, trainer

from spiketrain.config.check import check
from spiketrain.data.dataset import Dataset, Split
from spiketrain.errors import CheckpointError, TrainingError
from spiketrain.training import step
from spiketrain.training.aim import AimAtRate
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.health import FiringRates
from spiketrain.training.log import RunLog
from spiketrain.training.trainer import LEAST_RATE

from runs import arrays, record, seal, small, write_data

pytestmark = pytest.mark.usefixtures("one_ms")

BAD = 5  # a trial whose numbers overflow in the first product


def poisoned():
    """Return a data set one trial of which makes loss and gradients infinite or NaN."""
    train = arrays(24, 0)
    train["x"] = train["x"].copy()
    train["x"][BAD] = np.where(np.arange(train["x"].shape[-1]) % 2, 3e38, -3e38)
    return Dataset("small", Split(**train), Split(**arrays(10, 1)), ("0", "1"))


def batches(t, steps):
    """Return the trials of the first steps."""
    found = []
    for n in range(steps):
        order, _ = t.epochs.order(n // t.steps_per_epoch)
        found.append(np.asarray(t.functions.rows(order, n)))
    return found


def run(**settings):
    return trainer(poisoned(), validation_fraction=0.0, dropout=0.0, **settings)


def test_the_step_the_layers_and_the_batch_are_named(tmp_path):
    t = run(folder=tmp_path / "run", log_every_steps=2)
    rows = batches(t, 6)
    bad = next(n for n, batch in enumerate(rows) if BAD in batch)
    with pytest.raises(TrainingError) as error:
        t.fit()
    message = str(error.value)
    assert f"is not finite in step {bad + 1}, which was not taken" in message and "linear/0/kernel" in message
    assert "clip_norm" in message and "trainer.non_finite=skip" in message
    with np.load(tmp_path / "run" / "not_finite.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["rows"], rows[bad])
        assert int(saved["step"]) == bad
        np.testing.assert_array_equal(saved["x"], t.splits["train"].x[rows[bad]])
    # Nothing after it was taken: the parameters are those before the bad step.
    same = run()
    data, train_step = step.on_devices(same.splits["train"], same.mesh), same.functions.train_step()
    for n in range(bad):
        same.leaves, _ = train_step(same.leaves, data, same.epochs.order(n // same.steps_per_epoch)[0])
    names = t.layout.names
    params = [i for i, name in enumerate(names) if name.startswith(("params/", "optimizer/"))]
    assert bits([t.leaves[i] for i in params]) == bits([same.leaves[i] for i in params])


def test_a_bad_step_is_left_out_and_counted():
    t = run(non_finite="skip", log_every_steps=1, epochs=3)
    before = bits(t.leaves)
    seen = []

    class Spy(FiringRates):
        def on_log(self, trainer, means):
            seen.append((means["skipped"], means["loss"]))

    t.callbacks.append(Spy())
    data, train_step = step.on_devices(t.splits["train"], t.mesh), t.functions.train_step()
    rows = batches(t, t.total_steps)
    leaves = t.leaves
    for n, batch in enumerate(rows):
        old = bits(leaves)
        leaves, sums = train_step(leaves, data, t.epochs.order(n // t.steps_per_epoch)[0])
        same = [a == b for a, b, name in zip(old, bits(leaves), t.layout.names, strict=True) if name != "step"]
        assert all(same) == (BAD in batch)
        assert float(sums.unpacked()["skipped"][0]) == (BAD in batch)
    assert any(BAD in batch for batch in rows) and all(np.isfinite(x).all() for x in map(np.asarray, leaves))
    assert bits(leaves) != before


def test_where_every_step_is_left_out_training_ends():
    t = run(non_finite="skip", log_every_steps=1)
    t.splits["train"].x[:] = np.where(np.arange(3) % 2, 3e38, -3e38)
    with pytest.raises(TrainingError, match="every step since training was last logged was left out, up to step 1"):
        t.fit()


def test_training_goes_back_with_smaller_steps_and_gives_up_in_the_end(tmp_path, caplog):
    t = run(folder=tmp_path / "run", non_finite="roll_back", log_every_steps=1, epochs=4)
    bad = next(n for n, batch in enumerate(batches(t, t.total_steps)) if BAD in batch)
    with pytest.raises(TrainingError, match=f"is not finite in step {bad + 1}"):
        t.fit()
    back = bad // t.steps_per_epoch * t.steps_per_epoch
    rates = [2.0**-n for n in range(1, 6)]
    assert rates[-1] == LEAST_RATE
    assert [m.split("Training goes ")[1] for m in caplog.messages] == [
        f"back to step {back}, with {rate:g} of the learning rate." for rate in rates
    ]
    assert steps_in(tmp_path / "run" / "checkpoints")[-1] == back
    steps = [line["step"] for line in record(tmp_path / "run") if line["split"] == "train"]
    assert steps == sorted(set(steps))


def test_nothing_of_a_bad_step_is_kept_to_go_back_to(tmp_path):
    """Steps are saved more often than they are looked at."""
    t = run(folder=tmp_path / "run", non_finite="roll_back", log_every_steps=3, save_every_steps=1, epochs=4)
    bad = next(n for n, batch in enumerate(batches(t, t.total_steps)) if BAD in batch)
    with pytest.raises(TrainingError, match=f"is not finite in step {bad + 1}"):
        t.fit()
    assert steps_in(tmp_path / "run" / "checkpoints")[-1] == bad


def test_the_operation_that_makes_a_nan_is_named_where_nans_are_debugged():
    with pytest.raises(
        TrainingError, match=r"step \d+, by trainer.debug_nans: invalid value \(nan\) encountered in \w+"
    ):
        run(debug_nans=True).fit()


def test_going_back_needs_a_folder():
    with pytest.raises(TrainingError, match="trainer.non_finite=roll_back needs a folder"):
        run(non_finite="roll_back").fit()


def test_going_back_takes_all_but_the_rate_from_the_checkpoint(tmp_path):
    t = trainer(folder=tmp_path / "run", non_finite="roll_back", epochs=2)
    t.fit()
    kept = bits(t.leaves)
    t.multiply_rate(0.5)
    changed = [n for n, a, b in zip(t.layout.names, kept, bits(t.leaves), strict=True) if a != b]
    assert changed == ["rate"] and t.rate == 0.5


def test_updates_are_multiplied_by_the_rate():
    t = trainer(dropout=0.0)
    data, train_step, order = step.on_devices(t.splits["train"], t.mesh), t.functions.train_step(), t.epochs.order(0)[0]
    i = t.layout.names.index("params/linear/0/kernel")
    before = [jnp.array(x, copy=True) for x in t.leaves]
    moved = []
    for rate in (1.0, 0.25):
        leaves = t.layout.replace([jnp.array(x, copy=True) for x in before], "rate", rate)
        after, _ = train_step(leaves, data, order)
        moved.append(np.asarray(after[i]) - np.asarray(before[i]))
    assert np.abs(moved[0]).max() > 0.01
    np.testing.assert_allclose(moved[1], 0.25 * moved[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("scale, says", [(0.0, "has not fired by step"), (1000.0, "% of the time steps at step")])
def test_silent_and_saturated_layers_are_named_once_with_what_to_change(tmp_path, scale, says, caplog):
    path = tmp_path / "small.npz"
    write_data(path)
    from spiketrain.training.run import make_trainer

    config = small(path, model__input_scale=scale, model__dropout=0.0, callbacks={"firing_rates": {"saturated": 0.3}})
    make_trainer(config, None).fit()
    [message] = caplog.messages
    assert message.startswith("layer spiking/0 ") and says in message and "callbacks.aim_at_rate" in message


def test_the_first_rates_are_looked_at_however_late_they_are_logged(tmp_path, caplog):
    path = tmp_path / "small.npz"
    write_data(path)
    from spiketrain.training.run import make_trainer

    silent = {"model__input_scale": 0.0, "model__dropout": 0.0, "trainer__log_every_steps": 3}
    make_trainer(small(path, callbacks={"firing_rates": {"steps": 1}}, trainer__save_every=4, **silent), None).fit()
    [message] = caplog.messages
    assert message.startswith("layer spiking/0 has not fired by step 3")


def test_a_callback_that_runs_is_no_advice(tmp_path, caplog):
    t = trainer(logger=QUIET)
    t.callbacks = [FiringRates(), AimAtRate()]
    t.callbacks[0].on_log(t, {"rate_hz/spiking/0": 0.0, "rate_hz/spiking/1": 1000.0})
    assert len(caplog.messages) == 2
    assert all("(a scale of the model or the encoder)" in m and "aim_at_rate" not in m for m in caplog.messages)


def test_pieces_of_a_trial_are_refused_where_a_layer_normalises_over_it(tmp_path):
    path = tmp_path / "small.npz"
    write_data(path)
    from spiketrain.training.run import make_trainer

    layers = {"norm": {"name": "batch_norm"}, "block": {"name": "sew", "layers": {"norm": {"name": "batch_norm"}}}}
    model = {"name": "sequential", "layers": layers}
    message = r"^trainer.%s=%s cuts trials into pieces, .* normalises over whole trials in block/norm, norm. Write null"
    with pytest.raises(TrainingError, match=message % ("piece_steps", 4)):
        make_trainer(small(path, model=model, trainer__piece_steps=4), tmp_path / "run")
    with pytest.raises(TrainingError, match=message % ("memory_mb", "1e-06")):
        make_trainer(small(path, model=model, trainer__memory_mb=1e-6), None).fit()
    make_trainer(small(path, model=model, trainer__memory_mb=1e3, trainer__epochs=1), None).fit()


def test_quiet_where_layers_fire(caplog):
    t = trainer(logger=QUIET)
    t.callbacks.append(FiringRates())
    t.fit()
    assert caplog.messages == []


def test_callbacks_of_a_configuration_are_checked(tmp_path):
    from spiketrain.errors import ConfigError

    for callbacks, message in (
        ({"firing_rate": {}}, "Did you mean `firing_rates`?"),
        ({"firing_rates": {"step": 3}}, "Did you mean `callbacks.firing_rates.steps`?"),
        ([1], "callbacks must be a mapping from names to their settings"),
    ):
        with pytest.raises(ConfigError) as error:
            check({"callbacks": callbacks})
        assert message in str(error.value)
    assert check({"callbacks": {"firing_rates": None}})["callbacks"] == {
        "firing_rates": {"steps": 100, "saturated": 0.5}
    }


def test_a_record_that_the_disk_does_not_take_is_written_when_it_does(tmp_path, caplog):
    log = RunLog(tmp_path, total_steps=9, first_step=0, tensorboard=False, progress=False)

    class Full:
        room = 5

        def write(self, content):
            if not self.room:
                raise OSError(28, "No space left on device")
            taken, self.room = content[: self.room], max(self.room - len(content), 0)
            return file.write(taken)

        def close(self):
            file.close()

    file, log._file = log._file, Full()
    for nth in (1, 2):
        log.scalars(nth, "train", {"loss": 0.5})
    log._file.room = 10**6
    log.scalars(3, "train", {"loss": 0.25})
    log.close()
    assert [(line["step"], line["loss"]) for line in record(tmp_path)] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    [message] = caplog.messages
    assert "could not be written: [Errno 28] No space left on device. It goes on" in message


@pytest.mark.parametrize(
    "forged",
    [
        {"waiting": [3]},
        {"callbacks": []},
        {"waiting": [{"flat": ["x", 1], "places": [["loss", [], []]]}]},
        {"waiting": [{"flat": [1.0], "places": [["loss", [], []]]}]},
        {"stopped": None},
    ],
)
def test_meta_data_that_no_run_writes_is_one_error(tmp_path, forged):
    t = trainer(folder=tmp_path / "run", epochs=1)
    t.callbacks.append(FiringRates())
    t.fit()
    folder = tmp_path / "run" / "checkpoints" / str(steps_in(tmp_path / "run" / "checkpoints")[-1])
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(
        json.dumps(meta | forged if forged != {"stopped": None} else {k: v for k, v in meta.items() if k != "stopped"})
    )
    seal(folder)
    with pytest.raises(CheckpointError, match="its meta data is not what a run writes"):
        again = trainer(folder=tmp_path / "run", epochs=1)
        again.resume()
