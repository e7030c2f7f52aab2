"""What a console command sets up before JAX starts: the allocator, one device per core, the cache of compiled programs.

All act through the environment, so the jobs of a sweep inherit them. A program that imports spiketrain is left alone.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spiketrain.cli.common import run
from spiketrain.errors import ConfigError

# Freed memory stays with the process, in huge pages: a training step asks for the same arrays again and again.
TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 10**11, "top_pad": 10**9}.items()
)
# XLA ends a process whose cores wait longer for each other, 40 s unless it is told: too little on a crowded machine.
PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=900"
CACHE_BYTES = 2 * 1024**3
GIVEN = dict(os.environ)
"""The environment as the user gave it, before this process set up its own."""


def start(main: Callable[[], Any]) -> None:
    """Set up this process, then run `main` in it.

    The allocator is read when a process begins, so the process begins again, under the same id, before it has done
    anything: packages are imported once, and standard input is still whole.
    """
    if code := run(_prepare):
        sys.exit(code)
    main()


def _prepare() -> None:
    if wants_tunables(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"GLIBC_TUNABLES": TUNABLES})
    if wants_devices(os.environ):
        os.environ["JAX_NUM_CPU_DEVICES"] = str(cores())
    if computes_on_cpu(os.environ) and PATIENCE.partition("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {PATIENCE}".strip()
    use_cache()


def wants_tunables(environment: Mapping[str, str]) -> bool:
    """Return whether a process with this environment should begin again with glibc's allocator tuned.

    That is where XLA computes on the CPU, on Linux with glibc, unless the user chose: `SPIKETRAIN_ALLOCATOR=default`,
    or tunables of their own.

    Raises:
        ConfigError: `SPIKETRAIN_ALLOCATOR` is neither `tuned` nor `default`.
    """
    allocator = environment.get("SPIKETRAIN_ALLOCATOR") or "tuned"
    if allocator not in ("tuned", "default"):
        raise ConfigError(f"SPIKETRAIN_ALLOCATOR={allocator} is no choice. Write `tuned` or `default`.")
    free = allocator == "tuned" and "GLIBC_TUNABLES" not in environment and "jax" not in sys.modules
    return free and _has_glibc() and computes_on_cpu(environment) and bool(sys.executable)


def wants_devices(environment: Mapping[str, str]) -> bool:
    """Return whether a process with this environment should see every core of its CPU as a device of its own.

    A loop over time runs on one core; as two devices, two cores run it for half of the batch each. It is so where XLA
    computes on the CPU, unless the user chose: `JAX_NUM_CPU_DEVICES=1`, or JAX's flag of the same meaning.
    """
    chosen = "JAX_NUM_CPU_DEVICES" in environment or "host_platform_device_count" in environment.get("XLA_FLAGS", "")
    return not chosen and computes_on_cpu(environment)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # neither Windows nor musl nor macOS knows the name
        return False


def computes_on_cpu(environment: Mapping[str, str]) -> bool:
    """Return whether JAX's first choice is the CPU, judged by what is installed, for JAX itself is not asked yet."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def use_cache() -> None:
    """Let JAX keep compiled programs from one run to the next, small ones too: a run has dozens.

    The folder is that of `SPIKETRAIN_CACHE`, or `spiketrain/jax` in the user's cache directory. What cannot be kept is
    compiled again and said once. `SPIKETRAIN_CACHE=off` or a `JAX_COMPILATION_CACHE_DIR` leaves everything to JAX.
    """
    chosen = os.environ.get("SPIKETRAIN_CACHE")
    if chosen == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = (Path(chosen).expanduser() if chosen else _cache_directory() / "spiketrain" / "jax").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # a folder that is read-only or full fails here
            file.write(bytes(1 << 16))
        remove_oldest(folder, CACHE_BYTES)
    except (OSError, RuntimeError) as error:
        _say(f"Compiled programs are not kept: {error}.")
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    _say_failures_once()


def _cache_directory() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"  # the standard ignores a relative path


def remove_oldest(folder: Path, limit: int) -> None:
    """Remove the programs that were not used for longest, until those in `folder` fit into `limit` bytes."""
    entries = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another run removes too
            seen = path.stat()
            entries.append((max(seen.st_atime, seen.st_mtime), seen.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def _say_failures_once() -> None:
    """Show the first of JAX's warnings about its cache, and no other: each program would have its own."""
    show = warnings.showwarning
    said: list[str] = []

    def showwarning(message: Any, *where: Any, **more: Any) -> None:
        if "persistent compilation cache" not in str(message):
            show(message, *where, **more)
        elif not said:
            said.append(str(message))
            folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
            _say(f"{message}. It is compiled again. If this stays so, remove {folder}.")

    warnings.showwarning = showwarning


def _say(message: str) -> None:
    print(f"WARNING: {message} SPIKETRAIN_CACHE=FOLDER keeps them elsewhere, off keeps none.", file=sys.stderr)
