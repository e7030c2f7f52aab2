"""A sine wave."""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import numpy as np

from spiketrain.errors import DomainError
from spiketrain.generators.waveform import Windowed
from spiketrain.units import Constant, expect_unit, has_unit, magnitude, show


@dataclass(frozen=True, init=False)
class Sine(Windowed):
    r"""Oscillate: $x(t) = A \sin(2 \pi f \, (t - t_{start}) + \varphi)$ for $t_{start} \le t < t_{stop}$, zero elsewhere.

    Around another mean than zero it is a sum: `Sine(2.0 * u.Hz, 8.0 * u.Hz) + Step(5.0 * u.Hz)`.

    Args:
        amplitude: A, a number or `Quantity`.
        frequency: f; a bare number counts in Hz.
        phase: $\varphi$ in radians.
        start: when it begins; a bare number counts in ms.
        stop: when it ends; never unless it is given.

    Input and output: times of any shape in, values of that shape out. `Windowed` says how edges meet the steps.

    Raises:
        DomainError: the frequency is not positive, or `start` does not lie before `stop`.
        UnitError: `frequency` is no frequency, or `start` or `stop` is no time.
    """

    amplitude: float
    frequency_hz: float
    phase: float

    def __init__(self, amplitude: Any, frequency: Any, *, phase: float = 0.0, start: Any = 0.0, stop: Any = None):
        constant = Constant.of(amplitude)
        super().__init__(constant.unit, start, stop)
        if has_unit(frequency):
            expect_unit("Sine", "frequency", frequency, u.Hz)
        hertz = float(magnitude(frequency, u.Hz))
        if not 0 < hertz < np.inf:
            raise DomainError(f"Sine(frequency=...) must be positive, got {show(frequency)}.")
        for name, value in {"amplitude": constant.magnitude, "frequency_hz": hertz, "phase": float(phase)}.items():
            object.__setattr__(self, name, value)

    def inside(self, s: Any, xp: Any) -> Any:
        """Return the point of the wave."""
        return self.amplitude * xp.sin(2 * np.pi * self.frequency_hz * s + self.phase)
