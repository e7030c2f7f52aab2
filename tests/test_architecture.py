"""Imports point down: a module imports from its own layer or from a lower one."""

import ast
from pathlib import Path

import pytest

import spiketrain

ROOT = Path(spiketrain.__file__).parent

# From low to high. Names are modules and packages directly below `spiketrain`.
LAYERS = [
    {"errors"},
    {"units", "typing", "domain", "mesh"},
    {"environ", "state"},
    {"parameter", "surrogates", "reset", "init", "inputs", "integrate", "products", "causal"},
    {"kernels"},
    {"unroll"},
    {"dynamics"},
    {"windowed"},
    {"simulate"},
    {"spike_statistics"},
    {"plots"},
    {"neurons", "synapses", "generators"},
    {"projections"},
    {"encoders", "augmentation", "layers", "readouts", "losses", "metrics", "regularizers", "hidden"},
    {"models"},
    {"data"},
    {"config"},
    {"training"},
    {"cli"},
]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}

FILES = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT
)


def name_of(file):
    return file.parts[0].removesuffix(".py")


def imported(file, source):
    """Yield (line, name below spiketrain) for every import of spiketrain, wherever in the file it stands."""
    package = ("spiketrain", *file.parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [[*base, alias.name] if len(base) == 1 else base for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "spiketrain":
                yield node.lineno, target[1] if len(target) > 1 else ""


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_point_down(file):
    here = name_of(file)
    assert here in LEVEL, (
        f"spiketrain/{file} belongs to no layer. Add `{here}` to LAYERS in tests/test_architecture.py."
    )
    for line, target in imported(file, (ROOT / file).read_text()):
        where = f"spiketrain/{file}:{line}"
        assert target in LEVEL, (
            f"{where} imports `spiketrain.{target}`, which is no module that LAYERS in tests/test_architecture.py knows. "
            "Import a name from the module that defines it, or add a new module to its layer."
        )
        assert LEVEL[target] <= LEVEL[here], f"{where} imports `spiketrain.{target}`, which lies above `{here}`."


def test_every_layer_that_is_listed_exists_once():
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))


def test_the_check_sees_every_way_to_write_an_import():
    file = Path("neurons/lif.py")
    for source, target in {
        "import spiketrain.cli.train": "cli",
        "from spiketrain import cli as c": "cli",
        "from spiketrain.cli.train import main": "cli",
        "from .. import cli": "cli",
        "from ..cli import train": "cli",
        "from . import base": "neurons",
        "from .base import Neuron": "neurons",
        "def f():\n    from spiketrain.cli import train": "cli",
        "import spiketrain": "",
        "from spiketrain import LIF": "LIF",
    }.items():
        assert [name for _, name in imported(file, source)] == [target], source
    assert not list(imported(file, "import jax.numpy as jnp\nfrom typing import Any"))


def test_the_loop_over_time_lives_in_one_place():
    """`unroll`, with the ways through time in `kernels`, is the only part of the library's core that calls a scan."""
    core = {name for layer in LAYERS[:14] for name in layer} - {"kernels"}
    loops = set()
    for file in FILES:
        if name_of(file) in core:
            for node in ast.walk(ast.parse((ROOT / file).read_text())):
                if isinstance(node, ast.Attribute) and node.attr in {
                    "scan",
                    "fori_loop",
                    "while_loop",
                    "associative_scan",
                }:
                    loops.add(file.as_posix())
    over_spikes = {"projections/comm/event.py"}  # its loop is over active neurons, within a step
    assert loops - over_spikes == {"unroll.py"}


def test_every_public_name_can_be_imported():
    assert spiketrain.__all__
    for name in spiketrain.__all__:
        assert getattr(spiketrain, name) is not None, name


def test_importing_the_package_does_not_import_jax():
    import subprocess
    import sys

    code = "import sys, spiketrain; assert not {'jax', 'flax', 'brainunit'} & set(sys.modules), 'too early'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
