"""Sweeps through Hydra's launchers and optuna, continued where they were left, and the table of their runs."""

import csv
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from spiketrain.cli import startup, sweep
from spiketrain.cli.job import Job, finished
from spiketrain.config.check import check
from spiketrain.errors import ConfigError
from spiketrain.training.recorded import FAILURE, find_runs
from spiketrain.training.runs_table import as_json, tabulate

from runs import ROOT, command, environment, record, refused, words, write_data


def installed(name):
    try:
        return importlib.util.find_spec(f"hydra_plugins.hydra_{name}") is not None
    except ModuleNotFoundError:
        return False


def needs(name):
    how = f"hydra-{name.replace('_', '-')} is missing: pip install 'spiketrain[sweeps]'"
    return pytest.mark.skipif(not installed(name), reason=how)


needs_joblib, needs_submitit, needs_optuna = map(needs, ("joblib_launcher", "submitit_launcher", "optuna_sweeper"))


# The table


def write_run(folder, *, accuracy=None, seed=0, error=None, lines=(), **settings):
    """Write what a run leaves, as far as the table reads it."""
    folder.mkdir(parents=True)
    config = {
        "name": "run",
        "seed": seed,
        "optimizer": {"name": "adamw", "learning_rate": 0.1},
        "model": {"hidden": [8]},
    }
    for key, value in settings.items():
        section, _, name = key.partition("__")
        config[section] = config[section] | {name: value} if name else value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in lines))
    if accuracy is not None:
        result = {"step": 9, "seed": seed, "test": {"accuracy": accuracy, "loss": 1 - accuracy, "broken": math.nan}}
        (folder / "result.json").write_text(json.dumps(result))
    if error:
        (folder / FAILURE).write_text(error)


@given(
    first=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    second=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
)
def test_runs_that_differ_by_their_seed_alone_are_one_row(tmp_path_factory, first, second):
    """Mean, sample deviation and best against `statistics`, in the order of the means, for accuracy and for loss."""
    folder = tmp_path_factory.mktemp("runs")
    for rate, values in ((0.1, first), (0.2, second)):
        for seed, value in enumerate(values):
            write_run(folder / f"{rate}_{seed}", accuracy=value, seed=seed, optimizer__learning_rate=rate)
    table = tabulate(find_runs([folder]), ["test/accuracy", "test/loss"])
    assert table.keys == ["optimizer.learning_rate"] and len(table.rows) == 2
    for row in table.rows:
        values = {0.1: first, 0.2: second}[row.settings["optimizer.learning_rate"]]
        accuracy, loss = row.metrics["test/accuracy"], row.metrics["test/loss"]
        assert accuracy.values == dict(enumerate(values)) and len(row.finished) == len(values)
        assert accuracy.mean == pytest.approx(sum(values) / len(values)) and accuracy.best == max(values)
        assert loss.best == min(loss.values.values()) == 1 - max(values)
        assert str(values.index(max(values))) == accuracy.best_run.name.partition("_")[2]
        if len(values) == 1:
            assert accuracy.std is None
        else:
            assert accuracy.std == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert table.rows[0].metrics["test/accuracy"].mean >= table.rows[1].metrics["test/accuracy"].mean
    by_loss = tabulate(find_runs([folder]), ["test/loss"])
    assert by_loss.rows[0].metrics["test/loss"].mean <= by_loss.rows[1].metrics["test/loss"].mean


def test_columns_are_what_sets_rows_apart_and_no_more(tmp_path):
    lif, alif = {"name": "lif", "tau_ms": 20.0}, {"name": "alif", "tau_ms": 20.0, "beta": 0.1}
    write_run(tmp_path / "0", accuracy=0.5, neuron=lif)
    write_run(tmp_path / "1", accuracy=0.6, neuron=alif)
    assert tabulate(find_runs([tmp_path])).keys == ["neuron.name"]
    write_run(tmp_path / "2", accuracy=0.7, neuron=alif | {"beta": 0.2})
    assert tabulate(find_runs([tmp_path])).keys == ["neuron.name", "neuron.beta"]
    write_run(tmp_path / "3", accuracy=0.7, neuron=alif | {"new": 1})  # no other key tells it from run 1
    assert tabulate(find_runs([tmp_path])).keys == ["neuron.name", "neuron.beta", "neuron.new"]


def test_runs_that_do_not_count_are_told_and_not_counted(tmp_path):
    write_run(tmp_path / "2", accuracy=0.5, seed=0)
    write_run(tmp_path / "10", accuracy=0.7, seed=0)  # numbers are ordered as numbers: it is the later one
    write_run(tmp_path / "3", seed=1, lines=[4, 8])
    with (tmp_path / "3" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "split"')  # the line at which it was killed
    write_run(tmp_path / "4", seed=2, error="TrainingError: it\ndiverged")
    write_run(tmp_path / "5", accuracy=0.9, seed=3, error="a result from before")
    write_run(tmp_path / "6", accuracy=0.9, seed=4)
    (tmp_path / "6" / "result.json").write_text('{"test": {"accu')
    write_run(tmp_path / "7", accuracy=0.9, seed=5)
    (tmp_path / "7" / "config.yaml").write_text("a: &a [1]\nb: *a\n")
    table = tabulate(find_runs([tmp_path]), ["test/accuracy"])
    [row] = table.rows
    assert row.metrics["test/accuracy"].values == {0: 0.7} and [r.folder.name for r in table.twice] == ["2"]
    told = {run.folder.name: (run.state, run.step, run.why) for run in row.others}
    assert told == {
        "3": ("unfinished", 8, ""),
        "4": ("failed", 0, "TrainingError: it diverged"),
        "5": ("failed", 0, "a result from before"),
    }
    assert {run.folder.name for run in table.unreadable} == {"6", "7"}
    assert "alias" in next(run.why for run in table.unreadable if run.folder.name == "7")
    assert json.loads(as_json(table))["rows"][0]["metrics"]["test/accuracy"]["values"] == {"0": 0.7}


def test_the_command_prints_writes_and_draws_without_jax(tmp_path):
    for rate in (0.1, 0.2):
        for seed in range(3):
            folder = tmp_path / "sweep" / f"{rate}_{seed}"
            write_run(folder, accuracy=0.5 + rate + seed / 100, seed=seed, optimizer__learning_rate=rate)
    write_run(tmp_path / "sweep" / "late", seed=3, lines=[7], optimizer__learning_rate=0.2)
    code = "import sys; from spiketrain.cli.runs import command\n"
    code += "try: command()\nexcept SystemExit as end: assert not end.code, end\n"
    code += "assert not {'jax', 'brainunit', 'flax'} & set(sys.modules), 'jax'"
    given = ["sweep", "--csv", "out/a.csv", "--json", "out/a.json"]
    given += ["--picture", "out/a.png"] * (importlib.util.find_spec("matplotlib") is not None)
    done = subprocess.run(
        [sys.executable, "-c", code, *given], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "70.0 – 72.0" not in done.stdout and "71.0 ± 1.0" in done.stdout and "61.0 ± 1.0" in done.stdout
    assert "3 of 4, 1 unfinished" in done.stdout and "unfinished after step 7: sweep/late" in done.stdout
    assert done.stdout.index("71.0 ± 1.0") < done.stdout.index("61.0 ± 1.0")
    with (tmp_path / "out" / "a.csv").open() as file:
        best, other = csv.DictReader(file)
    assert (best["optimizer.learning_rate"], other["optimizer.learning_rate"]) == ("0.2", "0.1")
    assert (best["finished"], best["runs"], other["runs"]) == ("3", "4", "3")
    assert float(best["test/accuracy mean"]) == pytest.approx(0.71)
    assert best["test/accuracy best run"] == os.path.join("sweep", "0.2_2")
    assert json.loads((tmp_path / "out" / "a.json").read_text())["differences"] == ["optimizer.learning_rate"]
    if "--picture" in given:
        assert (tmp_path / "out" / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "given, message",
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "empty: no folder in it holds a config.yaml"),
        (["one", "--metric", "test/acuracy"], "no run has it. Did you mean `test/accuracy`?"),
        (["one", "--picture", "a.xyz"], "--picture a.xyz: Format 'xyz' is not supported"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "one", accuracy=0.5)
    assert message in refused(command("runs", *given, cwd=tmp_path))


# What is checked and settled before a job starts


def settings(*given):
    conf = str(ROOT / "conf")
    with initialize_config_dir(version_base="1.3", config_dir=conf):
        return compose("train", list(given), return_hydra_config=True).hydra


def test_without_the_extras_one_line_says_what_to_install(tmp_path):
    """A package that stands before the namespace of Hydra's plugins hides them all."""
    (tmp_path / "hidden" / "hydra_plugins").mkdir(parents=True)
    (tmp_path / "hidden" / "hydra_plugins" / "__init__.py").touch()
    code = (
        "import sys\n"
        "from spiketrain.cli.train import _main\n"
        "from spiketrain.errors import ConfigError\n"
        "for word in sys.argv[1:]:\n"
        "    try: _main(['-m', 'seed=0,1', word])\n"
        "    except ConfigError as error: print(error)\n"
        "assert 'jax' not in sys.modules\n"
    )
    asked = ["launcher=joblib", "hydra/launcher=joblib", "launcher=submitit_local", "launcher=submitit_slurm"]
    asked += ["sweeper=optuna", "launcher=jobli"]
    done = subprocess.run(
        [sys.executable, "-c", code, *asked],
        cwd=tmp_path,
        env=environment(tmp_path / "hidden"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line, package in zip(lines, ["joblib"] * 2 + ["submitit"] * 2 + ["optuna"], strict=False):
        assert f"needs hydra-{package}-" in line and "pip install 'spiketrain[sweeps]'" in line, line
    assert "launcher=jobli: there is no such option. Did you mean `joblib`?" in lines[-1] and len(lines) == len(asked)
    assert os.listdir(tmp_path) == ["hidden"]


@pytest.mark.parametrize(
    "given, message",
    [
        (["+hydra.callbacks.x={_target_: os.getcwd}"], "hydra.callbacks.x._target_ = 'os.getcwd': a configuration holds"),
        (["hydra.launcher._target_=os.getcwd"], "hydra.launcher._target_ = 'os.getcwd'"),
        (["resume=auto"], "write `hydra.sweep.dir=...` in place of `resume=auto`"),
        (["trainer.epochs=interval(1,x)"], "cannot be read"),
        pytest.param(
            ["sweeper=optuna", "optimizer.learning_rate=interval(0.1,0.2)", "model.hidden=interval(1,2)"],
            "model.hidden must be a list of whole numbers",
            marks=needs_optuna,
        ),
        pytest.param(
            ["hydra/sweeper=optuna"], "trainer.monitor=validation/accuracy needs `hydra.sweeper.direction=maximize`",
            marks=needs_optuna,
        ),
        pytest.param(
            ["sweeper=optuna", "trainer.monitor=validation/loss"], "`hydra.sweeper.direction=minimize`",
            marks=needs_optuna,
        ),
        pytest.param(
            ["sweeper=optuna", "trainer.validation_fraction=0"], "must be measured on validation", marks=needs_optuna
        ),
    ],
)  # fmt: skip
def test_a_sweep_is_refused_before_it_begins(tmp_path, monkeypatch, given, message):
    from spiketrain.cli import train as cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_hydra", lambda *_: pytest.fail("it began"))
    with pytest.raises(ConfigError) as error:
        cli._main(["-m", *given])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


def test_every_value_of_a_sweep_is_checked():
    jobs = sweep.samples(["a=1,2,3", "b=x,y", "c=interval(1,5)", "d=range(0,4)", "e=7"])
    assert all("e=7" in job for job in jobs)
    seen = {word for job in jobs for word in job}
    assert seen >= {*(f"a={n}" for n in (1, 2, 3)), "b=x", "b=y", "c=1.0", "c=5.0", *(f"d={n}" for n in range(4))}
    assert sweep.samples(["a=1,2", "a=3"]) == [["a=3"]]  # as Hydra reads it


@pytest.mark.parametrize("key", ["()", "_target_", "custom_search_space"])
def test_a_file_makes_hydra_call_nothing(key):
    with pytest.raises(ConfigError, match=r"hydra.a.0.b.* = 'os.getcwd': a configuration holds names and numbers"):
        sweep.check_targets({"a": [{"b": {key: "os.getcwd"}}]})
    sweep.check_targets(OmegaConf.to_container(settings()))
    sweep.check_targets(
        {"sweeper": {"custom_search_space": None, "sampler": {"_target_": "optuna.samplers.TPESampler"}}}
    )


@given(cores=st.integers(1, 64), jobs=st.integers(1, 64))
def test_jobs_side_by_side_have_no_more_threads_than_there_are_cores(cores, jobs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(startup, "cores", lambda: cores)
        patch.setattr(startup, "GIVEN", {"JAX_PLATFORMS": "cpu"})
        change = sweep.share(jobs)
        if jobs == 1:
            assert change == {"JAX_NUM_CPU_DEVICES": None}
        else:
            assert change["JAX_NUM_CPU_DEVICES"] == change["NPROC"]
            assert int(change["NPROC"]) * jobs <= max(cores, jobs)
        patch.setattr(startup, "GIVEN", {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "NPROC": "2"})
        assert sweep.share(jobs) == {}


def test_gpus_are_divided(monkeypatch):
    monkeypatch.setattr(startup, "GIVEN", {})
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert sweep.gpus() == ["4", "6"] and float(sweep.share(4)["XLA_PYTHON_CLIENT_MEM_FRACTION"]) <= 0.5
    job = Job([], launcher="submitit_local", environment=sweep.share(4), gpus=sweep.gpus())
    assert [job._environment(n)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["4", "6", "4"]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert sweep.gpus() == []


@pytest.mark.parametrize(
    "given, wanted",
    [
        ([], 1),
        pytest.param(["launcher=joblib"], 4, marks=needs_joblib),
        pytest.param(["launcher=joblib", "hydra.launcher.n_jobs=-2"], 3, marks=needs_joblib),
        pytest.param(["launcher=joblib", "hydra.launcher.n_jobs=9"], 6, marks=needs_joblib),
        pytest.param(["launcher=submitit_local"], 4, marks=needs_submitit),
        pytest.param(["launcher=submitit_local", "hydra.sweeper.max_batch_size=5"], 5, marks=needs_submitit),
        pytest.param(["launcher=submitit_slurm"], 1, marks=needs_submitit),
    ],
)
def test_how_many_jobs_run_at_once(monkeypatch, given, wanted):
    monkeypatch.setattr(startup, "cores", lambda: 4)
    assert sweep.side_by_side(settings(*given), ["seed=0,1,2", "optimizer.learning_rate=1,2"]) == wanted


@needs_optuna
def test_a_search_asks_for_the_same_jobs_again():
    assert "hydra.sweeper.sampler.seed=0" in sweep.settled(settings("sweeper=optuna"), 1)
    seeded = settings("sweeper=optuna", "hydra.sweeper.sampler.seed=3")
    assert not [word for word in sweep.settled(seeded, 1) if "sampler" in word]


def test_only_the_result_of_just_this_configuration_is_finished(tmp_path):
    config = check({"seed": 1})
    assert not finished(tmp_path, config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert not finished(tmp_path, config)
    (tmp_path / "result.json").write_text("{}")
    assert finished(tmp_path, config) and finished(tmp_path, check({"seed": 1, "logger": {"progress": False}}))
    assert not finished(tmp_path, check({"seed": 1, "trainer": {"epochs": 7}}))
    (tmp_path / FAILURE).touch()
    assert not finished(tmp_path, config)


def test_a_process_that_is_asked_to_stop_asks_its_job_and_starts_no_other(tmp_path):
    """Once per signal, though the job is in the same terminal; what waits does not start."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from spiketrain.cli.job import run_alone\n"
        "job = 'import signal, sys, time\\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\\n'\n"
        'job += \'open("begun", "a").write(".")\\ntime.sleep(60)\'\n'
        "print([run_alone([sys.executable, '-c', job], pathlib.Path('log'), dict(os.environ)) for _ in range(2)])\n"
    )
    alone = {"cwd": tmp_path, "env": environment(), "start_new_session": True}
    process = subprocess.Popen([sys.executable, "-c", code], **alone, stdout=subprocess.PIPE)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's, for every process in it; the sweep itself answers
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=180)[0] == b"[143, 143]\n"
    assert (tmp_path / "begun").read_text() == "."


def test_a_job_that_submitit_takes_back_has_saved_before_it_is_queued_again(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from spiketrain.cli.job import run_alone\n"
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(int(pathlib.Path('saved').read_text())))  # as submitit\n"
        "job = 'import pathlib, signal, sys, time\\ndef save(*_):\\n time.sleep(0.5)\\n'\n"
        'job += \' pathlib.Path("saved").write_text("144")\\n sys.exit(143)\\nsignal.signal(signal.SIGTERM, save)\\n\'\n'
        "job += 'pathlib.Path(\"begun\").touch()\\ntime.sleep(60)'\n"
        "run_alone([sys.executable, '-c', job], pathlib.Path('log'), dict(os.environ))\n"
    )
    submitit = environment(SUBMITIT_EXECUTOR="local")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=submitit)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=60) == 144, (tmp_path / "log").read_text()


# Sweeps

# It is imported in each job, wherever that runs, and says what a job may use.
PLUGIN = """
import json, os
import spiketrain as st
names = ("JAX_NUM_CPU_DEVICES", "NPROC")
with open("seen", "a") as file:
    print(json.dumps([os.getpid(), *(os.environ.get(name) for name in names)]), file=file)

@st.register("schedule", "mine")
def mine(learning_rate, steps, *, factor: float = 1.0):
    return lambda step: factor * learning_rate
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps")
    write_data(folder / "small.npz")
    (folder / "mine.py").write_text(PLUGIN)
    return folder


def given(place, *more):
    """Return a sweep of 3 seeds x 2 learning rates, of which a job keeps every checkpoint."""
    return [
        "-m",
        *words(place / "small.npz"),
        "model=feedforward_lif",
        "plugins=[mine]",
        "schedule=mine",
        "trainer.keep_best=9",
        "seed=0,1,2",
        "optimizer.learning_rate=0.01,0.03",
        *more,
    ]


def outcome(folder):
    """Return what a sweep came to, by job: the record, and the metrics of the result."""
    found = {}
    for run in find_runs([folder]):
        assert run.state == "finished", run
        lines = [{k: v for k, v in line.items() if "second" not in k} for line in record(run.folder)]
        found[run.folder.name] = (run.metrics, lines)
    return found


@pytest.fixture(scope="module")
def swept(place):
    """Return the folder and the output of the sweep through joblib."""
    done = command("train", *given(place, "launcher=joblib", "hydra.sweep.dir=joblib"), cwd=place, check=True)
    return place / "joblib", done


@needs_joblib
def test_joblib_runs_each_job_in_a_process_of_its_own_and_the_table_has_two_rows(place, swept):
    folder, done = swept
    assert len(outcome(folder)) == 6
    table = tabulate(find_runs([folder]))
    assert table.keys == ["optimizer.learning_rate"] and table.metrics == ["validation/accuracy", "test/accuracy"]
    assert [list(row.metrics["test/accuracy"].values) for row in table.rows] == [[0, 1, 2]] * 2
    seen = [json.loads(line) for line in (place / "seen").read_text().splitlines()]
    jobs = [line for line in seen if line[2] is not None]
    assert len({pid for pid, *_ in jobs}) == 6  # beside the command itself and its workers
    at_once = min(6, startup.cores())
    assert all(int(devices) * at_once <= startup.cores() for _, devices, _ in jobs)
    assert done.stdout.count(" is finished: validation/accuracy ") == 6


@needs_joblib
def test_a_sweep_that_is_run_again_continues_where_it_was_left_bit_for_bit(place, swept):
    """One job lost its last checkpoint and its result, as a kill leaves it; the others are left alone."""
    folder, _ = swept
    before = outcome(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}
    steps = sorted((folder / "1" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    assert len(steps) == 4
    subprocess.run(["rm", "-r", steps[-1], folder / "1" / "result.json"], check=True)
    done = command("train", *given(place, "launcher=joblib", "hydra.sweep.dir=joblib"), cwd=place, check=True)
    assert done.stdout.count("is finished already") == 5 and done.stdout.count("is finished: ") == 1
    assert outcome(folder) == before
    assert [path.parent.name for path in times if times[path] != path.stat().st_mtime_ns] == ["1"]
    assert f"after step {steps[-2].name}" in (folder / "1" / "output.log").read_text()


@needs_joblib
def test_a_folder_is_not_continued_with_other_settings(place, swept):
    folder, _ = swept
    before = outcome(folder)
    done = command("train", *given(place, "hydra.sweep.dir=joblib", "seed=7"), cwd=place)
    assert done.returncode == 2 and "holds a run with seed=0, not 7" in done.stderr.splitlines()[-1], done.stderr
    assert outcome(folder) == before


@needs_joblib
@pytest.mark.slow
def test_a_sweep_that_is_asked_to_stop_saves_its_jobs_and_is_continued_bit_for_bit(place, swept, monkeypatch):
    for name in ("JAX_NUM_CPU_DEVICES", "NPROC"):  # as in the sweep of six, for another number adds in another order
        monkeypatch.setenv(name, str(max(1, startup.cores() // 6)))
    more = ["launcher=joblib", "hydra.sweep.dir=stopped", "seed=0,1", "optimizer.learning_rate=0.01"]
    words_ = given(place, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "spiketrain.cli.train", *words_],
        cwd=place,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((place / "stopped").glob("*/metrics.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    left = find_runs([place / "stopped"])
    assert {run.state for run in left} <= {"unfinished", "finished"}
    assert len(left) < 2 or "unfinished" in {run.state for run in left}
    command("train", *words_, cwd=place, check=True)
    every_other = outcome(swept[0])
    assert outcome(place / "stopped") == {"0": every_other["0"], "1": every_other["2"]}


@needs_submitit
def test_submitit_runs_the_same_jobs_and_one_that_fails_stops_no_other(place, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    more = ["launcher=submitit_local", "hydra.sweep.dir=submitit", "seed=0", "optimizer.learning_rate=0.01"]
    done = command("train", *given(place, *more, "model.neuron.tau_ms=-1,20"), cwd=place)
    assert done.returncode == 2 and "job 0 ended with exit code 2: DomainError: LIF(tau=...)" in done.stderr, (
        done.stderr
    )
    failed, well = find_runs([place / "submitit"])
    assert (failed.state, well.state) == ("failed", "finished") and "DomainError" in failed.why
    assert failed.settings["model.neuron.tau_ms"] == -1.0
    printed = command("runs", "submitit", cwd=place, check=True).stdout
    assert "0 of 1, 1 failed" in printed and "failed" in printed


@needs_optuna
def test_optuna_maximizes_the_monitored_metric_and_a_second_time_finds_all_done(place, monkeypatch):
    """Its seed is one with which the first six draws are the six combinations."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    more = ["sweeper=optuna", "hydra.sweep.dir=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.seed=35"]
    command("train", *given(place, *more), cwd=place, check=True)
    runs = find_runs([place / "optuna"])
    table = tabulate(runs)
    assert table.keys == ["optimizer.learning_rate"] and not table.twice
    assert [sorted(row.metrics["test/accuracy"].values) for row in table.rows] == [[0, 1, 2]] * 2
    best = yaml.safe_load((place / "optuna" / "optimization_results.yaml").read_text())["best_value"]
    assert best == max(run.metrics["validation/accuracy"] for run in runs)
    before = outcome(place / "optuna")
    done = command("train", *given(place, *more), cwd=place, check=True)
    assert done.stdout.count("is finished already") == 6 and outcome(place / "optuna") == before
