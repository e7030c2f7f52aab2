"""A step, or a pulse."""

from dataclasses import dataclass
from typing import Any

from spiketrain.generators.waveform import Windowed
from spiketrain.units import Constant


@dataclass(frozen=True, init=False)
class Step(Windowed):
    r"""Hold a value from `start` until `stop`: $x(t) = x_0$ for $t_{start} \le t < t_{stop}$, zero elsewhere.

    `Step(0.3 * u.nA)` is a constant, `Step(0.3 * u.nA, start=20.0 * u.ms, stop=30.0 * u.ms)` a pulse, and a staircase
    is a sum.

    Args:
        value: $x_0$, a number or `Quantity`.
        start: when it begins; a bare number counts in ms.
        stop: when it ends; never unless it is given.

    Input and output: times of any shape in, values of that shape out. `Windowed` says how edges meet the steps.

    Raises:
        DomainError: `start` does not lie before `stop`.
        UnitError: `start` or `stop` is no time.
    """

    value: float

    def __init__(self, value: Any, *, start: Any = 0.0, stop: Any = None):
        constant = Constant.of(value)
        super().__init__(constant.unit, start, stop)
        object.__setattr__(self, "value", constant.magnitude)

    def inside(self, s: Any, xp: Any) -> Any:
        """Return the value."""
        return self.value
