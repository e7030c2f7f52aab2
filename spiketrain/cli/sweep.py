"""Sweeps: which jobs there are, and what each may use of the machine. Hydra's launchers start them, see `job.py`."""

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spiketrain.cli import startup
from spiketrain.errors import ConfigError
from spiketrain.training.recorded import lower_is_better

# What Hydra says it has no option for, until the package is installed.
PACKAGES = {
    ("hydra/launcher", "joblib"): "hydra-joblib-launcher",
    ("hydra/launcher", "submitit_local"): "hydra-submitit-launcher",
    ("hydra/launcher", "submitit_slurm"): "hydra-submitit-launcher",
    ("hydra/sweeper", "optuna"): "hydra-optuna-sweeper",
}
# What a configuration may make Hydra call. A name elsewhere in it, `hydra.callbacks` say, would run code of a file.
TARGETS = ("hydra_plugins.", "hydra._internal.core_plugins.", "optuna.samplers.")


def values(words: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return the settings that all jobs share, and for each swept key its values; of an interval, both ends."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep

    plain: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(words):
        key, value = override.get_key_element(), override.value()
        for earlier in (plain, swept):  # of a key that is given twice, the last one counts
            earlier.pop(key, None)
        if isinstance(value, IntervalSweep):
            swept[key] = [f"{key}={value.start}", f"{key}={value.end}"]
        elif override.is_sweep_override():
            swept[key] = [f"{key}={one}" for one in override.sweep_string_iterator()]
        else:
            plain[key] = str(override.input_line)
    return list(plain.values()), list(swept.values())


def samples(words: list[str]) -> list[list[str]]:
    """Return the settings of some jobs of a sweep, in which every swept value occurs once or more."""
    plain, swept = values(words)
    longest = max(map(len, swept), default=1)
    return [[*plain, *(of_key[i % len(of_key)] for of_key in swept)] for i in range(longest)]


def parameters(hydra: Any) -> list[str]:
    """Return what `hydra.sweeper.params` of a configuration file sweeps, as the command line would say it."""
    return [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]


def check_targets(settings: Any, where: str = "hydra") -> None:
    """Refuse settings that would make Hydra call anything but its launchers, its sweepers and optuna's samplers.

    Raises:
        ConfigError: naming the setting.
    """
    for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
        path = f"{where}.{key}"
        calls = key in ("_target_", "()", "custom_search_space") and value is not None
        if calls and not (key == "_target_" and str(value).startswith(TARGETS)):
            raise ConfigError(f"{path} = {value!r}: a configuration holds names and numbers, and calls nothing.")
        if isinstance(value, dict | list):
            check_targets(value, path)


def check_search(hydra: Any, config: dict[str, Any]) -> None:
    """Refuse a search by optuna that has nothing to go by, or goes the wrong way.

    Raises:
        ConfigError: `trainer.monitor` is not measured, or its best is not what `hydra.sweeper.direction` says.
    """
    if chosen(hydra, "sweeper") != "optuna":
        return
    monitor, direction = config["trainer"]["monitor"], hydra.sweeper.direction
    right = "minimize" if lower_is_better(monitor) else "maximize"
    if getattr(direction, "name", direction) != right:
        raise ConfigError(f"A search by trainer.monitor={monitor} needs `hydra.sweeper.direction={right}`.")
    if not monitor.startswith("validation/") or not config["trainer"]["validation_fraction"]:
        raise ConfigError(
            f"A search chooses by trainer.monitor={monitor}, which must be measured on validation: write "
            "`trainer.monitor=validation/...` and trainer.validation_fraction > 0."
        )


def chosen(hydra: Any, group: str) -> str:
    """Return the option of one of Hydra's own groups, `launcher` or `sweeper`."""
    return str(hydra.runtime.choices[f"hydra/{group}"])


def gpus() -> list[str]:
    """Return the GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; none where JAX computes on the CPU."""
    if startup.computes_on_cpu(os.environ):
        return []
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    return [str(n) for n, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def side_by_side(hydra: Any, words: list[str]) -> int:
    """Return how many jobs of a sweep run on this machine at once."""
    launcher, places = chosen(hydra, "launcher"), len(gpus()) or startup.cores()
    if launcher not in ("joblib", "submitit_local"):
        return 1
    if chosen(hydra, "sweeper") == "optuna":
        batch = hydra.sweeper.n_jobs
    else:
        batch = hydra.sweeper.max_batch_size or math.prod(len(of_key) for of_key in values(words)[1])
    if launcher == "submitit_local":  # it starts a whole batch at once
        return int(min(batch, hydra.sweeper.get("max_batch_size") or places))
    asked = hydra.launcher.n_jobs
    return int(min(batch, asked if asked > 0 else max(1, places + 1 + asked)))


def settled(hydra: Any, jobs: int) -> list[str]:
    """Return the settings of Hydra's that follow from the machine, or without which a sweep cannot be continued."""
    folder = str(hydra.sweep.dir).replace("\\", "\\\\").replace("'", "\\'")
    words = [f"hydra.sweep.dir='{folder}'"]
    if chosen(hydra, "launcher") == "joblib":
        words.append(f"hydra.launcher.n_jobs={jobs}")
    if chosen(hydra, "launcher") == "submitit_local" and "max_batch_size" in hydra.sweeper:
        words.append(f"hydra.sweeper.max_batch_size={jobs}")
    if chosen(hydra, "sweeper") == "optuna" and hydra.sweeper.sampler.get("seed", 0) is None:
        words.append("hydra.sweeper.sampler.seed=0")  # it asks for the same jobs again, and those that are done count
    return words


def share(jobs: int) -> dict[str, str | None]:
    """Return what to change in the environment of each of `jobs` jobs on this machine; None takes a variable out.

    The cores, which JAX would all use in each job, are divided; so is the memory of a GPU that several jobs share.
    What the user set stays.
    """
    change: dict[str, str | None] = {}
    part = str(max(1, startup.cores() // jobs))
    if startup.wants_devices(startup.GIVEN):
        change["JAX_NUM_CPU_DEVICES"] = part if jobs > 1 else None  # alone, a job counts the cores where it runs
    if jobs > 1:
        change["NPROC"] = part  # XLA's threads
        if n := len(gpus()):
            change["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / math.ceil(jobs / n):.3f}"
    return {name: value for name, value in change.items() if name not in startup.GIVEN}


@contextmanager
def passing_signals_on(folder: str) -> Iterator[None]:
    """Ask the jobs of other processes to stop where this process is asked to, and end with 128 + the signal's number.

    Each saves a checkpoint, and those that wait do not start. A second signal reaches them, too, and they end at once.
    """
    told: list[int] = []

    def tell(number: int, _: Any) -> None:
        told.append(number)
        workers = multiprocessing.active_children()
        for worker in workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        if not workers:
            sys.exit(128 + number)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if told:
            print(f"stopped; the same command with hydra.sweep.dir={folder} continues", file=sys.stderr)
            sys.exit(128 + told[0])
