"""Training runs as processes of their own, faults that are put into them, and what they are compared with.

Each is forked from a process that has imported everything and started nothing.
"""

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
CACHE = tempfile.TemporaryDirectory(prefix="spiketrain-compiled-")
os.environ |= {"JAX_COMPILATION_CACHE_DIR": CACHE.name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

import jax  # noqa: E402
from one_of_several import meeting_places  # noqa: E402

from spiketrain.cli.common import run  # noqa: E402
from spiketrain.training import arrays, saved  # noqa: E402
from spiketrain.training.checkpoint import find  # noqa: E402
from spiketrain.training.run import train  # noqa: E402
from spiketrain.training.trainer import Trainer  # noqa: E402

from runs import record, small, write_data  # noqa: E402

EPOCHS = 6  # of two steps, each of which is saved


class NotSurvived(Exception):
    """A run did not end as it should."""


class Place:
    """Where runs of one configuration lie, and those among them that nothing happened to."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._done: set[str] = set()
        write_data(folder / "small.npz")
        self._changes = {"trainer__epochs": EPOCHS, "trainer__save_every_steps": 1, "trainer__keep_best": 2}
        self.config = small(folder / "small.npz", **self._changes)
        begun = time.monotonic()
        self.expect(self.start("warm"), 0)
        self.compiling = time.monotonic() - begun
        begun = time.monotonic()
        self.expect(self.start("whole"), 0)
        self.seconds = time.monotonic() - begun

    def start(self, name: str, fault: Callable[[], None] | None = None, *, resume: bool = False, **changes) -> "Child":
        """Start a run in the folder `name`, or go on with it, in a process in which `fault` was called first."""
        folder, config = self.folder / name, self.config
        if changes:
            config = small(self.folder / "small.npz", trainer__epochs=EPOCHS, **changes)
        return Child(folder, lambda: train(config, folder, resume=resume), fault)

    def expect(self, child: "Child", *codes: int) -> str:
        """Wait for the end of a run, which must be one of `codes`; return what it printed."""
        code = child.wait()
        if code not in codes:
            raise NotSurvived(f"exit code {code} in place of {codes}: {child.said()[-800:]}")
        return child.said()

    def once(self, name: str, runs: Callable[[], object]) -> None:
        """Have a run that others are compared with, which nothing happens to."""
        if name not in self._done:
            runs()
            self._done.add(name)

    def resumed(self, name: str, whole: str = "whole", **changes) -> str:
        """Go on with a run, or begin it anew where it had not begun; it must end like the whole one."""
        said = self.expect(self.start(name, resume=self._begun(name), **changes), 0)
        if "Traceback" in said:
            raise NotSurvived(said[-800:])
        self.compare(name, whole)
        return said

    def both(self, name: str, fault: Callable[[], None] | None = None, *, at: int = 0) -> list["Child"]:
        """Start a run of two processes, or go on with it; `fault` is called first in one of them."""
        folder, resume, places = self.folder / name, self._begun(name), meeting_places(2)
        config = small(self.folder / "small.npz", **self._changes, trainer__batch_size=8, distributed=True)

        def joins(n: int) -> Callable[[], None]:
            def first() -> None:
                os.environ.update(places[n])
                if fault is not None and n == at:
                    fault()

            return first

        return [
            Child(folder.with_name(f"{name}.{n}"), lambda: train(config, folder, resume=resume), joins(n))
            for n in range(2)
        ]

    def both_resumed(self, name: str) -> None:
        """Go on with a run of two processes; it must end like one of two that nothing happened to."""
        self.once("whole_of_two", self._whole_of_two)
        for child in self.both(name):
            self.expect(child, 0)
        self.compare(name, "whole_of_two")

    def seconds_of_two(self) -> float:
        """Return how long a run of two processes takes."""
        self.once("whole_of_two", self._whole_of_two)
        return self._seconds_of_two

    def _whole_of_two(self) -> None:
        for name in ("warm_of_two", "whole_of_two"):
            begun = time.monotonic()
            for child in self.both(name):
                self.expect(child, 0)
            self._seconds_of_two = time.monotonic() - begun

    def _begun(self, name: str) -> bool:
        return (self.folder / name / "config.yaml").is_file()

    def compare(self, name: str, with_: str = "whole") -> None:
        """Compare a run with one that nothing happened to: every metric on record, and every bit of the last step."""
        one, whole = self.folder / name, self.folder / with_
        if record(one) != record(whole):
            raise NotSurvived("another record of metrics")
        results = [json.loads((folder / "result.json").read_text()) for folder in (one, whole)]
        keys = results[0].keys() | results[1].keys()
        if any(results[0].get(key) != results[1].get(key) for key in keys & {"step", "validation", "test"}):
            raise NotSurvived("another result")
        ends = [find(folder) for folder in (one, whole)]
        sums = [json.loads((end / "manifest.json").read_text())["arrays"] for end in ends]
        if ends[0].name != ends[1].name or sums[0] != sums[1] or digest(one) != digest(whole):
            raise NotSurvived("another last checkpoint")
        if left := [path.name for path in (one / "checkpoints").iterdir() if path.name.endswith(".tmp")]:
            raise NotSurvived(f"{left} is left")


Row = Callable[[Place, str, random.Random], None]
"""What tries a fault once, with a name for its run: a row of the table. It raises NotSurvived."""


class Child:
    """A forked process that does one thing; what it prints goes to a file beside `folder`."""

    def __init__(self, folder: Path, does: Callable[[], object], fault: Callable[[], None] | None = None):
        self.log = folder.with_name(f"{folder.name}.log")
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            with self.log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os._exit(self._run(does, fault))

    @staticmethod
    def _run(does: Callable[[], object], fault: Callable[[], None] | None) -> int:
        try:
            if fault is not None:
                fault()
            return run(does)
        except SystemExit as exit:
            return exit.code if isinstance(exit.code, int) else 1
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()

    def wait(self, within: float | None = None) -> int:
        """Return its exit code, or minus the number of the signal that ended it; so many seconds later it is killed."""
        if within is not None:
            until = time.monotonic() + within
            while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() > until:
                    self.kill(signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    raise NotSurvived(f"it had not ended after {within} s: {self.said()[-800:]}")
                time.sleep(0.01)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")


def digest(folder: Path) -> str:
    """Return a digest of all bits of the arrays of the last checkpoint, and of what lies where in them."""
    step = find(folder)
    saved.verify(step)
    files = [path for path in sorted((step / saved.STATE).glob("*/*/*")) if path.is_file()]
    parts = [json.dumps(saved.read_meta(step)["leaves"]).encode(), *(path.read_bytes() for path in files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


# Faults inside a process: each returns what is to be called in it before it trains


def at_call(owner: object, name: str, number: int, does: Callable[[], object], *, after: bool = False):
    """Return a fault that does something before, or after, the call of that number of a function."""

    def fault() -> None:
        original, calls = getattr(owner, name), [0]

        def patched(*arguments, **options):
            calls[0] += 1
            now = calls[0] == number
            if now and not after:
                does()
            result = original(*arguments, **options)
            if now and after:
                does()
            return result

        setattr(owner, name, patched)

    return fault


def wait_for(condition: Callable[[], object], *, within: float = 30) -> None:
    """Wait, for so many seconds at most."""
    until = time.monotonic() + within
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)


def kill_self() -> None:
    """Die as by a kill from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


def signal_self(number: int) -> Callable[[], None]:
    """Return what sends a signal to this process."""
    return lambda: os.kill(os.getpid(), number)


def while_compiling(number: int) -> Callable[[], None]:
    """Return a fault that sends a signal as soon as a program is compiled within training."""

    def fault() -> None:
        sent = []

        def listen(event: str, *_, **__) -> None:
            hears = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            if hears and not sent and event.startswith("/jax/compilation_cache"):
                sent.append(event)
                os.kill(os.getpid(), number)

        jax.monitoring.register_event_listener(listen)

    return fault


PHASES = {
    "compiling": while_compiling,
    "training": lambda number: at_call(Trainer, "_log_training", 2, signal_self(number)),
    "evaluating": lambda number: at_call(Trainer, "evaluate", 2, signal_self(number)),
    "saving": lambda number: at_call(arrays, "write", 3, signal_self(number)),
}
