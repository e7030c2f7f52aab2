"""`spiketrain-train` as a user meets it: one line for a mistake and nothing written, sweeps, overrides, help."""

import json
import os
import stat
import subprocess
import sys

import pytest
import yaml

from spiketrain.cli import train as cli
from spiketrain.config.check import check
from spiketrain.errors import ConfigError

from runs import command, environment, record, refused, words


def one_epoch(data):
    return [*words(data), "trainer.epochs=1"]


# What is wrong with names, keys, units and types is said before JAX starts

BEFORE_JAX = [
    (["trainer.epoch=3"], "trainer.epoch is no key of trainer", "Did you mean `trainer.epochs`?"),
    (["model.neuron.tau=20"], "model.neuron.tau is no key of model.neuron", "Did you mean `model.neuron.tau_ms`?"),
    (["model.neuron.surrogate.alfa=2"], "model.neuron.surrogate.alfa", "Did you mean `model.neuron.surrogate.alpha`?"),
    (["trainers.epochs=3"], "trainers is no key of the configuration", "Did you mean `trainer`?"),
    (["+trainer.epoch=3"], "trainer.epoch is no key", "trainer.epochs"),
    (["++trainer.epoch=3"], "trainer.epoch is no key", "trainer.epochs"),
    (["model._target_=os.system"], "model._target_ is no key of model", "Valid: "),
    (["model.neuron.name=aliff"], "model.neuron.name = 'aliff' is no neuron", "Did you mean `alif`?"),
    (
        ["experiment=vowels", "model.neuron.name=lif"],
        "tau_a_ms is no key",
        "write `neuron@model.neuron=lif` to replace all",
    ),
    (["model=foo"], "model=foo: there is no such option", "recurrent_lif"),
    (["experiment=vowel"], "experiment=vowel: there is no such option", "Did you mean `vowels`?"),
    (["neuron@model.neuron=liff"], "neuron=liff: there is no such option", "Did you mean `lif`?"),
    (["neuron=lif"], "Could not override 'neuron'", "neuron@model.neuron"),
    (["model.neuron.tau_ms=20mV"], "model.neuron.tau_ms must be a finite number, got '20mV'", "number of ms alone"),
    (["trainer.epochs=ten"], "trainer.epochs must be a whole number, got 'ten'", "(str)"),
    (["model.hidden=64"], "model.hidden must be a list of whole numbers, got 64", "(int)"),
    (["model.neuron.trainable=[tau_ms]"], "'tau_ms' is no physical argument", "Did you mean `tau`?"),
    (["loss.readout=mean"], "loss.readout = 'mean' is no choice", "mean_over_time"),
    (["trainer.validation_fraction=1.5"], "trainer.validation_fraction must lie in [0, 1), got 1.5", ""),
    (["trainer.final=best", "trainer.validation_fraction=0"], "trainer.final=best needs", "validation_fraction > 0"),
    (["data=npz"], "data.path is missing", "Write `data.path=...`"),
    (["seed=0,1"], "Ambiguous value for argument 'seed=0,1'", "--multirun"),
    (["model.hidden=[64,"], "'model.hidden=[64,' cannot be read", "quote"),
    (["name=${nope}"], "Interpolation key 'nope' not found", "name"),
    (["=3"], "'=3' is no setting", "Write key=value"),
    (["seed"], "'seed' cannot be read", "Write key=value"),
    (["a=b=c"], "'a=b=c' cannot be read", "quote"),
    (["name=ü"], "'name=ü' cannot be read", "key='value'"),
    (["~nothing"], "Could not delete from config. 'nothing' does not exist", ""),
    (["trainer=null"], "must be a string or a list. Got NoneType", ""),
    (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder", ""),
    (["--config-name", "nothing"], "Cannot find primary config 'nothing'", ""),
    (["-m", "seed=0,1", "trainer.epoch=3"], "trainer.epoch is no key", "Did you mean `trainer.epochs`?"),
    (["-m", "model.neuron.tau_ms=20,20mV"], "got '20mV'", "number of ms alone"),
    (["-m", "seed=0,1", "model.neuron.name=alif,aliff"], "'aliff' is no neuron", "Did you mean `alif`?"),
    (["plugins=[no_such_package]"], "plugins=[no_such_package]: No module named", "in this folder?"),
    (["plugins=[os;x]"], "must name a Python package", "plugins=[my_package]"),
    (["plugins=json"], "plugins must be a list of words, got 'json'", ""),
    (["resume=nowhere"], "resume=nowhere is no run folder", "config.yaml is missing"),
    (["resume=nowhere", "-m"], "takes only key=value settings", "'-m'"),
    (["resume=nowhere", "seed=0,1"], "continues one run, got the sweep", "seed=0,1"),
]


def test_mistakes_are_answered_before_jax_starts(tmp_path):
    """All in one fresh interpreter; the next test shows a few as a user sees them."""
    code = (
        "import json, sys\n"
        "from spiketrain.cli.train import _main\n"
        "from spiketrain.errors import ConfigError\n"
        "answers = []\n"
        "for words in json.load(sys.stdin):\n"
        "    try: _main(words)\n"
        "    except ConfigError as error: answers.append(str(error))\n"
        "    else: answers.append('no error')\n"
        "assert 'jax' not in sys.modules\n"
        "print(json.dumps(answers))\n"
    )
    given = json.dumps([words for words, *_ in BEFORE_JAX])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for (given, *wanted), answer in zip(BEFORE_JAX, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert all(part in answer for part in wanted), (given, answer)
        assert "\n" not in answer and "hydra.cc" not in answer and "++" not in answer, answer
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("given, names, remedy", [BEFORE_JAX[i] for i in (0, 1, 7, 9, 13, 21, 31, 39)])
def test_a_mistake_is_one_line_and_leaves_no_folder(tmp_path, given, names, remedy):
    line = refused(command("train", *given, cwd=tmp_path))
    assert names in line and remedy in line
    assert not os.listdir(tmp_path)


# What only the objects themselves can know is said before anything is compiled or written


@pytest.mark.parametrize(
    "given, names, remedy",
    [
        (["model.neuron.tau_ms=-1"], "DomainError: ALIF(tau=...) must be greater than zero", "-1"),
        (["model.neuron.tau_ms={low: -9, high: -5}"], "DomainError: ALIF(tau=...) must be greater than zero", ""),
        (["model.neuron.V_reset=2"], "DomainError: ALIF(V_reset=...) must lie below V_th, got V_reset = 2", ""),
        (["trainer.batch_size=100"], "trainer.batch_size = 100 is larger than the 20 training trials", "batch_size=20"),
        (["data.path=nowhere.npz"], "DataError: nowhere.npz does not exist", "np.savez"),
        (["data.path=cut.npz"], "DataError: cut.npz is not a readable .npz", "np.savez"),
        (["data=vowels", "data.path=cut.npz"], "cut.npz has 900 bytes instead of", "build_vowels.py"),
        (["model.hidden=[8,0]"], "SpikingNet(hidden=...) needs the positive size", "hidden=[128]"),
        (["optimizer.clip_norm=-1"], "clip_norm must be positive, or null", "-1.0"),
        (["hydra.run.dir=cut.npz/run"], "ConfigError: ", "cut.npz is a file, and a run needs a folder"),
        (["schedule.warmup=2"], "cosine(warmup=...) must lie between 0 and 1, got 2.0", ""),
    ],
)
def test_a_value_without_sense_is_one_line_and_leaves_no_folder(
    tmp_path, data, monkeypatch, capsys, given, names, remedy
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.npz").write_bytes(data.read_bytes()[:900])
    if given[0] != "data=vowels":
        given = [*words(data), *given]
    monkeypatch.setattr(sys, "argv", ["spiketrain-train", *given])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert names in line and remedy in line
    assert os.listdir(tmp_path) == ["cut.npz"]


def test_a_value_without_sense_exits_with_one_line_as_a_command(tmp_path, data):
    line = refused(command("train", *words(data), "model.neuron.tau_ms=-1", cwd=tmp_path))
    assert "DomainError: ALIF(tau=...) must be greater than zero" in line
    assert not os.listdir(tmp_path)


# Settings that work


@pytest.mark.parametrize(
    "given, wanted",
    [
        (["model.hidden=[64,64]"], {"model.hidden": [64, 64]}),
        (["model.neuron.tau_ms={low: 5, high: 20}"], {"model.neuron.tau_ms": {"low": 5.0, "high": 20.0}}),
        (["neuron@model.neuron=lif"], {"model.neuron.name": "lif"}),
        (["experiment=vowels", "neuron@model.neuron=lif"], {"model.neuron.name": "lif", "model.neuron.trainable": []}),
        (["model.neuron=lif"], {"model.neuron.name": "lif"}),
        (["model.neuron.surrogate=triangle"], {"model.neuron.surrogate.gamma": 1.0}),
        (["model=feedforward_lif", "optimizer=sgd", "schedule=constant"], {"optimizer.momentum": 0.9}),
        (["~model.neuron.beta"], {"model.neuron.beta": 0.1}),
        (["+seed=3"], {"seed": 3}),
        (["++seed=3"], {"seed": 3}),
        (["name='a b, c'"], {"name": "a b, c"}),
        (["optimizer.learning_rate=1e-2"], {"optimizer.learning_rate": 0.01}),
        (["optimizer.clip_norm=null"], {"optimizer.clip_norm": None}),
        (["debug=overfit_batch"], {"trainer.overfit_batch": True, "trainer.validation_fraction": 0.0}),
        (["experiment=vowels", "debug=fast_dev_run"], {"trainer.epochs": 1, "name": "fast_dev_run"}),
        (["--config-dir", "mine", "experiment=own"], {"seed": 7}),
    ],
)
def test_settings_reach_the_configuration(tmp_path, monkeypatch, given, wanted):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\nseed: 7\n")
    seen = []
    monkeypatch.setattr(cli, "_run", lambda config, folder, **_: seen.append((config, folder)))
    cli._main(given)
    [(config, folder)] = seen
    for key, value in wanted.items():
        found = config
        for part in key.split("."):
            found = found[part]
        assert found == value
    assert str(folder).startswith(f"runs/{config['name']}/20")


def test_packages_that_only_a_file_names_are_not_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text("# @package _global_\nplugins: [this]\n")
    with pytest.raises(ConfigError, match=r"needs the packages this, .*If you trust them, add `plugins=\[this\]`"):
        cli._main(["--config-dir", "mine", "experiment=own"])
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "source, message",
    [
        (
            "import no_such_thing",
            "plugins=[broken] fails on import: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("\n1 / 0", "plugins=[broken] fails on import: ZeroDivisionError: division by zero ("),
        ("def f(:", "plugins=[broken] fails on import: SyntaxError: "),
    ],
)
def test_a_package_that_fails_on_import_is_one_line_with_the_place(tmp_path, source, message):
    (tmp_path / "broken.py").write_text(source)
    line = refused(command("train", "plugins=[broken]", cwd=tmp_path))
    assert message in line and "broken.py" in line and "line" in line


def test_help_and_cfg_answer_and_write_nothing(tmp_path):
    text = command("train", "--help", cwd=tmp_path, check=True).stdout
    assert "spiketrain-train experiment=vowels seed=1" in text and "resume=" in text
    job = yaml.safe_load(
        command("train", "--cfg", "job", "experiment=vowels", "seed=3", cwd=tmp_path, check=True).stdout
    )
    assert check(job)["seed"] == 3
    assert command("evaluate", "--help", cwd=tmp_path, check=True).stdout.startswith("usage: spiketrain-eval")
    assert not os.listdir(tmp_path)


# Runs


def test_a_run_is_quiet_but_for_our_warnings_and_writes_what_it_is_made_of(tmp_path, data):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('No module named matplotlib')")
    given = [
        *one_epoch(data),
        "name='ü b'",
        "logger.pictures=true",
        "logger.pictures_every_minutes=0",
        "trainer.epochs=2",
    ]
    done = command("train", *given, cwd=tmp_path, check=True, before=[tmp_path])
    [warning] = done.stderr.splitlines()
    assert warning.startswith("WARNING: Pictures need matplotlib. Install it with `pip install spiketrain[plots]`.")
    assert "INFO" not in done.stdout
    [folder] = (tmp_path / "runs" / "ü b").iterdir()
    assert done.stdout.splitlines()[0] == f"run folder: {folder}"
    assert done.stdout.splitlines()[-1].startswith("test accuracy: ")
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "metrics.jsonl", "result.json", "checkpoints"}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert check(config) == config and config["name"] == "ü b"
    result = json.loads((folder / "result.json").read_text())
    assert result["step"] == 4 and {"seed", "validation", "test"} <= set(result)


def test_a_sweep_runs_every_job_in_a_folder_of_its_own(tmp_path, data):
    done = command("train", "-m", *one_epoch(data), "seed=0,1", cwd=tmp_path, check=True)
    assert "INFO" not in done.stdout + done.stderr
    [sweep] = (tmp_path / "runs" / "run").iterdir()
    assert sweep.name.startswith("sweep_")
    for seed in (0, 1):
        assert yaml.safe_load((sweep / str(seed) / "config.yaml").read_text())["seed"] == seed
        assert json.loads((sweep / str(seed) / "result.json").read_text())["seed"] == seed
    assert record(sweep / "0") != record(sweep / "1")


def test_runs_that_want_the_same_folder(tmp_path, monkeypatch):
    from spiketrain.training.folder import held

    folder = tmp_path / "name" / "12-00-00"
    with held(folder, named=False) as a, held(folder, named=False) as b, held(folder, named=False) as c:
        assert [path.name for path in (a, b, c)] == ["12-00-00", "12-00-00_2", "12-00-00_3"]
    for _ in range(2):
        with held(tmp_path / "mine") as named:
            assert named == tmp_path / "mine"
    (named / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match="already holds a run. Write `resume="), held(named):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_line(tmp_path, data):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(stat.S_IREAD | stat.S_IEXEC)
    line = refused(command("train", *one_epoch(data), "hydra.run.dir=locked/run", cwd=tmp_path))
    assert "PermissionError" in line and "locked" in line
