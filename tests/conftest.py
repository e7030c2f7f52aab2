"""Fixtures that the whole suite shares. Tests run on the CPU, with warnings as errors (see pyproject.toml)."""

import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" not in os.environ:  # what is equal is compiled once, whichever process needs it
    COMPILED = tempfile.TemporaryDirectory(prefix="spiketrain-compiled-")
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": COMPILED.name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

import brainunit as u
import hypothesis
import jax
import pytest

from spiketrain import environ

from runs import write_data

hypothesis.settings.register_profile("core", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("core")

PART = 3  # one of so many slow cases of a test is run where not every one is asked for


def pytest_addoption(parser):
    parser.addoption("--every", action="store_true", help="run every case of the slow tests, and those marked `every`")


def pytest_collection_modifyitems(config, items):
    """Keep one of three cases of each slow test that has several, and none of those marked `every`."""
    if config.getoption("--every"):
        return
    seen, kept, left = {}, [], []
    for item in items:
        nth = 0
        if item.get_closest_marker("slow") and hasattr(item, "callspec"):
            name = item.nodeid.partition("[")[0]
            nth = seen[name] = seen.get(name, -1) + 1
        (left if nth % PART or item.get_closest_marker("every") else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.fixture(scope="module")
def x64():
    """Compute in double precision for a whole module: `pytestmark = pytest.mark.usefixtures("x64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def one_ms():
    """Train with a time step of one millisecond: for a whole module, as `x64` is."""
    with environ.context(dt=1.0 * u.ms):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The small data set, as a file."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    write_data(path)
    return path


@pytest.fixture
def dt():
    """Set the time step to one millisecond, unless the test sets another inside."""
    with environ.context(dt=1.0 * u.ms):
        yield 1.0
