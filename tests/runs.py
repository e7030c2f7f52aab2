"""Small, fast runs for the tests of the trainer and the commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from spiketrain.config.check import check
from spiketrain.data.dataset import Dataset, Split
from spiketrain.training import saved

ROOT = Path(__file__).resolve().parent.parent


def arrays(trials, seed):
    """Return trials of two classes that differ in the sign of their mean, of 3 to 8 steps."""
    rng = np.random.default_rng(seed)
    y = np.arange(trials) % 2
    x = rng.normal(size=(trials, 8, 3)) + 0.5 * (2 * y - 1)[:, None, None]
    return {"x": x.astype(np.float32), "lengths": rng.integers(3, 9, trials), "y": y}


def dataset(train=24, test=10):
    """Return a small data set."""
    return Dataset("small", Split(**arrays(train, 0)), Split(**arrays(test, 1)), ("0", "1"))


def write_data(path):
    """Write the small data set as `.npz`."""
    parts = {f"{k}_{side}": a for side, n, s in (("train", 24, 0), ("test", 10, 1)) for k, a in arrays(n, s).items()}
    np.savez(path, **parts)


def small(path, **changes):
    """Return a checked configuration of a few fast steps on the data at `path`."""
    config = {
        "data": {"name": "npz", "path": str(path)},
        "model": {"name": "spiking_net", "hidden": [8], "input_scale": 6.0, "dropout": 0.25},
        "encoder": {"name": "direct", "noise": 0.2},
        "trainer": {"epochs": 4, "batch_size": 7, "save_every": 1, "log_every_steps": 2, "validation_fraction": 0.2},
        "logger": {"tensorboard": False, "pictures": False, "progress": False},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            config.setdefault(section, {})[name] = value
        else:
            config[section] = value
    return check(config)


def words(path):
    """Return the same as settings of the command line."""
    return [
        "data=npz",
        f"data.path={path}",
        "model.hidden=[8]",
        "model.input_scale=6",
        "model.dropout=0.25",
        "encoder.noise=0.2",
        "trainer.epochs=4",
        "trainer.batch_size=7",
        "trainer.save_every=1",
        "trainer.log_every_steps=2",
        "trainer.validation_fraction=0.2",
        "logger=quiet",
    ]


def environment(*folders, **variables):
    """Return the environment of a child process, which finds spiketrain where this process does."""
    path = os.pathsep.join(map(str, [*folders, ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]))
    return os.environ | {"PYTHONPATH": path} | variables


def command(module, *arguments, cwd, check=False, before=()):
    """Run a console command as its own process; packages in the folders `before` hide others."""
    done = subprocess.run(
        [sys.executable, "-m", f"spiketrain.cli.{module}", *map(str, arguments)],
        cwd=cwd,
        env=environment(*before),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def refused(done):
    """Return the single line that a refused command printed."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], done.stderr
    assert lines[0].split(":")[0].endswith("Error"), lines[0]
    return lines[0]


def record(folder):
    """Return the lines of metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def seal(step):
    """Write a manifest that fits the meta data of a checkpoint, as a forger would."""
    manifest, content = json.loads((step / "manifest.json").read_text()), (step / "meta.json").read_bytes()
    try:
        names = [name for name in json.loads(content)["leaves"] if isinstance(name, str)]
    except (ValueError, TypeError, KeyError, RecursionError):
        names = list(manifest["arrays"])
    files = {name: saved._size_and_checksum(path) for name, path in saved._files(step).items()}
    arrays = {name: manifest["arrays"].get(name, 0) for name in names}
    (step / "manifest.json").write_bytes(saved._manifest(files, arrays))
