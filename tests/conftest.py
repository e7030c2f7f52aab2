"""Fixtures that the whole suite shares. Tests run on the CPU, with warnings as errors (see pyproject.toml)."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import brainunit as u
import hypothesis
import jax
import pytest

from spiketrain import environ

hypothesis.settings.register_profile("core", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("core")


@pytest.fixture(scope="module")
def x64():
    """Compute in double precision for a whole module: `pytestmark = pytest.mark.usefixtures("x64")`."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def dt():
    """Set the time step to one millisecond, unless the test sets another inside."""
    with environ.context(dt=1.0 * u.ms):
        yield 1.0
