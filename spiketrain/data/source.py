"""Bytes of a data file, read from front to back: what is missing or wrong is said with the file and the byte."""

import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from spiketrain.errors import DataError, ShapeError

LARGEST = 16 * 2**30
"""No file is read beyond so many bytes, those of a compressed one counted after decompression."""

GZIP = b"\x1f\x8b\x08"  # the third byte is the one method there is; a recording may begin with the first two

PIECE = 1 << 24  # memory grows with what a file holds, not with what its header promises


class Source:
    """Reads a file, plain or gzipped, and knows at which byte it is (of the decompressed content).

    Raises:
        DataError: the file is missing, cannot be read, or is no regular file.
    """

    def __init__(self, path: str | os.PathLike):
        self.path, self.at = Path(path), 0
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from None
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise DataError(f"{self.path} is no regular file.")
        zipped = file.read(len(GZIP)) == GZIP
        file.seek(0)
        self._raw = file
        self._stream: IO[bytes] | Any = gzip.GzipFile(fileobj=file) if zipped else file

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
        self._raw.close()

    def read(self, size: int, what: str) -> bytes:
        """Return exactly the next `size` bytes, which are `what`.

        Raises:
            DataError: the file ends before, is damaged, or is larger than `LARGEST`.
        """
        start = self.at
        content = self.up_to(size)
        if len(content) < size:
            raise DataError(
                f"{self.path} ends at byte {self.at}, within {what}: {size} bytes from byte {start}. It is cut short."
            )
        return content

    def rest(self) -> bytes:
        """Return everything that is left.

        Raises:
            DataError: the file is damaged, or larger than `LARGEST`.
        """
        return self.up_to(LARGEST + 1)

    def up_to(self, size: int) -> bytes:
        """Return the next `size` bytes, or as many as are left.

        Raises:
            DataError: the file is damaged, or larger than `LARGEST`.
        """
        content = bytearray()
        while len(content) < size:
            try:
                piece = self._stream.read(min(size - len(content), PIECE))
            except (EOFError, OSError, zlib.error) as error:
                raise DataError(f"{self.path} is damaged after byte {self.at}: {one_line(error)}") from None
            if not piece:
                break
            content += piece
            self.at += len(piece)
            if self.at > LARGEST:
                raise DataError(f"{self.path} goes on after byte {LARGEST}: it is too large to be read into memory.")
        return bytes(content)

    def array(self, dtype: str, n: int, what: str) -> np.ndarray:
        """Return the next `n` numbers of a data type."""
        return np.frombuffer(self.read(n * np.dtype(dtype).itemsize, what), dtype)

    def end(self) -> None:
        """Refuse a file that goes on.

        Raises:
            DataError: naming where the file should have ended.
        """
        at = self.at
        if self.up_to(1):
            raise DataError(f"{self.path} goes on after byte {at}, where its header says that it ends.")

    def wrong(self, at: int, problem: str) -> DataError:
        """Return the error of what stands at a byte."""
        return DataError(f"{self.path}, byte {at}: {problem}")


def text(path: str | os.PathLike, most: int) -> str:
    """Return a file of at most `most` bytes as text, without the mark of byte order that some programs write first.

    Raises:
        DataError: the file cannot be read, is larger, or is no text in UTF-8, naming the byte.
    """
    with Source(path) as source:
        content = source.up_to(most + 1)
    if len(content) > most:
        raise source.wrong(most, "the file is too large to be read as text.")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise source.wrong(error.start, "is no text in UTF-8.") from None


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Name the file in an error about the numbers that it holds.

    Raises:
        DataError: what is done inside is refused.
    """
    try:
        yield
    except (DataError, ShapeError) as error:
        raise DataError(f"{path}: {error}") from None


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line that ends in a period."""
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".") + "."
