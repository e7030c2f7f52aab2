"""What the commands share: one clear line for an error, and plugins by name."""

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from spiketrain.errors import ConfigError, SpiketrainError


def run(command: Callable[[], Any]) -> int:
    """Run a command; print what a user got wrong as one message, without a traceback, and return the exit code."""
    try:
        command()
    except SpiketrainError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


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
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"plugins=[{name}] cannot be imported: {error}. Is it installed, or in this folder?"
            ) from error
