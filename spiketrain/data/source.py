"""Bytes of a data file, read from front to back: what is missing or wrong is said with the file and the byte."""

import gzip
import os
import stat
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from spiketrain.errors import DataError

LARGEST = 16 * 2**30
"""No file is read beyond so many bytes, those of a compressed one counted after decompression."""

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
        zipped = file.read(2) == b"\x1f\x8b"
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


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line that ends in a period."""
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".") + "."
