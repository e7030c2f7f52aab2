"""One job of a sweep: left alone where it is finished, continued where it was begun."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spiketrain.cli.common import import_plugins
from spiketrain.config.check import check, check_plugins
from spiketrain.config.files import JSON_BYTES, YAML_BYTES, parse_json, parse_yaml, read_bytes
from spiketrain.errors import TrainingError
from spiketrain.training.recorded import FAILURE, differing

POLL_S = 0.05  # between two looks at a job
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)


@dataclass(frozen=True)
class Job:
    """What a launcher calls with the settings of a job, in this process or in another one.

    Args:
        plugins: the packages that the command line names.
        options: what the command line says about where configurations lie.
        launcher: the name of the launcher. Only the basic one trains in the process that calls.
        environment: what to change in that of a job, see `sweep.share`.
        gpus: those of this machine, each for one job after the other; none leaves the choice to the launcher.
    """

    plugins: list[str]
    options: list[str] = field(default_factory=list)
    launcher: str = "basic"
    environment: Mapping[str, str | None] = field(default_factory=dict)
    gpus: list[str] = field(default_factory=list)

    def __call__(self, composed: Any) -> float | None:
        """Train, unless it is done, and return the value of `trainer.monitor`, None where it was not measured."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        from spiketrain.cli import train as cli

        import_plugins(self.plugins)
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        check_plugins(plain, self.plugins, "The configuration", "plugins=[{}]")
        config = check(plain)
        hydra = HydraConfig.get()
        number, folder = hydra.job.num, Path(hydra.runtime.output_dir)
        begun = cli.continued(config, folder, named=True)
        if finished(folder, config):
            print(f"job {number} is finished already: {folder}", flush=True)
            return value_of(folder, config["trainer"]["monitor"])
        for name in ("result.json", FAILURE):
            (folder / name).unlink(missing_ok=True)
        try:
            if self.launcher == "basic":
                cli._run(config, folder, resume=begun is not None)
            else:
                searched = [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath")]
                here = f"hydra.run.dir={cli._quoted(str(folder))}"
                self._alone([*hydra.overrides.task, *searched, here, "resume=auto"], folder, number)
        except Exception as error:
            if not isinstance(error, StoppedError):
                _record_failure(folder, config, error)
            raise
        (folder / FAILURE).unlink(missing_ok=True)  # of the same sweep started twice, which finds the folder taken
        value = value_of(folder, monitor := config["trainer"]["monitor"])
        print(f"job {number} is finished: {monitor} {value}: {folder}", flush=True)
        return value

    def _alone(self, settings: list[str], folder: Path, number: int) -> None:
        """Train in a process of its own, whose output goes to a file: if it is killed, no other job is."""
        command = [sys.executable, "-m", "spiketrain.cli.train", *self.options, *settings]
        if code := run_alone(command, folder / "output.log", self._environment(number)):
            if code in STOPPED:
                raise StoppedError(f"job {number} was stopped. The same command continues it.")
            said = _last_line(folder / "output.log")
            raise TrainingError(f"job {number} ended with exit code {code}: {said} See {folder / 'output.log'}.")

    def _environment(self, number: int) -> dict[str, str]:
        change = dict(self.environment)
        if self.gpus:
            place = _worker() if self.launcher == "joblib" else number
            change["CUDA_VISIBLE_DEVICES"] = self.gpus[place % len(self.gpus)]
        kept = {name: value for name, value in os.environ.items() if name not in change}
        return kept | {name: value for name, value in change.items() if value is not None}


class StoppedError(TrainingError):
    """A job was asked to stop, and can be continued."""


def finished(folder: Path, config: dict[str, Any]) -> bool:
    """Return whether a folder holds the result of just this configuration, up to what is logged."""
    if not (folder / "result.json").is_file() or (folder / FAILURE).exists():
        return False
    kept = check(parse_yaml(read_bytes(folder / "config.yaml", YAML_BYTES)))
    return all(key.startswith("logger.") for key in differing(kept, config))


def value_of(folder: Path, monitor: str) -> float | None:
    """Return a metric of a finished run, `validation/accuracy` say."""
    result, (split, _, name) = parse_json(read_bytes(folder / "result.json", JSON_BYTES)), monitor.partition("/")
    return result.get(split, {}).get(name)


def _record_failure(folder: Path, config: dict[str, Any], error: Exception) -> None:
    """Leave what `spiketrain-runs` tells of a job that failed, where the run did not say it, and its settings."""
    import yaml

    if not (folder / FAILURE).exists():
        (folder / FAILURE).write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
    if not (folder / "config.yaml").exists():
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        (folder / "config.yaml").write_text(text, encoding="utf-8")


_told: list[int] = []  # signals that asked this process to stop: the jobs that still wait here do not start


def run_alone(command: list[str], log: Path, environment: dict[str, str]) -> int:
    """Run a command in a session of its own, pass on to it what asks this process to stop, and return its exit code.

    A session of its own, because a terminal's Ctrl-C reaches every process of one, and the second signal ends a run
    without a checkpoint. Where submitit takes a job back, at its time limit, it is told once the checkpoint is there.
    """
    if _told:
        return 128 + _told[0]
    submitit = "SUBMITIT_EXECUTOR" in os.environ
    if not submitit:  # a worker of joblib, which the sweep tells to stop: see `sweep.passing_signals_on`
        signal.signal(signal.SIGINT, lambda *_: None)  # to ignore it would be inherited
        signal.signal(signal.SIGTERM, lambda number, _: _told.append(number))
    with log.open("ab") as file:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )

    def give_back(number: int, frame: Any) -> None:
        child.send_signal(signal.SIGTERM)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # the job is still to be waited for below
        requeue(number, frame)

    if submitit:
        requeue: Any = signal.signal(
            getattr(signal, "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")), give_back
        )
    passed_on = 0
    try:
        while (code := child.poll()) is None:  # to wait in the system would miss a signal that comes just before
            if passed_on < len(_told):
                passed_on += 1
                child.send_signal(signal.SIGTERM)
            time.sleep(POLL_S)
        return code
    except BaseException:
        child.send_signal(signal.SIGTERM)
        raise


def _worker() -> int:
    """Return the number of this worker of joblib, from 0: as long as it lives, its jobs use the same GPU."""
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return int(number) - 1 if number.isdecimal() else 0


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace")[-4000:].splitlines()]
    said = [line for line in lines if line]
    return said[-1] if said else "it said nothing."
