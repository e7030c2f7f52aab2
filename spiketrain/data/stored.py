"""Arrays that stay in their file: rows are read when they are asked for, and refused once the file was written again."""

import contextlib
import math
import os
import stat
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from spiketrain.data.source import one_line
from spiketrain.errors import DataError

Identity = tuple[int, int, int]


def regular(path: str | os.PathLike, flags: int) -> int:
    """Open a file as `open(path, opener=regular)` asks for, and never wait for somebody to write into a pipe.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return descriptor


class StoredFile:
    """A file that is read in parts. A copy that is sent to another process opens the file there.

    It is read with system calls and not mapped, because a map of a file that is cut short ends the process.

    Args:
        path: the file.
        remedy: what an error tells to do.

    Attributes:
        descriptor: the open file.
        identity: its number, size and time of writing when it was opened.

    Raises:
        DataError: the file is missing, cannot be read, or is no regular file; for a copy, it is another one by now.
    """

    def __init__(self, path: str | os.PathLike, remedy: str):
        self.path = path
        try:
            self.descriptor = regular(path, os.O_RDONLY)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist. {remedy}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {one_line(error)} {remedy}") from None
        weakref.finalize(self, os.close, self.descriptor)
        self.identity = self._found()

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.path, self.identity)

    def _found(self) -> Identity:
        found = os.fstat(self.descriptor)
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read_into(self, content: memoryview, at: int) -> None:
        """Fill `content` with the bytes from `at` on.

        Raises:
            DataError: the file ends before, or its disk fails.
        """
        try:
            while len(content) and (n := os.preadv(self.descriptor, [content], at)):
                content, at = content[n:], at + n
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {one_line(error)}") from None
        if len(content):
            raise _changed(self.path)

    def check(self) -> None:
        """Refuse a file that was written since it was opened; what was read before this call is what it held then.

        Raises:
            DataError: naming the file.
        """
        if self._found() != self.identity:
            raise _changed(self.path)


def _opened_again(path: str | os.PathLike, identity: Identity) -> StoredFile:
    with contextlib.suppress(DataError):
        file = StoredFile(path, "")
        if file.identity == identity:
            return file
    raise _changed(path)


def _changed(path: str | os.PathLike) -> DataError:
    return DataError(f"{path} was removed or written again while it is being read. Start anew.")


class Stored:
    """An array in a file. `np.asarray` reads all of it.

    Args:
        file: the file.
        start: the byte at which the array begins.
        shape: its shape; the first axis is the slowest.
        dtype: the type of its numbers.
    """

    def __init__(self, file: StoredFile, start: int, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype
        self._file, self._start = file, start

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self._read([(0, self.dtype.itemsize * math.prod(self.shape))], self.shape)
        return whole.astype(dtype or self.dtype, copy=False)

    def rows(self, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """Read the rows from each of `starts` to the one of `stops`, and return them joined.

        Raises:
            DataError: the file was written since it was opened, or cannot be read.
        """
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        places = zip((starts * size).tolist(), (stops * size).tolist(), strict=True)
        return self._read(places, (int((stops - starts).sum()), *self.shape[1:]))

    def _read(self, places: Iterable[tuple[int, int]], shape: tuple[int, ...]) -> np.ndarray:
        joined = np.empty(shape, self.dtype)
        content, filled = joined.reshape(-1).view(np.uint8).data, 0
        for start, stop in places:
            self._file.read_into(content[filled : filled + stop - start], self._start + start)
            filled += stop - start
        self._file.check()
        return joined
