"""A virtual environment for spiketrain and one for every peer, since their requirements clash."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".benchmarks"

JAX, TORCH = ["jax==0.10.2", "optax==0.2.8", "numpy==2.4.6"], ["torch==2.13.0", "numpy==2.4.6"]
REQUIREMENTS = {
    "spiketrain": [["--editable", str(ROOT)]],
    "spyx": [["spyx==1.0.0", "flax==0.12.8", *JAX]],
    "jaxpike": [["jaxpike==0.1.4", "equinox==0.13.8", *JAX]],
    "sparx": [["sparxml==0.1.1", "jax==0.11.2", "flax==0.12.12", "optax==0.2.8", "numpy==2.5.5"]],
    "brainpy": [["brainpy[cpu]==2.9.0", "brainstate==0.6.0", "jax==0.12.0.1", "numpy==2.5.5", "numba>=0.61"]],
    "snntorch": [["snntorch==1.0.0", *TORCH]],
    # Without their dependencies: these ask for builds of torchvision and torchaudio that ask for another torch.
    "norse": [
        [*TORCH, "nir==1.0.8", "nirtorch==2.6", "pillow"],
        ["--no-deps", "torchvision==0.28.0"],
        ["--no-deps", "norse==1.1.0"],
    ],
    "spikingjelly": [
        [*TORCH, "scipy", "loguru<1", "tqdm", "matplotlib", "h5py", "packaging", "requests", "tensorboard"],
        ["--no-deps", "spikingjelly==2.0.0"],
    ],
    # 2.9.0 of brian2 reads an attribute that numpy 2 lost.
    "brian2": [["brian2==2.9.0", "cython>=3", "numpy<2", "setuptools"]],
}
NEEDS_PYTHON = {"sparx": (3, 12), "brainpy": (3, 12)}


def python_of(name: str) -> Path:
    """Return the interpreter of an environment."""
    return FOLDER / name / "bin" / "python"


def make(names: list[str]) -> dict[str, str]:
    """Make what is missing, and return why for each that cannot be made."""
    reasons = {}
    for name in names:
        done = FOLDER / name / "installed"
        if done.exists():
            continue
        python = interpreter(NEEDS_PYTHON.get(name, (3, 11)))
        if python is None:
            reasons[name] = "needs Python {}.{}".format(*NEEDS_PYTHON[name])
            continue
        print(f"making the environment of {name}", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(FOLDER / name)], check=True)
        install = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if any(subprocess.run([*install, *packages]).returncode for packages in REQUIREMENTS[name]):
            reasons[name] = "pip could not install it"
        else:
            done.touch()
    return reasons


def interpreter(least: tuple[int, int]) -> str | None:
    """Return this Python where it is new enough, else one that is, from the path or from pyenv."""
    if sys.version_info[:2] >= least:
        return sys.executable
    name = "python{}.{}".format(*least)
    by_pyenv = sorted(Path.home().glob(f".pyenv/versions/{least[0]}.{least[1]}.*/bin/python"))
    found = [*map(str, by_pyenv), *filter(None, [shutil.which(name)])]
    return next((path for path in found if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0), None)
