"""What the commands share: one clear line for an error, quiet logging, and plugins by name."""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from spiketrain.errors import ConfigError, SpiketrainError

LONGEST_MESSAGE = 4000


def run(command: Callable[[], Any]) -> int:
    """Run a command; print what a user got wrong as one message, without a traceback, and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        command()
    except (SpiketrainError, OSError) as error:  # an OSError is a disk that is full, a folder that is read-only
        print(f"{type(error).__name__}: {_printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _printable(message: str) -> str:
    """Return a message as text that a terminal only shows: it may quote the file of a stranger."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in message)
    return shown if len(shown) <= LONGEST_MESSAGE else f"{shown[:LONGEST_MESSAGE]} ..."


def import_plugins(names: Iterable[str]) -> None:
    """Import the packages a user named, which register their models and data sets.

    Only what the command line names is imported, never what a configuration file or a checkpoint names.
    """
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"plugins=[{name}] must name a Python package, such as `plugins=[my_package]`.")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the package raises, an error of ours included, is about that package
            if isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]:
                raise ConfigError(f"plugins=[{name}]: {error}. Is it installed, or in this folder?") from error
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = "" if isinstance(error, SyntaxError) else f" ({where.filename}, line {where.lineno})"
            raise ConfigError(f"plugins=[{name}] fails on import: {type(error).__name__}: {error}{at}") from error
