"""The GABA-A receptor."""

from typing import Any

from flax import nnx

from spiketrain.synapses.ampa import AMPA
from spiketrain.typing import Size


class GABAa(AMPA):
    r"""GABA-A receptors: the kinetics of `AMPA` with their own rates.

    $$\frac{dg}{dt} = \alpha \, [T] \, (1 - g) - \beta \, g$$

    It inhibits by its reversal potential, as in `out=COBA(E=-80.0 * u.mV)`. Exact for any dt, also where a pulse of
    transmitter ends within a step.

    Args:
        size: the number of presynaptic neurons, or their shape.
        alpha: the rate of binding; a bare number counts in 1 / (ms mM).
        beta: the rate of unbinding; a bare number counts in 1 / ms.
        T: the concentration of transmitter in a pulse; a bare number counts in mM.
        T_dur: the duration of a pulse; a bare number counts in ms.
        rngs: needed where an argument is an initialiser.

    Input and output: spikes in, g out, from 0 to 1 and without a unit; the comm behind it has the conductance.

    Raises:
        DomainError: an argument is not positive.

    Reference: Destexhe and Pare (1999), https://doi.org/10.1152/jn.1999.81.4.1531.
    """

    def __init__(
        self,
        size: Size,
        *,
        alpha: Any = 0.53,
        beta: Any = 0.18,
        T: Any = 1.0,
        T_dur: Any = 1.0,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(size, alpha=alpha, beta=beta, T=T, T_dur=T_dur, rngs=rngs)
