"""An ensemble is its members: each is trained, evaluated, resumed as if it were alone."""

import numpy as np
import pytest
from flax import nnx
from test_trainer import trainer

from spiketrain.cli.evaluate import main as evaluate_main
from spiketrain.errors import ConfigError, TrainingError
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.training.recorded import find_runs
from spiketrain.training.run import evaluate, members_of, train
from spiketrain.training.runs_table import tabulate

from runs import record, small

pytestmark = pytest.mark.usefixtures("one_ms")

SEEDS = (3, 4)


def nets():
    return [SpikingNet(3, 2, hidden=[8], input_scale=6.0, dropout=0.25, rngs=nnx.Rngs(seed)) for seed in SEEDS]


@pytest.mark.parametrize(
    "settings", [{}, {"accumulate": 7, "ema_decay": 0.5, "piece_steps": 3}], ids=["plain", "parts"]
)
def test_each_member_is_trained_as_if_it_were_alone(settings):
    """With the noise, the dropout and the order of its own seed."""
    together = trainer(model=nets(), seed=3, **settings)
    result = together.fit()
    assert len(result["members"]) == len(SEEDS)
    for k, (seed, net) in enumerate(zip(SEEDS, nets(), strict=True)):
        alone = trainer(model=net, seed=seed, **settings)
        wanted = alone.fit()
        assert wanted["test"]["rate_hz/spiking/0"] > 1
        assert result["members"][k]["seed"] == seed and result["parameters"] == wanted["parameters"]
        for name in ("validation", "test"):
            assert result["members"][k][name] == pytest.approx(wanted[name], rel=1e-4)
        for name, a, b in zip(alone.layout.names, together.leaves, alone.leaves, strict=True):
            if name.startswith("params/"):
                np.testing.assert_allclose(a[k], b, rtol=1e-3, atol=1e-4, err_msg=name)
    for name in ("loss", "accuracy", "rate_hz/spiking/0", "silent/spiking/0"):
        assert result["test"][name] == pytest.approx(np.mean([member["test"][name] for member in result["members"]]))


def test_a_step_that_is_not_finite_is_left_out_for_its_member_alone():
    models = nets()
    models[1].linear[0].kernel[...] = np.nan
    t = trainer(model=models, seed=3, non_finite="skip", log_every_steps=1)
    before = [np.asarray(x) for x in t.layout.state(t.leaves).params["linear"][0]["kernel"][...]]
    t.leaves, sums = t.functions.train_step()(t.leaves, t_data(t), t.epochs.order(0)[0])
    after = t.layout.state(t.leaves).params["linear"][0]["kernel"][...]
    assert np.asarray(sums.unpacked()["skipped"][0]).tolist() == [0, 1]
    assert [np.array_equal(a, b, equal_nan=True) for a, b in zip(after, before, strict=True)] == [False, True]
    with pytest.raises(TrainingError, match="not finite in step 1"):
        broken = nets()
        broken[1].linear[0].kernel[...] = np.nan
        trainer(model=broken, seed=3).fit()


def t_data(t):
    from spiketrain.training import step

    return step.on_devices(t.splits["train"], t.mesh)


def test_an_ensemble_resumes_to_the_bit(tmp_path, data):
    whole = train(small(data, ensemble=2, seed=5, schedule={"name": "constant"}), tmp_path / "whole")[1]
    train(small(data, ensemble=2, seed=5, schedule={"name": "constant"}, trainer__epochs=2), tmp_path / "part")
    resumed = train(small(data, ensemble=2, seed=5, schedule={"name": "constant"}), tmp_path / "part", resume=True)[1]
    assert resumed["members"] == whole["members"]
    assert record(tmp_path / "part") == record(tmp_path / "whole")


def test_the_members_of_a_run_are_evaluated_and_tabled_one_by_one(tmp_path, data, capsys, monkeypatch):
    folder, result = train(small(data, ensemble=2, seed=5), tmp_path / "runs" / "a")
    assert members_of(folder) == 2
    for k in range(2):
        meta, metrics = evaluate(folder, member=k)
        assert meta["config"]["seed"] == 5 and metrics == pytest.approx(result["members"][k]["test"], rel=1e-5)
    assert evaluate(folder)[1] == pytest.approx(result["test"], rel=1e-6)
    with pytest.raises(ConfigError, match="has the members 0 to 1"):
        evaluate(folder, member=2)
    monkeypatch.setattr("sys.argv", ["spiketrain-eval", str(folder)])
    with pytest.raises(SystemExit) as end:
        evaluate_main()
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    for k in range(2):
        [line] = [line for line in lines if f"member {k}" in line]
        assert f"{100 * result['members'][k]['test']['accuracy']:.1f} %" in line
    runs = find_runs([tmp_path / "runs"])
    assert [run.settings["seed"] for run in runs] == [5, 6]
    [row] = tabulate(runs).rows
    assert row.metrics["test/accuracy"].mean == pytest.approx(result["test"]["accuracy"])


def test_what_an_ensemble_cannot_have(data):
    with pytest.raises(ConfigError, match="ensemble must lie in"):
        small(data, ensemble=0)
    with pytest.raises(ConfigError, match="trainer.length_buckets sorts the trials of one seed"):
        small(data, ensemble=2, trainer__length_buckets=2)
    with pytest.raises(TrainingError, match="trainer.length_buckets"):
        trainer(model=nets(), length_buckets=2)
