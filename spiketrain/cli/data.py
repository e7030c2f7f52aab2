"""`spiketrain-data`: which data sets are known, whether their files are there and whole, what is in them. Imports no JAX.

spiketrain-data list
spiketrain-data check shd
spiketrain-data describe recordings/train.h5
"""

import argparse
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spiketrain.cli.common import run
from spiketrain.data.catalogue import CATALOGUE, Known, data_folder, nearest
from spiketrain.errors import ConfigError

if TYPE_CHECKING:
    from spiketrain.data.inspection import Part


def command() -> None:
    """Entry point of the console command."""
    parser = argparse.ArgumentParser(
        prog="spiketrain-data",
        description="List the data sets that are known, check that files are whole, and describe what is in them.",
        epilog=f"Each data set lies in a folder of its own in {data_folder()}; the environment variable "
        "SPIKETRAIN_DATA names another folder for all of them.",
    )
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("list", help="what is known: what it is, whether it is there, where to get it")
    for word, told in (("check", "read everything and count it"), ("describe", "say what is in every split")):
        one = words.add_parser(word, help=told)
        one.add_argument("what", metavar="NAME|PATH", help="a name that `list` prints, or a file or folder of your own")
        one.add_argument("--path", metavar="FOLDER", help="where the files of a NAME are")
        one.add_argument("--size", metavar="HxW", help="rows and columns of an event camera, such as 128x128")
    arguments = parser.parse_args()
    sys.exit(run(_list if arguments.word == "list" else lambda: _read(arguments)))


def _list() -> None:
    for known in CATALOGUE.values():
        folder, missing = nearest(known)
        print(f"{known.name} ({known.config})\n    {known.what}")
        if missing:
            print(f"    missing: {', '.join(missing)} in {folder}\n    get it: {known.get}")
        else:
            print(f"    found in {folder}")


def _read(arguments: argparse.Namespace) -> None:
    from spiketrain.data.inspection import inspect

    parts = inspect(arguments.what, arguments.path, _size(arguments.size))
    for part in parts:
        events = "" if part.events is None else f", {part.events.sum():,} events, {part.dropped:,} dropped"
        print(f"{part.name}: {len(part.labels):,} trials{events}")
        if arguments.word == "describe":
            print(f"    channels: {' x '.join(map(str, part.size))}")
            unit = "steps" if part.events is None else "s"
            print(f"    duration: {_spread(part.durations, unit)}")
            if part.events is not None:
                print(f"    events per trial: {_spread(part.events, '')}")
            _print_classes(part.labels, part.classes)
    if arguments.word == "check":
        known = CATALOGUE.get(arguments.what)
        lacking = ", ".join(_lacking(known, parts)) if known else ""
        print(f"Incomplete: {lacking}. What is there can be read." if lacking else "All of it can be read.")


def _lacking(known: Known, parts: "list[Part]") -> Iterator[str]:
    """Yield what is there of every split that is not whole."""
    labels = {part.name: part.labels for part in parts}
    for side, trials in known.trials.items():
        there, classes = len(labels[side]), len(np.unique(labels[side]))
        if there < trials or classes < known.classes:
            yield f"{side} has {there:,} of {trials:,} trials and {classes} of {known.classes} classes"


def _print_classes(labels: np.ndarray, classes: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    named = ", ".join(f"{name} {n:,}" for name, n in zip(classes, counts, strict=False))
    print(f"    classes: {len(classes)}, of {counts.min():,} to {counts.max():,} trials: {named}")


def _spread(values: np.ndarray, unit: str) -> str:
    low, middle, high = np.min(values), np.median(values), np.max(values)
    return f"{low:.6g} to {high:.6g} {unit}".rstrip() + f", median {middle:.6g}"


def _size(given: str | None) -> tuple[int, int, int] | None:
    if given is None:
        return None
    if not (match := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", given)):
        raise ConfigError(f"--size {given} must be rows x columns, such as `--size 128x128`.")
    return 2, int(match[1]), int(match[2])


if __name__ == "__main__":
    command()
