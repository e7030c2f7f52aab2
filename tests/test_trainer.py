"""The trainer: deterministic, exact, and never influenced by what it must not see."""

import builtins
import dataclasses
import json
import logging
import struct
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tensorboardX.proto.event_pb2 import Event

from spiketrain.config.check import check
from spiketrain.config.schema import LoggerSettings, TrainerSettings
from spiketrain.data.dataset import Dataset, Split
from spiketrain.encoders.direct import Direct
from spiketrain.errors import CheckpointError, ConfigError, DataError, TrainingError
from spiketrain.losses import CrossEntropy
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.neurons.lif import LIF
from spiketrain.parameter import Trainable
from spiketrain.projections.comm.learned_delays import LearnedDelays
from spiketrain.training import optimizers, step
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.feed import Resident
from spiketrain.training.memory import pieces_within
from spiketrain.training.order import order_of_epoch
from spiketrain.training.profile import Profile
from spiketrain.training.provenance import git_revision
from spiketrain.training.run import make_trainer
from spiketrain.training.trainer import Trainer

from runs import arrays, dataset, record, small

pytestmark = pytest.mark.usefixtures("one_ms")

QUIET = LoggerSettings(tensorboard=False, pictures=False, progress=False)


def trainer(
    data=None, *, model=None, seed=0, folder=None, logger=QUIET, optimizer=None, loss=None, dropout=0.25, **settings
):
    """Return a small trainer; `settings` are those of `TrainerSettings`."""
    chosen = {"epochs": 2, "batch_size": 7, "save_every": 1, "log_every_steps": 2, "validation_fraction": 0.2}
    return Trainer(
        model or SpikingNet(3, 2, hidden=[8], input_scale=6.0, dropout=dropout, rngs=nnx.Rngs(seed)),
        data or dataset(),
        optimizer=optimizer or optax.adam(0.1),
        loss=loss or CrossEntropy(rate_weight=1.0, rate_upper_hz=50.0),
        encoder=Direct(noise=0.2),
        seed=seed,
        settings=TrainerSettings(**chosen | settings),
        logger=logger,
        folder=folder,
    )


def bits(leaves):
    """Return what the leaves hold, random keys included, so that `==` means bitwise equal."""
    keys = jax.dtypes.prng_key
    leaves = [jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x for x in leaves]
    return [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def trained(*args, **kwargs):
    t = trainer(*args, **kwargs)
    return t, t.fit()


def metrics_of(result):
    """Return a result without what the clock and the cache of compiled programs decide."""
    return {k: v for k, v in result.items() if k not in ("seconds", "compile_seconds", "compilations")}


# Determinism


def test_a_run_is_a_function_of_its_seed():
    (one, first), (same, second) = (trained(seed=3) for _ in range(2))
    assert bits(one.leaves) == bits(same.leaves)
    assert metrics_of(first) == metrics_of(second)
    assert bits(trainer(seed=3).leaves) != bits(trainer(seed=4).leaves)


def test_an_epoch_takes_every_trial_at_most_once_in_an_order_of_seed_and_epoch():
    orders = {(seed, epoch): np.asarray(order_of_epoch(seed, epoch, 20)) for seed in (0, 1) for epoch in (0, 1, 7)}
    for (seed, epoch), order in orders.items():
        assert sorted(order) == list(range(20))
        np.testing.assert_array_equal(order, order_of_epoch(seed, epoch, 20))
    assert len({order.tobytes() for order in orders.values()}) == len(orders)


def test_the_steps_of_an_epoch_walk_through_its_order():
    """Each trial holds its own number in its label's place of the loss: what a step sees can be read off."""
    seen = []

    class Spy(CrossEntropy):
        def per_trial(self, logits, labels):
            jax.debug.callback(lambda y: seen.append(np.asarray(y)), labels, ordered=True)
            return super().per_trial(logits, labels * 0)

    n = 20
    parts = arrays(n, 0) | {"y": np.arange(n)}
    numbered = Dataset("numbered", Split(**parts), Split(**parts), tuple(map(str, range(n))))
    t = trainer(numbered, loss=Spy(), validation_fraction=0.0, epochs=3, batch_size=6)
    train_step, batch = t.functions.train_step(), step.on_devices(t.splits["train"], t.mesh)
    for epoch in range(3):
        for _ in range(t.steps_per_epoch):
            t.leaves, _ = train_step(t.leaves, batch, t.epochs.order(epoch)[0])
    jax.effects_barrier()
    for epoch in range(3):
        of_epoch = np.concatenate(seen[epoch * 3 : epoch * 3 + 3])
        assert len(of_epoch) == 18 == len(set(of_epoch))
        np.testing.assert_array_equal(of_epoch, np.asarray(t.epochs.order(epoch)[0])[:18])


def test_a_step_donates_the_leaves():
    t = trainer()
    before = t.leaves
    t.leaves, _ = t.functions.train_step()(before, step.on_devices(t.splits["train"], t.mesh), t.epochs.order(0)[0])
    assert all(leaf.is_deleted() for leaf in before)


def test_the_model_handed_in_stays_as_it_is():
    model = SpikingNet(3, 2, hidden=[8], input_scale=6.0, dropout=0.25, rngs=nnx.Rngs(0))
    before = bits(jax.tree.leaves(nnx.state(model)))
    trained(model=model)
    assert bits(jax.tree.leaves(nnx.state(model))) == before


# What must not count


def test_the_test_set_never_influences_training():
    given = dataset()
    wrong = Split(given.test.x * -3, given.test.lengths, 1 - given.test.y)
    (one, first), (other, second) = trained(given), trained(dataclasses.replace(given, test=wrong))
    assert bits(one.leaves) == bits(other.leaves)
    assert first["validation"] == second["validation"] and first["test"] != second["test"]


def test_validation_trials_are_not_trained_on():
    t = trainer(validation_fraction=0.2)
    rows = {split: {trial.tobytes() for trial in t.splits[split].x} for split in ("train", "validation")}
    assert len(rows["train"]) == 20 and len(rows["validation"]) == 4 and not rows["train"] & rows["validation"]


def test_padding_changes_no_step_and_no_metric():
    given = dataset()

    def padded(split):
        x = np.pad(split.x, ((0, 0), (0, 5), (0, 0)), constant_values=np.nan)
        return Split(x, split.lengths, split.y)

    longer = dataclasses.replace(given, train=padded(given.train), test=padded(given.test))
    # Without the encoder's noise, which is drawn for padded steps too.
    plain = [dataclasses.replace(t.functions, encoder=Direct()) for t in (trainer(given), trainer(longer))]
    results = []
    for functions, data in zip(plain, (given, longer), strict=True):
        leaves = trainer(data).leaves
        _, sums = functions.train_step()(leaves, step.on_devices(data.train, functions.mesh), jnp.arange(24))
        results.append({name: np.asarray(total) / count for name, (total, count) in sums.unpacked().items()})
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_evaluation_is_exact_for_any_batch_size(size):
    whole, part = trainer(eval_batch_size=100), trainer(eval_batch_size=size)
    for split in ("train", "validation", "test"):
        for name, value in whole.evaluate(split).items():
            assert part.evaluate(split)[name] == pytest.approx(value, rel=1e-5), (split, name)


# Optimizers


def test_weight_decay_acts_on_matrices_only():
    params = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(2), "tau": jnp.ones(()), "kernel": jnp.ones((2, 2, 2))}
    tx = optimizers.adamw(optax.constant_schedule(0.1), weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    for name, update in updates.items():
        np.testing.assert_allclose(update, -0.05 if params[name].ndim >= 2 else 0.0)


def test_weight_decay_leaves_what_neurons_and_delays_have_one_of_each():
    neurons = LIF((2, 3), tau=Trainable(20.0))
    modules = nnx.List([neurons, LearnedDelays(2, 2, longest=25.0, rngs=nnx.Rngs(0))])
    params = nnx.state(modules, nnx.Param)
    tx = optimizers.adamw(optax.constant_schedule(0.1), weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert np.abs(updates[1]["weight"].get_raw_value()).min() > 0
    for still in (updates[0]["tau"], updates[1]["delay"]):
        np.testing.assert_array_equal(still.get_raw_value(), 0)


@pytest.mark.parametrize("clip_norm, scale", [(None, 1.0), (1e9, 1.0), (1.0, 0.2)])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_clips_by_the_global_norm(clip_norm, scale, nesterov):
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    tx = optimizers.sgd(optax.constant_schedule(0.1), momentum=0.0, nesterov=nesterov, clip_norm=clip_norm)
    updates, _ = tx.update({"a": jnp.full(1, 3.0), "b": jnp.full(1, 4.0)}, tx.init(params), params)
    np.testing.assert_allclose([updates["a"][0], updates["b"][0]], [-0.3 * scale, -0.4 * scale], rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_schedules_rise_to_the_learning_rate_and_fall_to_their_end(steps, warmup):
    cosine = optimizers.cosine_schedule(2.0, steps, warmup=warmup, final=0.1)
    constant = optimizers.constant_schedule(2.0, steps, warmup=warmup)
    rising = round(warmup * steps)
    cosines, constants = (np.array([s(n) for n in range(steps + 1)]) for s in (cosine, constant))
    assert (np.diff(cosines[: rising + 1]) > 0).all() and (np.diff(cosines[rising:]) <= 1e-6).all()
    assert cosines[rising] == pytest.approx(2.0) and constants[rising:] == pytest.approx(2.0)
    if rising < steps:
        assert cosines[-1] == pytest.approx(0.2)
    if rising:
        assert cosines[0] == constants[0] == 0


# Pieces of time


def one_step(t):
    before = [
        np.asarray(x) for x in t.layout.state(t.leaves).params and jax.tree.leaves(t.layout.state(t.leaves).params)
    ]
    t.leaves, sums = t.functions.train_step()(
        t.leaves, step.on_devices(t.splits["train"], t.mesh), t.epochs.order(0)[0]
    )
    after = jax.tree.leaves(t.layout.state(t.leaves).params)
    return [b - np.asarray(a) for a, b in zip(after, before, strict=True)], sums.unpacked()


def test_training_in_pieces_equals_training_at_once_and_truncating_does_not():
    """Under plain gradient descent with rate one a step is the gradient itself."""
    given = {"optimizer": optax.sgd(1.0), "dropout": 0.0}
    whole, sums = one_step(trainer(**given))
    gradient, of_pieces = one_step(trainer(**given, piece_steps=3))
    assert np.any(sums["rate_hz/spiking/0"][0]) and of_pieces.keys() == sums.keys()
    for name, pair in sums.items():
        for a, b in zip(of_pieces[name], pair, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, err_msg=name)
    for a, b in zip(gradient, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    cut, of_cut = one_step(trainer(**given, piece_steps=3, truncate=True))
    np.testing.assert_allclose(of_cut["loss"][0], sums["loss"][0], rtol=1e-6)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(cut, whole, strict=True))


# Checkpoints and records


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_the_last_and_the_best_checkpoints_are_kept(tmp_path, keep):
    t, result = trained(folder=tmp_path, keep_best=keep, epochs=6)
    accuracy = {entry["step"]: entry["accuracy"] for entry in record(tmp_path) if entry["split"] == "validation"}
    kept = steps_in(tmp_path / "checkpoints")
    assert list(accuracy) == [2, 4, 6, 8, 10, 12] and len(set(accuracy.values())) > 1
    assert kept[-1] == 12 == result["step"] and max(1, keep) <= len(kept) <= keep + 1
    ranked = sorted(accuracy.values(), reverse=True)
    assert sorted((accuracy[s] for s in kept), reverse=True)[:keep] == ranked[:keep]


def test_final_best_evaluates_the_best(tmp_path):
    t, result = trained(folder=tmp_path, final="best", epochs=6)
    accuracy = {entry["step"]: entry["accuracy"] for entry in record(tmp_path) if entry["split"] == "validation"}
    assert result["validation"]["accuracy"] == accuracy[result["step"]] == max(accuracy.values())


def test_every_checkpoint_carries_the_metrics_of_its_own_step(tmp_path):
    trained(folder=tmp_path, epochs=5, evaluate_every=3, save_every=2, keep_best=9)
    measured = {e["step"]: e["accuracy"] for e in record(tmp_path) if e["split"] == "validation"}
    assert sorted(measured) == [4, 6, 8, 10]
    for folder in (tmp_path / "checkpoints").glob("[0-9]*"):
        meta = json.loads((folder / "meta.json").read_text())
        assert meta["metrics"]["validation/accuracy"] == measured[meta["step"]]


def test_the_record_has_a_line_per_interval(tmp_path):
    t, _ = trained(folder=tmp_path, epochs=5, log_every_steps=3, save_every=2, evaluate_every=1)
    lines = record(tmp_path)
    assert [e["step"] for e in lines if e["split"] == "train"] == [3, 4, 6, 8, 9, 10]
    assert [e["step"] for e in lines if e["split"] == "validation"] == [2, 4, 6, 8, 10]
    for entry in lines:
        assert {"loss", "accuracy", "rate_hz/spiking/0", "silent/spiking/0"} <= set(entry)
        assert all(np.isfinite(v) for v in entry.values() if not isinstance(v, str))
    assert all(e["epoch"] == e["step"] / 2 and e["gradient_norm"] > 0 for e in lines if e["split"] == "train")


def test_a_folder_that_holds_a_run_is_not_trained_into(tmp_path):
    trained(folder=tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match=r"already holds a run, with a checkpoint of step 2. Call `resume\(\)`"):
        trainer(folder=str(tmp_path), epochs=1).fit()


def test_diverged_training_stops_before_it_is_saved(tmp_path):
    with pytest.raises(TrainingError, match=r"the gradient of .* is not finite in step 2, which was not taken"):
        trained(folder=tmp_path, optimizer=optax.sgd(1e30))
    assert not steps_in(tmp_path / "checkpoints")


def test_a_batch_larger_than_the_data_is_refused_before_compilation():
    with pytest.raises(DataError, match=r"trainer.batch_size = 21 is larger than the 20 training trials"):
        trainer(batch_size=21)


def test_overfitting_one_batch_learns_it(data):
    config = small(data, trainer__overfit_batch=True, trainer__validation_fraction=0.0, trainer__epochs=60)
    noisy = {"name": "direct", "noise": 100.0}  # overfitting sees what evaluation sees
    config = check(config | {"encoder": noisy, "optimizer": {"name": "adamw", "learning_rate": 0.03}})
    config["model"]["dropout"] = 0.0
    t = make_trainer(config, None)
    assert t.steps_per_epoch == 1
    assert t.fit()["test"]["accuracy"] == 1.0


# Pictures and TensorBoard


def events(folder):
    """Read TensorBoard's files: length, its checksum, the event, its checksum."""
    for path in sorted(folder.rglob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def test_tensorboard_holds_scalars_histograms_a_picture_and_hyperparameters(tmp_path, data):
    config = small(
        data, trainer__epochs=2, logger__tensorboard=True, logger__pictures=True, logger__pictures_every_minutes=0.0
    )
    t = make_trainer(config, tmp_path)
    t.fit()
    tags, plugins, pictures = {}, set(), []
    for event in events(tmp_path / "tensorboard"):
        for value in event.summary.value:
            tags.setdefault(value.tag, []).append(event.step)
            plugins.add(value.metadata.plugin_data.plugin_name)
            if value.HasField("image"):
                pictures.append(value.image)
            if value.HasField("histo"):
                assert value.tag in t.layout.names and value.histo.num > 0
    train = [entry for entry in record(tmp_path) if entry["split"] == "train"]
    assert tags["train/loss"] == [entry["step"] for entry in train] == [2, 4]
    assert tags["validation/accuracy"] == [2, 4] and tags["train/gradient_norm"] == [2, 4]
    assert {n for n in t.layout.names if n.startswith("params/")} <= set(tags)
    assert tags["raster_and_traces"] == [2, 4] and all(p.width > 100 and p.height > 100 for p in pictures)
    assert "hparams" in plugins and "final/accuracy" in tags
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"step_000002.png", "step_000004.png"}


def test_without_matplotlib_there_is_one_warning_and_no_picture(tmp_path, data, monkeypatch, caplog):
    found = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    config = small(data, trainer__epochs=3, logger__pictures=True, logger__pictures_every_minutes=0.0)
    with caplog.at_level(logging.WARNING, logger="spiketrain"):
        make_trainer(config, tmp_path).fit()
    [warning] = caplog.messages
    assert "pip install spiketrain[plots]" in warning and "logger.pictures=false" in warning
    assert not (tmp_path / "pictures").exists()


def test_a_picture_shows_input_rasters_traces_and_readout():
    t = trainer()
    figure = t.picture(1)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["input\nchannel", "spiking/0\nneuron", "V before reset\n(dots: spikes)", "readout"]
    assert "validation trial 1, class " in figure.get_suptitle()


# A profile


def test_a_profile_covers_its_steps_and_tensorboard_finds_it(tmp_path, capsys, monkeypatch):
    calls = []
    for name in ("start_trace", "stop_trace"):
        real = getattr(jax.profiler, name)
        monkeypatch.setattr(
            jax.profiler, name, lambda *a, real=real, name=name: (calls.append((name, t.step)), real(*a))
        )
    t = trainer(folder=tmp_path, epochs=3, profile=[2, 4])
    t.fit()
    assert calls == [("start_trace", 1), ("stop_trace", 4)]
    [trace] = (tmp_path / "profile" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert f"profile of steps 2 to 4: tensorboard --logdir {tmp_path / 'profile'}" in capsys.readouterr().out


def test_a_profile_that_cannot_be_is_refused_before_compilation(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer.profile=\[9, 12\] begins after the last step of the run, 4"):
        trainer(folder=tmp_path, profile=[9, 12])
    with pytest.raises(ConfigError, match="trainer.profile writes into the run's folder"):
        trainer(profile=[1, 2]).fit()


@pytest.mark.parametrize("steps, traced", [([1, 2], []), ([1, 9], ["start_trace", "stop_trace"]), (None, [])])
def test_a_profile_of_a_run_that_starts_late_or_ends_early(tmp_path, monkeypatch, steps, traced):
    calls = []
    for name in ("start_trace", "stop_trace"):
        monkeypatch.setattr(jax.profiler, name, lambda *a, name=name: calls.append(name))
    profile = Profile(steps, total=4)
    profile.open(tmp_path)
    for n in (3, 4):
        profile.before(n)
        profile.after(n, None, print)
    profile.close()
    assert calls == traced


# Provenance


def git(folder, *words):
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)


def test_a_revision_is_that_of_the_folder_itself(tmp_path):
    assert git_revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    (tmp_path / "environment").mkdir()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git_revision(tmp_path)
    assert len(commit) == 40 and git_revision(tmp_path, tracked=True) == commit
    assert git_revision(tmp_path / "environment") == commit
    assert git_revision(tmp_path / "environment", tracked=True) is None
    (tmp_path / "file").write_text("2")
    assert git_revision(tmp_path) == f"{commit}+changes"


def test_a_memory_budget_chooses_the_longest_pieces_that_fit():
    needs = {None: 80e6, 50: 44e6, 25: 24e6, 10: 15e6, 5: 11e6, 4: 12e6, 2: 20e6, 1: 40e6}
    assert pieces_within(80, 100, needs.__getitem__) is None
    assert pieces_within(79, 100, needs.__getitem__) == 50
    assert pieces_within(12, 100, needs.__getitem__) == 5
    assert pieces_within(12, 100, (needs | {25: 50e6}).__getitem__) == 5
    assert pieces_within(12, 101, lambda steps: 1e6 * (steps or 101)) == 7  # a prime number has no equal pieces
    with pytest.raises(TrainingError, match="at least 11 MB, in pieces of 5"):
        pieces_within(5, 100, needs.__getitem__)


def test_a_run_within_a_memory_budget_takes_pieces_that_fit_and_computes_the_same():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 128, 3)).astype(np.float32), np.arange(16) % 2
    long = Split(x, np.full(16, 128), y)
    given = {"data": Dataset("long", long, long, ("0", "1")), "optimizer": optax.sgd(1.0), "dropout": 0.0}
    whole = trainer(**given)
    order, on_device = whole.epochs.order(0)[0], step.on_devices(whole.splits["train"], whole.mesh)

    def needed(steps):
        return whole.functions.temporaries(whole.leaves, on_device, order, steps) / 1e6

    def within(memory_mb):
        t = trainer(**given, memory_mb=memory_mb)
        t._feed = Resident(t.splits["train"], t.epochs, t.mesh)
        return t._within_memory()

    chosen = within(0.6 * needed(None))
    assert 1 < chosen.piece_steps < 128
    assert needed(chosen.piece_steps) <= 0.6 * needed(None) < needed(2 * chosen.piece_steps)
    assert within(1.1 * needed(None)).piece_steps is None
    gradients = []
    for functions in (whole.functions, chosen):
        whole.functions = functions
        whole.leaves = [jnp.array(leaf) for leaf in trainer(**given).leaves]
        gradients.append(one_step(whole)[0])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
