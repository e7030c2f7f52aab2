"""From sound to spikes: mel bands, compressed as the ear does, drive a leaky integrate-and-fire neuron each."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from spiketrain import environ
from spiketrain.encoders.base import Train, require_positive
from spiketrain.errors import DomainError
from spiketrain.neurons.lif import LIF
from spiketrain.reset import HardReset


@dataclass(frozen=True)
class MelBands:
    r"""Turn a waveform x into the compressed energy of mel bands, one frame per hop h.

    $$X_{t,k} = \sum_{n=0}^{w-1} \sin^2\!\left(\frac{\pi n}{w}\right) x_{(t+1)h-w+n} \, e^{-2 \pi i k n / N}, \quad
    E_{t,b} = \sum_k H_{b,k} |X_{t,k}|^2, \quad y_{t,b} = E_{t,b}^{\,\alpha}$$

    Frame t sees the window of w samples that ends where the frame does, with zeros before the start: what comes later
    has no part in it. N is the least power of two that is not below w. The filter $H_b$ is a triangle that rises from
    the edge b to one at the edge b + 1 and falls to the edge b + 2; the edges are equally spaced in
    $m = 2595 \log_{10}(1 + f / 700)$ from `low_hz` to `high_hz`. Computed in the waveform's own precision.

    Args:
        rate_hz: the samples per second.
        bands: the number of bands.
        low_hz: the lower edge of the first band.
        high_hz: the upper edge of the last one; at most half of `rate_hz`.
        window_ms: the length of the window, rounded to samples.
        hop_ms: the length of a frame, rounded to samples.
        exponent: $\alpha$; a third by default, as Stevens' law has it for loudness.

    Raises:
        DomainError: a value is not positive, the edges are not in order, the window is shorter than a hop, or the bands
            are so narrow that one of them holds no frequency: take fewer, or a longer window.

    Reference: Davis and Mermelstein (1980), https://doi.org/10.1109/TASSP.1980.1163420.
    """

    rate_hz: float = 8000.0
    bands: int = 64
    low_hz: float = 60.0
    high_hz: float = 4000.0
    window_ms: float = 25.0
    hop_ms: float = 8.0
    exponent: float = 1 / 3

    def __post_init__(self) -> None:
        values = ("rate_hz", "bands", "low_hz", "window_ms", "hop_ms", "exponent")
        require_positive("MelBands", **{name: getattr(self, name) for name in values})
        if not self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise DomainError(
                f"MelBands(low_hz=..., high_hz=...) needs low_hz < high_hz <= rate_hz / 2, got {self.low_hz}, "
                f"{self.high_hz} and {self.rate_hz / 2}."
            )
        if not 1 <= self.hop <= self.window:
            raise DomainError(
                f"MelBands(window_ms=..., hop_ms=...) needs 1 <= hop <= window in samples, got {self.hop}, {self.window}."
            )
        empty = np.flatnonzero(self.filters.sum(0) == 0)
        if len(empty):
            raise DomainError(
                f"MelBands(bands={self.bands}): band {empty[0]} holds none of the frequencies, which are "
                f"{self.rate_hz / self.n_fft:.1f} Hz apart. Write fewer bands, or a longer window_ms."
            )

    @property
    def window(self) -> int:
        """The window w in samples."""
        return round(self.window_ms * self.rate_hz / 1000)

    @property
    def hop(self) -> int:
        """The hop h in samples."""
        return round(self.hop_ms * self.rate_hz / 1000)

    @property
    def n_fft(self) -> int:
        """The length N of the Fourier transform."""
        return 2 ** math.ceil(math.log2(self.window))

    def frames(self, samples: int) -> int:
        """Return the number of frames of so many samples; the last one may be filled up with zeros."""
        return -(-samples // self.hop)

    @cached_property
    def filters(self) -> np.ndarray:
        """The triangles, `(N / 2 + 1, bands)`, in float64."""
        low, high = (2595 * np.log10(1 + f / 700) for f in (self.low_hz, self.high_hz))
        edges = 700 * (10 ** (np.linspace(low, high, self.bands + 2) / 2595) - 1)
        f = np.arange(self.n_fft // 2 + 1)[:, None] * self.rate_hz / self.n_fft
        rise, fall = (f - edges[:-2]) / np.diff(edges[:-1]), (edges[2:] - f) / np.diff(edges[1:])
        return np.maximum(np.minimum(rise, fall), 0)

    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Return the bands, `(frames, *batch, bands)`, of a waveform, `(samples, *batch)`."""
        x = jnp.moveaxis(waveform, 0, -1)
        n = self.frames(x.shape[-1])
        before, after = self.window - self.hop, n * self.hop - x.shape[-1]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])
        x = x[..., jnp.arange(n)[:, None] * self.hop + jnp.arange(self.window)]
        hann = jnp.sin(jnp.pi * jnp.arange(self.window) / self.window).astype(x.dtype) ** 2
        power = jnp.abs(jnp.fft.rfft(x * hann, self.n_fft)) ** 2
        energy = jnp.matmul(power, self.filters.astype(x.dtype), precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(energy**self.exponent, -2, 0)


@dataclass(frozen=True)
class Cochlea:
    r"""Turn sound into spikes: every mel band drives a leaky integrate-and-fire neuron that is reset to zero.

    $$V_{t,b} = e^{-h/\tau} V_{t-1,b} + g \, \frac{y_{t,b}}{\max_{t,b} y} + \sigma \xi_{t,b}, \qquad V \geq 1
    \;\Rightarrow\; \text{a spike, and } V = 0$$

    y are the `MelBands`, of which the loudest of a recording counts as one, so that spikes do not depend on how loud
    the recording is: it is read as a whole before the first spike. A silent recording has no spikes unless there is
    noise. A step of the train is a hop of the bands, whatever the time step of the environment.

    Args:
        bands: the filters.
        tau_ms: $\tau$, the time constant of the membranes; 75.9 ms leave nine tenths of V after a hop of 8 ms.
        gain: $g$, the current of the loudest band at the loudest time.
        noise: $\sigma$, the standard deviation of Gaussian noise $\xi$ on every band and step.
        seed: the seed of the noise, used where no key is given.

    Raises:
        DomainError: `tau_ms <= 0`, `gain <= 0` or `noise < 0`.

    Reference: the cochlea and the hair cells of Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364, have
        more of the ear's physiology; this is the short path from mel bands to spikes.
    """

    bands: MelBands = field(default_factory=MelBands)
    tau_ms: float = 75.9
    gain: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive("Cochlea", tau_ms=self.tau_ms, gain=self.gain)
        if self.noise < 0:
            raise DomainError(f"Cochlea(noise=...) must not be negative, got {self.noise}.")

    def __call__(self, waveform: jax.Array, mask: jax.Array | None = None, key: jax.Array | None = None) -> Train:
        """Return the train, `(frames, B, bands)`, and its mask, `(frames, B)`.

        Args:
            waveform: `(samples, B)`; samples that are no part of a recording are taken as zero.
            mask: `(samples, B)`, true at the samples of each recording; all of them unless it is given.
            key: drives the noise; that of `seed` unless it is given.
        """
        mask = jnp.ones(waveform.shape, bool) if mask is None else mask
        y = self.bands(jnp.where(mask, waveform, 0))
        held = mask[:: self.bands.hop]
        y = jnp.where(held[..., None], y, 0)
        loudest = y.max((0, 2), keepdims=True)
        current = self.gain * y / jnp.where(loudest > 0, loudest, 1)
        if self.noise:
            key = jax.random.key(self.seed) if key is None else key
            current = current + self.noise * jax.random.normal(key, current.shape, current.dtype)
        current = jnp.where(held[..., None], current, 0)
        decay = math.exp(-self.bands.hop_ms / self.tau_ms)
        with environ.context(dt=self.bands.hop_ms * u.ms):
            hair_cells = LIF(self.bands.bands, R=1 / (1 - decay), tau=self.tau_ms, reset=HardReset())
            spikes = hair_cells(current)
        return jnp.where(held[..., None], spikes, 0), held
