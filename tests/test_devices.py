"""Several devices train like one: the tests of `many_devices.py`, in a process with eight."""

import subprocess
import sys
from pathlib import Path

from runs import environment

FILE = Path(__file__).parent / "many_devices.py"


def test_on_eight_devices():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(FILE)],
        env=environment(JAX_NUM_CPU_DEVICES="8"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "failed" not in done.stdout
