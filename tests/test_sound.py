"""From sound to spikes: against plain numpy in float64, causal, and the same however recordings are batched."""

import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spiketrain as st
from spiketrain.data.sound import read_wav, sound_events
from spiketrain.errors import DataError, DomainError

RATE = 4000
BANDS = st.MelBands(rate_hz=RATE, bands=12, low_hz=100, high_hz=1900, window_ms=32, hop_ms=10)


def tones(seconds=0.5, batch=2, seed=0):
    """Return tones that rise and fade, `(samples, batch)`."""
    t = np.arange(int(seconds * RATE))[:, None] / RATE
    low = np.random.default_rng(seed).uniform(200, 900, batch)
    return (np.sin(2 * np.pi * (low + 500 * t) * t) * np.exp(-4 * t)).astype(np.float32)


def bands_in_float64(x, bands):
    """Return the compressed energies of one waveform, sum by sum."""
    w, h, n_fft = bands.window, bands.hop, bands.n_fft
    x = np.concatenate([np.zeros(w - h), np.asarray(x, np.float64), np.zeros(-len(x) % h)])
    to_mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    mels = to_mel(bands.low_hz) + np.arange(bands.bands + 2) / (bands.bands + 1) * (
        to_mel(bands.high_hz) - to_mel(bands.low_hz)
    )
    edges = 700 * (10 ** (mels / 2595) - 1)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(w) / w)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(w)) / n_fft)
    y = []
    for start in range(0, len(x) - w + 1, h):
        power = np.abs(waves @ (x[start : start + w] * hann)) ** 2
        energies = []
        for low, mid, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
            total = 0.0
            for k, p in enumerate(power):
                f = k * bands.rate_hz / n_fft
                if low <= f <= mid:
                    total += p * (f - low) / (mid - low)
                elif mid < f <= high:
                    total += p * (high - f) / (high - mid)
            energies.append(total)
        y.append(np.array(energies) ** bands.exponent)
    return np.array(y)


def test_mel_bands_are_those_of_float64_sums():
    x = tones()
    y = BANDS(x)
    assert y.shape == (BANDS.frames(len(x)), 2, 12) == (50, 2, 12)
    for b in range(2):
        reference = bands_in_float64(x[:, b], BANDS)
        assert reference.max() > 1
        np.testing.assert_allclose(y[:, b], reference, rtol=2e-4, atol=1e-3)


def test_a_tone_is_loudest_in_the_band_that_holds_it():
    edges = BANDS.filters.argmax(0) * RATE / BANDS.n_fft
    for band in (3, 6, 10):
        x = np.sin(2 * np.pi * edges[band] * np.arange(RATE // 4) / RATE).astype(np.float32)
        assert BANDS(x)[10:].sum(0).argmax() == band


def test_a_frame_sees_nothing_of_what_comes_after_it():
    x = tones()
    other = x.copy()
    other[800:] = -1
    same, changed = BANDS(x), BANDS(other)
    np.testing.assert_array_equal(same[:20], changed[:20])
    assert (same[20] != changed[20]).any()


def cochlea_in_float64(x, cochlea):
    y = bands_in_float64(x, cochlea.bands)
    current = cochlea.gain * y / y.max()
    V, spikes, margin = np.zeros(y.shape[1]), [], np.inf
    for I in current:
        V = np.exp(-cochlea.bands.hop_ms / cochlea.tau_ms) * V + I
        margin = min(margin, np.abs(V - 1).min())
        spikes.append(V >= 1)
        V = np.where(V >= 1, 0, V)
    return np.array(spikes), margin


def test_spikes_are_those_of_a_loop_in_float64():
    cochlea, x = st.Cochlea(BANDS, tau_ms=60, gain=0.8), tones()
    train, mask = jax.jit(cochlea)(x)
    assert train.shape == (50, 2, 12) and mask.all()
    for b in range(2):
        spikes, margin = cochlea_in_float64(x[:, b], cochlea)
        assert margin > 1e-5, "a membrane is too close to threshold to compare"
        np.testing.assert_array_equal(train[:, b], spikes)
        assert 20 < spikes.sum() < 400


def test_loudness_of_the_recording_and_padding_do_not_matter():
    cochlea, x = st.Cochlea(BANDS), tones()
    train, _ = cochlea(x)
    np.testing.assert_array_equal(cochlea(4 * x)[0], train)
    assert train.sum() > 50
    mask = np.arange(len(x))[:, None] < np.array([len(x), 801])
    dirty = np.where(mask, x, np.nan)
    padded, held = cochlea(dirty, mask)
    np.testing.assert_array_equal(padded[:, 0], train[:, 0])
    assert held.sum(0).tolist() == [50, 21] and not padded[21:, 1].any() and padded[:, 1].any()
    assert not cochlea(np.zeros((400, 1), np.float32))[0].any()


def test_noise_is_a_function_of_the_seed():
    x = tones()
    once, again, other = (st.Cochlea(BANDS, noise=0.2, seed=seed)(x)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any() and once.sum() > 50
    np.testing.assert_array_equal(st.Cochlea(BANDS, noise=0.2)(x, key=jax.random.key(2))[0], other)


def test_recordings_become_the_same_events_however_they_are_batched():
    sounds = [tones(seconds, 1, seed)[:, 0] for seed, seconds in enumerate((0.5, 0.3, 0.4))]
    cochlea = st.Cochlea(BANDS, noise=0.1)
    events = sound_events(sounds, [2, 0, 1], cochlea, groups=[5, 5, 6], batch=3)
    alone = sound_events(sounds, [2, 0, 1], cochlea, groups=[5, 5, 6], batch=2)
    for name in ("times", "units", "offsets", "labels", "groups"):
        np.testing.assert_array_equal(getattr(events, name), getattr(alone, name))
    assert events.size == (12,) and events.counts.min() > 10 and set(events.times % 10_000) == {5_000}
    quiet = st.Cochlea(BANDS)
    events = sound_events(sounds[:1], [0], quiet, batch=2)
    train = np.asarray(quiet(jnp.asarray(sounds[0])[:, None])[0][:, 0])
    step, band = np.nonzero(train)
    np.testing.assert_array_equal(events.times, step * 10_000 + 5_000)
    np.testing.assert_array_equal(events.units, band)
    with pytest.raises(DataError, match="recording 1 must be finite numbers on one axis, got float64 of shape"):
        sound_events([sounds[0], np.zeros((2, 2))], [0, 1], quiet)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"low_hz": 3000}, "low_hz < high_hz <= rate_hz / 2, got 3000, 1900"),
        ({"high_hz": 2001}, "rate_hz / 2"),
        ({"hop_ms": 40}, "1 <= hop <= window in samples, got 160, 128"),
        ({"bands": 200}, "holds none of the frequencies, which are 31.2 Hz apart"),
        ({"exponent": 0}, "MelBands(exponent=...) must be positive"),
    ],
)
def test_bands_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(DomainError) as caught:
        st.MelBands(**({"rate_hz": RATE, "bands": 12, "low_hz": 100, "high_hz": 1900, "window_ms": 32} | arguments))
    assert message in str(caught.value)
    with pytest.raises(DomainError, match="noise"):
        st.Cochlea(noise=-1)


def wav_bytes(samples, kind, bits, rate=RATE):
    """Return samples, `(n, channels)`, as a `.wav` file with a chunk that nobody asked for."""
    dtype = {(1, 8): "u1", (1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}[kind, bits]
    data, channels = samples.astype(dtype).tobytes(), samples.shape[1]
    width = channels * bits // 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * width, width, bits)
    content = (
        b"WAVE" + form + struct.pack("<4sI", b"LIST", 3) + b"abc\0" + struct.pack("<4sI", b"data", len(data)) + data
    )
    return struct.pack("<4sI", b"RIFF", len(content)) + content


@pytest.mark.parametrize(
    "kind, bits, scale, zero", [(1, 8, 128, 128), (1, 16, 2**15, 0), (1, 32, 2**31, 0), (3, 32, 1, 0), (3, 64, 1, 0)]
)
def test_sound_of_any_width_is_read(tmp_path, kind, bits, scale, zero):
    x = np.random.default_rng(0).uniform(-1, 0.9, (9, 2))
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(x * scale + zero, kind, bits))
    read, rate = read_wav(path)
    assert rate == RATE and read.dtype == np.float32
    np.testing.assert_allclose(read, x.mean(1), atol=1.01 / scale if kind == 1 else 1e-6)


def test_a_wav_cut_or_damaged_is_one_error(tmp_path):
    whole, path = wav_bytes(np.zeros((5, 1)), 1, 16), tmp_path / "a.wav"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match=r"a.wav ends at byte \d+"):
            read_wav(path)
    for content, message in (
        (b"RIFX" + whole[4:], "byte 0: expects RIFF"),
        (whole[:20] + b"\x07" + whole[21:], "byte 20: 16 bits of format 7"),
        (whole[:12] + whole[36:], "the sound comes before its format"),
        (whole[:52] + struct.pack("<I", 9) + whole[56:], "byte 52: 9 bytes are no whole number of samples"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_wav(path)
