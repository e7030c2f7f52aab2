"""A straight line."""

from dataclasses import dataclass
from typing import Any

from spiketrain.errors import UnitError
from spiketrain.generators.waveform import Windowed
from spiketrain.units import Constant, magnitude, same_dimension, show, unit_of


@dataclass(frozen=True, init=False)
class Ramp(Windowed):
    r"""Go from one value to another in a straight line.

    $$x(t) = x_0 + (x_1 - x_0) \frac{t - t_{start}}{t_{stop} - t_{start}} \qquad t_{start} \le t < t_{stop}$$

    and zero elsewhere. `Ramp(a, b, stop=t) + Step(b, start=t)` stays at the second value.

    Args:
        first: $x_0$, a number or `Quantity`.
        last: $x_1$, in the dimension of the first.
        start: when it begins; a bare number counts in ms.
        stop: when it ends.

    Input and output: times of any shape in, values of that shape out. `Windowed` says how edges meet the steps.

    Raises:
        DomainError: `start` does not lie before `stop`.
        UnitError: `first` and `last` do not share a unit, or `start` or `stop` is no time.
    """

    first: float
    last: float

    def __init__(self, first: Any, last: Any, *, start: Any = 0.0, stop: Any):
        unit = unit_of(first)
        if not same_dimension(unit, unit_of(last)):
            raise UnitError(f"Ramp(first, last) must share a unit, got {show(first)} and {show(last)}.")
        super().__init__(unit, start, stop)
        object.__setattr__(self, "first", Constant.of(first).magnitude)
        object.__setattr__(self, "last", float(magnitude(last, unit)))

    def inside(self, s: Any, xp: Any) -> Any:
        """Return the point of the line."""
        return self.first + (self.last - self.first) * s / (self.stop_s - self.start_s)
