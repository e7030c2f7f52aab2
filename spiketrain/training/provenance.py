"""What produced a checkpoint: versions, hardware, git revisions, date."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("spiketrain", "jax", "jaxlib", "flax", "optax", "brainunit", "orbax-checkpoint", "numpy")


def provenance() -> dict[str, Any]:
    """Return versions, devices, the git revision of spiketrain and of the working directory, and the time."""
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "devices": [device.device_kind for device in jax.devices()],
        "git": {
            "spiketrain": git_revision(Path(__file__).parent, tracked=True),
            "working_directory": git_revision(Path.cwd()),
        },
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def cpu() -> str:
    """Return the processor's name and how many cores this process may use."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def git_revision(folder: Path, *, tracked: bool = False) -> str | None:
    """Return the commit checked out in `folder`, with `+changes` where tracked files differ, or None.

    With `tracked` the folder must be part of the repository: an environment within somebody's project is not.
    """
    try:
        if tracked:
            _git(folder, "ls-files", "--error-unmatch", ".")
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
