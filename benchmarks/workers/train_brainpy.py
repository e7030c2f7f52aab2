"""The training workloads in brainpy.state: a step in `for_loop`, or `for_loop` of every layer with products outside."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import math

import brainpy.state as bp
import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from jax_training import in_turn

TAU, TAU_A = -1.0 / math.log(0.95) * u.ms, -1.0 / math.log(0.97) * u.ms
NEURON = dict(
    tau=TAU,
    R=20.0,
    V_th=1.0,
    V_reset=0.0,
    V_rest=0.0,
    V_initializer=braintools.init.Constant(0.0),
    spk_fun=braintools.surrogate.Arctan(2.0),
    spk_reset="soft",
)


class Recurrent(brainstate.nn.Module):
    """Adaptive neurons whose spikes come back through weights."""

    def __init__(self, R):
        super().__init__()
        self.neurons = bp.ALIF(len(R), tau_a=TAU_A, beta=0.1 / 0.97, **NEURON)
        self.back = linear(R)

    def update(self, x):
        """Advance by one step."""
        return self.neurons(x + self.back(self.neurons.get_spike()))


class Net(brainstate.nn.Module):
    """A product, neurons, a product, neurons, a readout with its product."""

    def __init__(self, arrays):
        super().__init__()
        *hidden, out = (arrays[name] for name in sorted(arrays) if name.startswith("w"))
        self.products, self.neurons, size = [], [], arrays["x"].shape[2:]
        self.conv = hidden[0].ndim == 4
        for n, w in enumerate(hidden):
            if self.conv:
                kernel = dict(padding="VALID", b_init=None, w_init=lambda *_, w=w, **__: jnp.asarray(w))
                conv = brainstate.nn.Conv2d(size, w.shape[3], w.shape[:2], **kernel)
                size = (conv.out_size[0] // 2, conv.out_size[1] // 2, w.shape[3])
                self.products.append(conv)
                self.neurons.append(bp.LIF(size, **NEURON))
            else:
                self.products.append(linear(w))
                self.neurons.append(Recurrent(arrays[f"r{n}"]) if f"r{n}" in arrays else bp.LIF(w.shape[1], **NEURON))
        self.readout = bp.LeakyRateReadout(*out.shape, tau=TAU, w_init=lambda *_, **__: jnp.asarray(out))

    def currents(self, n, x):
        """Return what the hidden layer n is given for spikes of any leading axes."""
        return pool(self.products[n](x)) if self.conv else self.products[n](x)

    def update(self, x):
        """Advance by one step."""
        trains = []
        for n, neurons in enumerate(self.neurons):
            x = neurons(self.currents(n, x))
            trains.append(x)
        return self.readout(x.reshape(len(x), -1)), trains

    def by_layer(self, x):
        """Run every layer over the whole trial."""
        trains = []
        for n, neurons in enumerate(self.neurons):
            flat = self.currents(n, x.reshape(-1, *x.shape[2:]))
            x = brainstate.transform.for_loop(neurons.update, flat.reshape(*x.shape[:2], *flat.shape[1:]))
            trains.append(x)
        return brainstate.transform.for_loop(self.readout.update, x.reshape(*x.shape[:2], -1)), trains


def pool(x):
    """Average over windows of 2 x 2."""
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4


def linear(w):
    """Return a layer without a bias that holds the weights `w`."""
    return brainstate.nn.Linear(*w.shape, w_init=lambda *_, **__: jnp.asarray(w), b_init=None)


def prepare(task):
    """Build the workload."""
    brainstate.environ.set(dt=1.0 * u.ms)
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        return layer(arrays, kind == "backward")
    x, y = jnp.asarray(arrays["x"], jnp.float32), jnp.asarray(arrays["y"])
    net = Net(arrays)
    params = net.states(brainstate.ParamState)
    adam = braintools.optim.Adam(lr=1e-3)
    adam.register_trainable_weights(params)

    def trial(x, y):
        brainstate.nn.init_all_states(net, batch_size=x.shape[1])
        by_layer = task["options"].get("by_layer")
        out, trains = net.by_layer(x) if by_layer else brainstate.transform.for_loop(net.update, x)
        return braintools.metric.softmax_cross_entropy_with_integer_labels(out.mean(0), y).mean(), trains

    @brainstate.transform.jit
    def look(x, y):
        loss, trains = trial(x, y)
        return loss, [train.mean() for train in trains]

    @brainstate.transform.jit
    def update(x, y):
        gradient, loss = brainstate.transform.grad(lambda: trial(x, y)[0], params, return_value=True)()
        adam.update(gradient)
        return loss

    def measure():
        loss, rates = look(x, y)
        return float(loss), [float(rate) for rate in rates]

    def step():
        loss = update(x, y)
        jax.block_until_ready([state.value for state in params.values()])
        return float(loss)

    return measure, step


def layer(arrays, backward):
    """Return `measure` and `step` of one layer of neurons."""
    currents = jnp.asarray(arrays["x"])
    neurons = bp.LIF(currents.shape[2], **NEURON)

    def trial(currents):
        neurons.init_state(currents.shape[1])
        return brainstate.transform.for_loop(neurons.update, currents)

    @brainstate.transform.jit
    def forward(currents):
        return trial(currents)

    @brainstate.transform.jit
    def gradient(currents):
        return brainstate.transform.grad(lambda currents: (trial(currents) ** 2).mean(), return_value=True)(currents)

    return in_turn(forward, gradient if backward else None, currents)


if __name__ == "__main__":
    serve_training(prepare, "brainpy", "brainstate", "jax", "numpy")
