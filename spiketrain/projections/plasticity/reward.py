"""Spike-timing-dependent plasticity that waits for a reward."""

from typing import Any

import brainunit as u
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, steps_per
from spiketrain.errors import ShapeError, UnitError
from spiketrain.parameter import Parameter
from spiketrain.projections.comm.base import Comm
from spiketrain.projections.plasticity.base import Plastic
from spiketrain.projections.plasticity.bounds import WeightBounds
from spiketrain.state import ShortTermState
from spiketrain.units import has_unit, show


class RewardSTDP(Plastic):
    r"""Remember in every synapse what `STDP` would change, and change it as far as reward arrives in time.

    $$\frac{de}{dt} = -\frac{e}{\tau_e} + \sum_{post} A_+ \, x \, \delta(t - t_{post})
    - \sum_{pre} A_- \, y \, \delta(t - t_{pre}), \qquad \frac{d\Delta}{dt} = R(t) \, \frac{e}{\tau_e}$$

    with the traces x and y of `STDP`. $\Delta$ is in fractions of the range of the weights, which `bounds` turns into
    a change of w. The reward R has no unit: a constant reward of one lets every pair count as much as in `STDP`, a
    negative one reverses it, and a reward during dt at a delay T counts $R \, \frac{dt}{\tau_e} e^{-T/\tau_e}$.

    Exact for a reward that is constant within a step. The order of one update: spikes are transmitted with the weights
    as they are; the weights change by the reward of the step and the eligibility e from before it, while e, x and y
    decay; the pairs of the step are added to e; the spikes are added to the traces. So a pair is rewarded from the next
    step on. `Plastic` says what a batch does: each row has its own eligibility and may have its own reward.

    Args:
        comm: where spikes go and the initial weights; `Dense`, `OneToOne` or sparse, not trained.
        tau_plus: the time constant of potentiation, that of x; a bare number counts in ms, as in all three.
        tau_minus: the time constant of depression, that of y.
        tau_e: how long a synapse stays eligible.
        A_plus: how much a pair potentiates at most, as a fraction of the range of the weights.
        A_minus: how much a pair depresses at most, likewise; a positive number.
        bounds: where the weights may lie and how changes depend on them.

    Input and output: spikes `(..., pre)` and `(..., post)` and the reward in, one number or `(B,)`; what arrives
    `(..., post)` out, in the unit of the weights. `AlignPostProj` passes all three on: `update(pre, post, reward)`.

    Raises:
        DomainError: a time constant is not positive, the weights are trained or start outside the bounds.
        ShapeError: comm does not have one weight per connection, or the reward has the wrong shape.
        UnitError: the bounds do not have the dimension of the weights, or the reward has a unit.

    Reference: Izhikevich (2007), https://doi.org/10.1093/cercor/bhl152; Legenstein, Pecevski and Maass (2008),
    https://doi.org/10.1371/journal.pcbi.1000180; Fremaux and Gerstner (2016), https://doi.org/10.3389/fncir.2015.00085.
    """

    tau_plus = Parameter(u.ms, POSITIVE)
    tau_minus = Parameter(u.ms, POSITIVE)
    tau_e = Parameter(u.ms, POSITIVE)
    A_plus = Parameter(u.UNITLESS)
    A_minus = Parameter(u.UNITLESS)
    x: ShortTermState
    y: ShortTermState
    e: ShortTermState

    def __init__(
        self,
        comm: Comm,
        *,
        tau_plus: Any = 20.0,
        tau_minus: Any = 20.0,
        tau_e: Any = 1000.0,
        A_plus: Any = 0.005,
        A_minus: Any = 0.00525,
        bounds: WeightBounds,
    ):
        taus = dict(tau_plus=tau_plus, tau_minus=tau_minus, tau_e=tau_e)
        super().__init__(comm, bounds=bounds, **taus, A_plus=A_plus, A_minus=A_minus)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the traces and the eligibility."""
        self.x = self.zeros(*batch_shape, *self.comm.in_size)
        self.y = self.zeros(*batch_shape, *self.comm.out_size)
        self.e = self.zeros(*batch_shape, *self.weight.shape)

    def update(self, pre: Any, post: Any, reward: Any) -> Any:
        """Advance by one step and return what arrives."""
        pre, post = self.checked(pre=pre, post=post, at=(self.x, self.y))
        reward = self._per_row(reward)
        arriving = self.comm(pre)
        x, y = self.x.value * decay(self.tau_plus), self.y.value * decay(self.tau_minus)
        e = self.e.value
        self.change(self.mean(reward * e) * -jnp.expm1(-steps_per(self.tau_e)))  # what leaves e in this step
        self.e.value = e * decay(self.tau_e) + self.A_plus * self.pairs(x, post) - self.A_minus * self.pairs(pre, y)
        self.x.value, self.y.value = x + pre, y + post
        return arriving

    def _per_row(self, reward: Any) -> Any:
        batch = self.x.shape[:-1]
        if has_unit(reward):
            raise UnitError(f"RewardSTDP.update(reward=...) expects a number without a unit, got {show(reward)}.")
        if jnp.shape(reward) not in ((), batch):
            allowed = f"one number or have shape {batch}" if batch else "one number"
            raise ShapeError(f"RewardSTDP.update(reward=...) must be {allowed}, got shape {jnp.shape(reward)}.")
        return jnp.reshape(jnp.asarray(reward, self.e.dtype), jnp.shape(reward) + (1,) * self.weight.ndim)
