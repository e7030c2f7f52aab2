"""Spike-timing-dependent plasticity by triplets of spikes."""

from typing import Any

import brainunit as u

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay
from spiketrain.parameter import Parameter
from spiketrain.projections.comm.base import Comm
from spiketrain.projections.plasticity.base import Plastic
from spiketrain.projections.plasticity.bounds import WeightBounds
from spiketrain.state import ShortTermState


class TripletSTDP(Plastic):
    r"""Let the change that a pair makes depend on the spike before, and so on the rate.

    Two traces of the presynaptic spikes, $r_1$ with $\tau_+$ and $r_2$ with $\tau_x$, and two of the postsynaptic ones,
    $o_1$ with $\tau_-$ and $o_2$ with $\tau_y$, decay exponentially and jump by one at a spike.

    $$\Delta = r_1 \, (A_2^+ + A_3^+ \, o_2^-) \text{ at a postsynaptic spike}, \qquad
    \Delta = -o_1 \, (A_2^- + A_3^- \, r_2^-) \text{ at a presynaptic spike}$$

    in fractions of the range of the weights, which `bounds` turns into a change of w; $o_2^-$ and $r_2^-$ are the
    values just before the spike. All spikes interact with all. With $A_3^\pm = 0$ it is `STDP`. Exact for spikes on the
    grid of time steps; `Plastic` says in which order a step goes, and what a batch does.

    The defaults are the minimal model of visual cortex; the full model there is $A_2^+$ 5e-10, $A_3^+$ 6.2e-3, $A_2^-$
    7e-3, $A_3^-$ 2.3e-4, $\tau_x$ 101 ms, $\tau_y$ 125 ms, with the same $\tau_+$ and $\tau_-$ (table 3, all-to-all).

    Args:
        comm: where spikes go and the initial weights; `Dense`, `OneToOne` or sparse, not trained.
        tau_plus: the time constant of $r_1$; a bare number counts in ms, as in all four.
        tau_minus: the time constant of $o_1$.
        tau_x: the time constant of $r_2$.
        tau_y: the time constant of $o_2$.
        A2_plus: how much a pair potentiates, as a fraction of the range of the weights.
        A2_minus: how much a pair depresses, likewise; a positive number.
        A3_plus: how much more a pair potentiates after an earlier postsynaptic spike, likewise.
        A3_minus: how much more a pair depresses after an earlier presynaptic spike, likewise; a positive number.
        bounds: where the weights may lie and how changes depend on them.

    Input and output: spikes `(..., pre)` and `(..., post)` in, what arrives `(..., post)` out, in the unit of the
    weights.

    Raises:
        DomainError: a time constant is not positive, the weights are trained or start outside the bounds.
        ShapeError: comm does not have one weight per connection.
        UnitError: the bounds do not have the dimension of the weights.

    Reference: Pfister and Gerstner (2006), https://doi.org/10.1523/JNEUROSCI.1425-06.2006.
    """

    tau_plus = Parameter(u.ms, POSITIVE)
    tau_minus = Parameter(u.ms, POSITIVE)
    tau_x = Parameter(u.ms, POSITIVE)
    tau_y = Parameter(u.ms, POSITIVE)
    A2_plus = Parameter(u.UNITLESS)
    A2_minus = Parameter(u.UNITLESS)
    A3_plus = Parameter(u.UNITLESS)
    A3_minus = Parameter(u.UNITLESS)
    r1: ShortTermState
    r2: ShortTermState
    o1: ShortTermState
    o2: ShortTermState

    def __init__(
        self,
        comm: Comm,
        *,
        tau_plus: Any = 16.8,
        tau_minus: Any = 33.7,
        tau_x: Any = 101.0,
        tau_y: Any = 114.0,
        A2_plus: Any = 0.0,
        A2_minus: Any = 7.1e-3,
        A3_plus: Any = 6.5e-3,
        A3_minus: Any = 0.0,
        bounds: WeightBounds,
    ):
        taus = dict(tau_plus=tau_plus, tau_minus=tau_minus, tau_x=tau_x, tau_y=tau_y)
        amplitudes = dict(A2_plus=A2_plus, A2_minus=A2_minus, A3_plus=A3_plus, A3_minus=A3_minus)
        super().__init__(comm, bounds=bounds, **taus, **amplitudes)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the traces."""
        self.r1, self.r2 = (self.zeros(*batch_shape, *self.comm.in_size) for _ in range(2))
        self.o1, self.o2 = (self.zeros(*batch_shape, *self.comm.out_size) for _ in range(2))

    def update(self, pre: Any, post: Any) -> Any:
        """Advance by one step and return what arrives."""
        pre, post = self.checked(pre=pre, post=post, at=(self.r1, self.o1))
        arriving = self.comm(pre)
        r1, r2 = self.r1.value * decay(self.tau_plus), self.r2.value * decay(self.tau_x)
        o1, o2 = self.o1.value * decay(self.tau_minus), self.o2.value * decay(self.tau_y)
        self.change(
            self.mean_pairs(r1, post * (self.A2_plus + self.A3_plus * o2)),
            -self.mean_pairs(pre * (self.A2_minus + self.A3_minus * r2), o1),
        )
        self.r1.value, self.r2.value = r1 + pre, r2 + pre
        self.o1.value, self.o2.value = o1 + post, o2 + post
        return arriving
