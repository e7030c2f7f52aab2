"""Spike-timing-dependent plasticity by pairs of spikes."""

from typing import Any

import brainunit as u

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay
from spiketrain.parameter import Parameter
from spiketrain.projections.comm.base import Comm
from spiketrain.projections.plasticity.base import Plastic
from spiketrain.projections.plasticity.bounds import WeightBounds
from spiketrain.state import ShortTermState


class STDP(Plastic):
    r"""Potentiate a synapse whose presynaptic spike comes first, depress it where it comes second.

    $$\frac{dx}{dt} = -\frac{x}{\tau_+} + \sum_{pre} \delta(t - t_{pre}) \qquad
    \frac{dy}{dt} = -\frac{y}{\tau_-} + \sum_{post} \delta(t - t_{post})$$

    $$\Delta = A_+ \, x \text{ at a postsynaptic spike}, \qquad \Delta = -A_- \, y \text{ at a presynaptic spike}$$

    in fractions of the range of the weights, which `bounds` turns into a change of w. So one pair at a distance s
    counts $A_+ e^{-s/\tau_+}$ or $-A_- e^{-s/\tau_-}$, and every presynaptic spike pairs with every postsynaptic one.
    Exact for spikes on the grid of time steps; `Plastic` says in which order a step goes, and what a batch does.

    Args:
        comm: where spikes go and the initial weights, such as `FixedProb(800, 800, 0.02, 0.5 * u.nS, seed=0)`;
            `Dense`, `OneToOne` or sparse, not trained.
        tau_plus: the time constant of potentiation, that of x; a bare number counts in ms.
        tau_minus: the time constant of depression, that of y; a bare number counts in ms.
        A_plus: how much a pair potentiates at most, as a fraction of the range of the weights.
        A_minus: how much a pair depresses at most, likewise; a positive number.
        bounds: where the weights may lie and how changes depend on them, such as
            `WeightBounds(0.0 * u.nS, 1.0 * u.nS)`.

    Input and output: spikes `(..., pre)` and `(..., post)` in, what arrives `(..., post)` out, in the unit of the
    weights.

    Raises:
        DomainError: a time constant is not positive, the weights are trained or start outside the bounds.
        ShapeError: comm does not have one weight per connection.
        UnitError: the bounds do not have the dimension of the weights.

    Reference: Song, Miller and Abbott (2000), https://doi.org/10.1038/78829; in terms of traces, Morrison, Diesmann
    and Gerstner (2008), https://doi.org/10.1007/s00422-008-0233-1.
    """

    tau_plus = Parameter(u.ms, POSITIVE)
    tau_minus = Parameter(u.ms, POSITIVE)
    A_plus = Parameter(u.UNITLESS)
    A_minus = Parameter(u.UNITLESS)
    x: ShortTermState
    y: ShortTermState

    def __init__(
        self,
        comm: Comm,
        *,
        tau_plus: Any = 20.0,
        tau_minus: Any = 20.0,
        A_plus: Any = 0.005,
        A_minus: Any = 0.00525,
        bounds: WeightBounds,
    ):
        super().__init__(comm, bounds=bounds, tau_plus=tau_plus, tau_minus=tau_minus, A_plus=A_plus, A_minus=A_minus)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the traces."""
        self.x = self.zeros(*batch_shape, *self.comm.in_size)
        self.y = self.zeros(*batch_shape, *self.comm.out_size)

    def update(self, pre: Any, post: Any) -> Any:
        """Advance by one step and return what arrives."""
        pre, post = self.checked(pre=pre, post=post, at=(self.x, self.y))
        arriving = self.comm(pre)
        x, y = self.x.value * decay(self.tau_plus), self.y.value * decay(self.tau_minus)
        self.change(self.A_plus * self.mean_pairs(x, post), -self.A_minus * self.mean_pairs(pre, y))
        self.x.value, self.y.value = x + pre, y + post
        return arriving
