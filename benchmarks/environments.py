"""A virtual environment for spiketrain and one for every peer, since their requirements clash."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".benchmarks"

REQUIREMENTS = {
    "spiketrain": ["--editable", str(ROOT)],
    "brainpy": ["brainpy[cpu]==2.8.2", "braintools==0.3.0", "numba>=0.61"],
    "brian2": ["brian2==2.9.0", "cython>=3", "numpy<2", "setuptools"],  # 2.9.0 reads an attribute that numpy 2 lost
}


def python_of(name: str) -> Path:
    """Return the interpreter of an environment."""
    return FOLDER / name / "bin" / "python"


def make(names: list[str]) -> None:
    """Make what is missing."""
    for name in names:
        done = FOLDER / name / "installed"
        if not done.exists():
            print(f"making the environment of {name}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(FOLDER / name)], check=True)
            install = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, *REQUIREMENTS[name]], check=True)
            done.touch()
