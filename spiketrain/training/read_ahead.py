"""Batches that are read from disk while others are used: by grain, in a thread or in processes of its own."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import jax
import numpy as np

from spiketrain.data.dataset import LabelledTrials
from spiketrain.data.event_split import EventSplit
from spiketrain.errors import DataError, TrainingError

AHEAD = 4  # batches that a thread, or each process, has read and nobody has asked for yet


class Rows(Protocol):
    """The trials of every batch, by its number."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> np.ndarray: ...


class BatchReader:
    """The batches of a split as arrays of one shape, each read when it is asked for by its number.

    Args:
        split: the trials.
        size: the number of trials in a batch.
        rows: the trials of every batch.
    """

    def __init__(self, split: LabelledTrials, size: int, rows: Rows):
        self.split, self.rows = split, rows
        self._room = split.room(size) if isinstance(split, EventSplit) else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        """Return the trials of a batch, and their arrays."""
        rows = self.rows[i]
        some = self.split.take(rows)
        if isinstance(some, EventSplit):
            return rows, some.trials(self._room)
        dense = some.dense()
        return rows, {"x": dense.x, "lengths": dense.lengths, "y": dense.y, "weight": np.ones(len(dense), np.float32)}


class InTurn:
    """The trials of a split in their own order, in batches; the last goes on with the first trials.

    Args:
        trials: how many there are.
        size: the number of trials in a batch.
    """

    def __init__(self, trials: int, size: int):
        self._trials, self._size = trials, size

    def __len__(self) -> int:
        return -(-self._trials // self._size)

    def __getitem__(self, i: int) -> np.ndarray:
        return np.arange(i * self._size, (i + 1) * self._size, dtype=np.int32) % self._trials


class ReadAhead:
    """Gives the batches of a reader one after the other, from any of them on, and reads `AHEAD` of them ahead.

    Args:
        reader: what reads a batch. For processes, it is copied to them, and whatever it reads is opened there.
        workers: how many processes read; 0 is a thread of this one.

    Raises:
        DataError: grain is not installed.
    """

    def __init__(self, reader: BatchReader, *, workers: int = 0):
        self._grain, self._reader, self._workers = _grain(), reader, workers
        self._iterator: Any = None
        self._next = -1

    def at(self, i: int) -> Any:
        """Return the arrays of batch `i`; fast where the one before was asked for last.

        Raises:
            DataError: what is read is damaged.
            TrainingError: a process that reads has ended.
        """
        if i != self._next:
            self.close()
            self._iterator = self._open(i)
        try:
            rows, batch = next(self._iterator)
        except (DataError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise TrainingError(f"batch {i} could not be read ahead: {error}") from error
        if not np.array_equal(rows, self._reader.rows[i]):
            raise TrainingError(
                f"batch {i} was read in another order than this process has: a setting of JAX's random numbers is not "
                "known to processes that read. Write it as an environment variable, or `trainer.workers=0`."
            )
        self._next = i + 1
        return batch

    def _open(self, i: int) -> Iterator[Any]:
        grain = self._grain
        batches = grain.MapDataset.source(self._reader)[i:]
        if not self._workers:
            return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=AHEAD)))
        # Through pipes: shared memory is small in containers, and not always given back when a process ends.
        pipes = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        batches = grain.experimental.WithOptionsIterDataset(batches, pipes)
        options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=AHEAD)
        return iter(batches.mp_prefetch(options, worker_init_fn=_begin))

    def close(self) -> None:
        """End the thread or the processes."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator, self._next = None, -1


def _grain() -> ModuleType:
    try:
        import grain
        import grain.experimental
        from absl import flags
    except ImportError:
        raise DataError("Data are streamed with grain. Install it: pip install 'spiketrain[stream]'.") from None
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's own flags, which it reads in the processes that it starts
    return grain


def _begin(*_: Any) -> None:
    """Prepare a process that reads: it leaves accelerators and Ctrl-C to its parent, and ends with it."""
    jax.config.update("jax_platforms", "cpu")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
