"""What a run writes while it trains: metrics.jsonl, TensorBoard, a progress bar or plain lines."""

import json
import logging
import time
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from spiketrain.training.compilation import Compilations
from spiketrain.training.recorded import flat

log = logging.getLogger("spiketrain")


class RunLog:
    """The record of one run.

    Args:
        folder: where it is written; None writes nothing.
        total_steps: the length of the run in optimizer steps.
        first_step: where a resumed run continues; what was recorded after it is dropped.
        tensorboard: whether to write TensorBoard events.
        progress: whether to show progress: a bar in a terminal, plain lines elsewhere.
    """

    def __init__(self, folder: Path | None, *, total_steps: int, first_step: int, tensorboard: bool, progress: bool):
        self.console = Console(highlight=False, soft_wrap=True)
        self._shown: dict[str, float] = {}
        self._step, self._first, self._total = first_step, first_step, total_steps
        self._start = self._last_line = time.monotonic()
        self.seconds, self.has_started = 0.0, False
        self._progress = progress
        self._folder, self._tensorboard = folder, tensorboard
        self._file: Any = None
        self._pending, self._warned = b"", False
        self._board: Any = None
        self._bar: Any = None
        self._open(first_step)
        if progress and self.console.is_terminal:
            fixed, flexible = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
            columns = (
                BarColumn(bar_width=12, table_column=fixed),
                MofNCompleteColumn(table_column=fixed),
                TextColumn("{task.fields[speed]}", table_column=fixed),
                TimeRemainingColumn(table_column=fixed),
                TextColumn("{task.fields[metrics]}", table_column=flexible),  # a narrow terminal cuts this one
            )
            self._bar = Progress(*columns, console=self.console, expand=True, auto_refresh=False)
            self._task = self._bar.add_task("training", total=total_steps, completed=first_step, speed="", metrics="")
            self._bar.start()
        self.compiled = Compilations()

    def _open(self, step: int) -> None:
        """Open the record after `step`; what was recorded later is dropped."""
        if self._folder is None:
            return
        path, new = self._folder / "metrics.jsonl", self._folder / "metrics.jsonl.new"
        new.write_text("".join(_until(path, step)), encoding="utf-8")
        new.replace(path)  # as a whole: a kill leaves the old record or the new one
        self._file = path.open("ab", buffering=0)
        if self._tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1)

    def back_to(self, step: int) -> None:
        """Drop what was recorded after `step`, and go on from there."""
        self._close_files()
        self._open(step)
        self._step = step

    def started(self) -> None:
        """Start the clock: the first optimizer step is done, and with it most of compilation."""
        took, compiled = time.monotonic() - self._start, self.compiled
        if self._progress:
            cached = f", {compiled.from_cache} of them from the cache" if compiled.from_cache else ""
            self.say(
                f"first step after {took:.1f} s: {compiled.seconds:.1f} s for compiling {compiled.programs} programs{cached}"
            )
        self._start, self._first, self.has_started = time.monotonic(), self._first + 1, True

    def finished(self) -> None:
        """Stop the clock and show the end."""
        self.seconds = time.monotonic() - self._start
        self._show(now=True)

    def scalars(self, step: int, split: str, values: dict[str, float], **extra: float) -> None:
        """Record the metrics of a split at a step."""
        self._step = step
        if self._file is not None:
            self._pending += (json.dumps({"step": step, "split": split, **extra, **values}) + "\n").encode()
            self._write()
        if self._board is not None:
            from tensorboardX.proto.summary_pb2 import Summary

            named = [Summary.Value(tag=f"{split}/{k}", simple_value=value) for k, value in (values | extra).items()]
            self._show_on_board("file_writer.add_summary", Summary(value=named), step)  # one event, not one for each
        self._shown |= {f"{split} {name}": values[name] for name in ("loss", "accuracy") if name in values}
        self._show()

    def histograms(self, step: int, arrays: dict[str, Any]) -> None:
        """Record the distribution of each parameter."""
        for name, array in arrays.items():
            self._show_on_board("add_histogram", name, array, step)

    def picture(self, step: int, name: str, rgb: Any) -> None:
        """Record a picture `(height, width, 3)`."""
        self._show_on_board("add_image", name, rgb, step, dataformats="HWC")

    def hyperparameters(self, values: dict[str, Any], results: dict[str, float]) -> None:
        """Record what was set, by groups, and what came out."""
        self._show_on_board("add_hparams", _plain(values), results, name="hparams")

    def _write(self) -> None:
        """Write what is pending; a disk that is full ends no run, and gets it the next time."""
        try:
            while self._pending:
                self._pending = self._pending[self._file.write(self._pending) :]
            self._warned = False
        except OSError as error:
            self._warn(error)

    def _show_on_board(self, method: str, *what: Any, **how: Any) -> None:
        if (board := self._board) is not None:  # a picture may arrive from its thread while this is closed
            try:
                attrgetter(method)(board)(*what, **how)
            except OSError as error:
                self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            log.warning("What training shows could not be written: %s. It goes on, and tries again.", error)
        self._warned = True

    def say(self, message: str) -> None:
        """Print a line."""
        self.console.print(message, markup=False)

    def close(self) -> None:
        """Finish all files."""
        self.compiled.close()
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
        self._close_files()

    def _close_files(self) -> None:
        if self._file is not None:
            self._write()
        for writer in (self._file, self._board):
            if writer is not None:
                try:
                    writer.close()
                except OSError as error:
                    self._warn(error)
        self._file = self._board = None

    def _show(self, *, now: bool = False) -> None:
        time_now = time.monotonic()
        speed = (self._step - self._first) / max(time_now - self._start, 1e-9)
        text = "  ".join(
            f"{k} {v:.4g}" if k.endswith("loss") else f"{k} {100 * v:.1f} %" for k, v in self._shown.items()
        )
        if self._bar is not None:
            if now or time_now - self._last_line > 0.5:
                self._last_line = time_now
                self._bar.update(
                    self._task, completed=self._step, speed=f"{speed:.0f} steps/s", metrics=text, refresh=True
                )
        elif self._progress and (now or time_now - self._last_line > 2):
            self._last_line = time_now
            left = (self._total - self._step) / max(speed, 1e-9)
            self.say(f"step {self._step}/{self._total}  {speed:.0f} steps/s  ETA {left:.0f} s  {text}")


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings as TensorBoard takes them: one level, numbers and words."""
    return {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in flat(config).items()}


def _until(path: Path, step: int) -> list[str]:
    """Return the whole lines of an earlier record up to `step`."""
    if not step or not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            break
    return kept
