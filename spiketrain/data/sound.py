"""Recordings of sound as events: `.wav` files through `Cochlea`, in the format that every other reader returns."""

import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from spiketrain.data.camera import Trial
from spiketrain.data.events import Events
from spiketrain.data.source import LARGEST, Source
from spiketrain.encoders.mel import Cochlea
from spiketrain.errors import DataError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
PIECE_FRAMES = 32  # lengths are rounded up to so many frames, so that few programs are compiled


def read_wav(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Read a `.wav` file of whole or floating numbers: the mean of its channels in [-1, 1], float32, and the rate in Hz.

    Raises:
        DataError: the file is missing, cut short, or holds something else, naming the byte.
    """
    with Source(path) as source:
        riff = source.read(12, "the header of a RIFF file")
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            raise source.wrong(0, f"expects RIFF....WAVE, got {riff!r}.")
        form = None
        while True:
            name, size = struct.unpack("<4sI", source.read(8, "the header of a chunk, before the sound"))
            if name == b"data":
                break
            content, at = source.read(size + size % 2, "a chunk"), source.at - size - size % 2
            if name == b"fmt ":
                if size < 16:
                    raise source.wrong(at, f"the format has {size} bytes, fewer than 16.")
                form = struct.unpack("<HHIIHH", content[:16])
                form = (int.from_bytes(content[24:26], "little"), *form[1:]) if form[0] == EXTENSIBLE else form
        if form is None:
            raise source.wrong(source.at - 8, "the sound comes before its format.")
        kind, channels, rate, _, _, bits = form
        dtypes = {(PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 32): "<i4", (FLOAT, 32): "<f4", (FLOAT, 64): "<f8"}
        if (kind, bits) not in dtypes or not 1 <= channels <= 64 or not rate:
            raise source.wrong(20, f"{bits} bits of format {kind} on {channels} channels at {rate} Hz are not read.")
        dtype = np.dtype(dtypes[kind, bits])
        if size > LARGEST or size % (channels * dtype.itemsize):
            raise source.wrong(source.at - 4, f"{size} bytes are no whole number of samples.")
        samples = source.array(dtype.str, size // dtype.itemsize, "the sound").reshape(-1, channels)
    x = samples.mean(1, dtype=np.float64)
    if kind == PCM:
        x = (x - 128) / 128 if bits == 8 else x / 2 ** (bits - 1)
    return x.astype(np.float32), rate


def sound_events(
    waveforms: Sequence[Any], labels: Any, cochlea: Cochlea | None = None, *, groups: Any = None, batch: int = 64
) -> Events:
    """Turn recordings into events; a spike falls in the middle of its frame, as do those of the Heidelberg Digits.

    Args:
        waveforms: arrays of one axis, at the rate of `cochlea.bands`.
        labels: (N,), integers.
        cochlea: the transform; `Cochlea()` unless it is given. Its noise differs from recording to recording, and is a
            function of its seed and of the place of a recording.
        groups: (N,), such as the speakers.
        batch: how many recordings are computed at once; the spikes do not depend on it.

    Raises:
        DataError: a recording is empty, or no array of one axis of real numbers.
    """
    cochlea = cochlea or Cochlea()
    sounds = [np.asarray(w) for w in waveforms]
    for i, sound in enumerate(sounds):
        if sound.ndim != 1 or not sound.size or sound.dtype.kind not in "fiu" or not np.isfinite(sound).all():
            raise DataError(
                f"sound_events(waveforms=...): recording {i} must be finite numbers on one axis, "
                f"got {sound.dtype} of shape {sound.shape}."
            )
    trials = _trials(sounds, cochlea, batch)
    return Events.of_trials(trials, labels, (cochlea.bands.bands,), groups=groups)


def _trials(sounds: list[np.ndarray], cochlea: Cochlea, batch: int) -> Iterator[Trial]:
    import jax

    def of(wave: Any, length: Any, place: Any) -> Any:
        """Return the spikes of one recording, whose noise depends on its place among all."""
        mask = np.arange(wave.shape[0])[:, None] < length
        key = jax.random.fold_in(jax.random.key(cochlea.seed), place)
        return cochlea(wave[:, None], mask, key)[0][:, 0]

    of_batch = jax.jit(jax.vmap(of))
    hop, us = cochlea.bands.hop, cochlea.bands.hop / cochlea.bands.rate_hz * 1e6
    for start in range(0, len(sounds), batch):
        part = sounds[start : start + batch]
        longest = max(len(sound) for sound in part)
        waves = np.zeros((batch, -(-longest // (PIECE_FRAMES * hop)) * PIECE_FRAMES * hop), np.float32)
        for row, sound in zip(waves, part, strict=False):
            row[: len(sound)] = sound
        lengths = np.array([len(sound) for sound in part] + [0] * (batch - len(part)))
        spikes = np.asarray(of_batch(waves, lengths, start + np.arange(batch)))
        for train in spikes[: len(part)]:
            step, band = np.nonzero(train)
            yield np.rint((step + 0.5) * us).astype(np.int64), band
