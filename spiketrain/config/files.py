"""Read files that a stranger may have written: regular files of bounded size and depth, as plain data.

Nothing here runs code, follows a link, or needs more memory than the limits allow.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

YAML_BYTES = 1 << 17  # a run's config.yaml takes about 2 KB
JSON_BYTES = 1 << 23  # a leaf's name, shape and data type take about 100 bytes
DEPTH = 32


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is a link, a device or a pipe, which could lead anywhere or never end.
    """
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is no regular file")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or larger.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return content


def parse_json(content: bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        data = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"it is nested more than {DEPTH} levels deep") from None
    _require_shallow(data, DEPTH)
    return data


def parse_yaml(content: bytes) -> Any:
    """Return what a YAML text says in plain data: no tags, and no aliases, which could stand for any amount of it.

    Raises:
        ValueError: it is no such YAML, or nested too deeply.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"it has an alias, *{self.peek_event().anchor}: write the value itself")
            if self.depth == DEPTH and not self.check_event(yaml.ScalarEvent):
                raise ValueError(f"it is nested more than {DEPTH} levels deep")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    try:
        return yaml.load(content.decode("utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _require_shallow(data: Any, depth: int) -> None:
    if isinstance(data, dict | list):
        if not depth:
            raise ValueError(f"it is nested more than {DEPTH} levels deep")
        for part in data.values() if isinstance(data, dict) else data:
            _require_shallow(part, depth - 1)
