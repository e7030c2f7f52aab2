"""Japanese Vowels: tell nine speakers apart by one utterance of /ae/. The data are part of the package."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from spiketrain.data.dataset import Dataset, Split
from spiketrain.errors import DataError

VENDORED = Path(__file__).parent / "files" / "japanese_vowels.npz"
N_BYTES = 241264
SHA256 = "83ec21c94aaa8c99f0baac9daf43d9b6c4a1649a849aabfaba78588ff5f91361"


def load_vowels(path: str | os.PathLike | None = None, standardize: bool = True, differences: bool = False) -> Dataset:
    """Load 270 training and 370 test utterances: 12 cepstrum coefficients at 7 to 29 frames, 6.4 ms apart.

    Args:
        path: a copy of the vendored file; the one inside the package unless it is given.
        standardize: whether to shift and scale each channel to mean 0 and variance 1 over the valid frames of
            the training set. Computed in float64; padding stays zero.
        differences: whether to append, as 12 further channels, the change of each coefficient since the frame
            before; zero in the first frame.

    Raises:
        DataError: the file is missing, or differs from the one that `scripts/build_vowels.py` writes.

    Reference: Kudo et al. (1999), Pattern Recognition Letters 20, 1103-1111, https://doi.org/10.24432/C5NS47.
        Licence and changes: `files/LICENSE.md`.
    """
    with np.load(io.BytesIO(_read(VENDORED if path is None else Path(path)))) as arrays:
        frames = arrays["values"].astype(np.float64)
        lengths, y, n_train = arrays["lengths"].astype(np.int32), arrays["labels"], int(arrays["train"])

    if differences:
        change = np.diff(frames, axis=0, prepend=frames[:1])
        change[np.cumsum(lengths)[:-1]] = 0
        frames = np.concatenate([frames, change], axis=1)
    if standardize:
        train_frames = frames[: lengths[:n_train].sum()]
        frames = (frames - train_frames.mean(axis=0)) / train_frames.std(axis=0)

    x = np.zeros((len(lengths), lengths.max(), frames.shape[1]))
    x[np.arange(x.shape[1]) < lengths[:, None]] = frames
    train = Split(x[:n_train], lengths[:n_train], y[:n_train])
    test = Split(x[n_train:], lengths[n_train:], y[n_train:])
    return Dataset("japanese_vowels", train, test, tuple(f"speaker {i}" for i in range(1, 10)))


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    else:
        # One checksum refuses every damage before a byte is parsed.
        if hashlib.sha256(content).hexdigest() == SHA256:
            return content
        if not content:
            problem = "is empty"
        elif len(content) < N_BYTES:
            problem = f"has {len(content)} bytes instead of {N_BYTES}: it is cut short, or another file"
        else:
            problem = f"is damaged, or another file: its sha256 is not {SHA256[:12]}..."
    raise DataError(
        f"The Japanese Vowels file {path} {problem}. "
        "Run `python scripts/build_vowels.py` in a checkout, or reinstall spiketrain."
    )
