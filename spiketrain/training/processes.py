"""Several processes that train one model: how they find each other, and what they have to agree on.

Each runs the same program on its own devices. The first one writes; everything that decides what is computed next is
the same in all of them.
"""

import os
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from spiketrain.errors import ConfigError

HEARTBEAT_S = 30  # after which the others end, where a process is gone without its connections being closed
SHUTDOWN_S = 10
LONGEST_PATH = 4096


def join() -> None:
    """Join the other processes of the run.

    They are found through Slurm, Open MPI, Kubernetes or a TPU's host, or through `JAX_COORDINATOR_ADDRESS` (host:port of
    the first process), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Raises:
        ConfigError: neither says who takes part.
    """
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from the trainer
    try:
        count, own = (int(os.environ[name]) if name in os.environ else None for name in names)
        jax.distributed.initialize(
            num_processes=count,
            process_id=own,
            heartbeat_timeout_seconds=HEARTBEAT_S,
            shutdown_timeout_seconds=SHUTDOWN_S,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"distributed=true finds no other process ({error}). Start it with srun or mpirun, or set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID."
        ) from error


def is_first() -> bool:
    """Return whether this process writes."""
    return jax.process_index() == 0


def any_of(number: int) -> int:
    """Return the largest of the numbers that the processes have."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def of_first(number: int) -> int:
    """Return the number that the first process has."""
    return number if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def agreed(path: Path | None) -> Path:
    """Return the path that the first process has; the others wait for it, and give None."""
    if jax.process_count() == 1:
        assert path is not None
        return path
    text = np.zeros(LONGEST_PATH, np.uint8)
    if path is not None:
        encoded = os.fsencode(path)
        text[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    seen = bytes(np.asarray(multihost_utils.broadcast_one_to_all(text)))
    return Path(os.fsdecode(seen.rstrip(b"\0")))


def wait_for_all(name: str) -> None:
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
