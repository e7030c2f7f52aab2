"""The training workloads in Norse: lifted box neurons, products outside the loop; recurrent ones with a current.

dt / tau is 0.05, so the membrane is 0.05 u: the threshold is 0.05 and the slope of the surrogate 20 times as steep.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import norse.torch as norse
import numpy as np
import torch
from norse.torch.functional.reset import reset_subtract
from torch_training import convolution, layer, linear, network, weights

# SuperSpike, 1 / (1 + alpha |x|)^2: there is no arctangent. At alpha 2 pi / 3 of u it is about as wide as ATan(2).
SURROGATE = dict(method="super", alpha=torch.as_tensor(20 * 2 * torch.pi / 3))
MEMBRANE = dict(tau_mem_inv=torch.as_tensor(50.0), v_leak=torch.as_tensor(0.0))
DT = 0.001


def lif():
    """Return feed-forward neurons over time."""
    parameters = norse.LIFBoxParameters(
        **MEMBRANE, v_th=torch.as_tensor(0.05), reset_method=reset_subtract, **SURROGATE
    )
    return norse.Lift(norse.LIFBoxCell(parameters, dt=DT))


def recurrent(w, R):
    """Return recurrent adaptive neurons over time, whose current lasts for one step."""
    parameters = norse.LSNNParameters(
        **MEMBRANE,
        tau_syn_inv=torch.as_tensor(1 / DT),
        tau_adapt_inv=torch.as_tensor(0.03 / DT),
        v_th=torch.as_tensor(0.05),
        beta=torch.as_tensor(0.1 * 0.05),
        **SURROGATE,
    )
    given = dict(input_weights=torch.nn.Parameter(torch.as_tensor(w.T).contiguous()), autapses=True)
    given["recurrent_weights"] = torch.nn.Parameter(torch.as_tensor(R.T).contiguous())
    return norse.LSNNRecurrent(*w.shape, parameters, dt=DT, **given)


class Net(torch.nn.Module):
    """A product, neurons, a product, neurons, a product, a readout."""

    def __init__(self, arrays):
        super().__init__()
        hidden, out, self_weights = weights(arrays)
        if self_weights:
            self.hidden = torch.nn.ModuleList([recurrent(w, R) for w, R in zip(hidden, self_weights, strict=True)])
        elif hidden[0].ndim == 4:
            conv = (torch.nn.Sequential(convolution(w), torch.nn.AvgPool2d(2)) for w in hidden)
            self.hidden = torch.nn.ModuleList([part for w in conv for part in (Flat(w), lif())])
        else:
            self.hidden = torch.nn.ModuleList([part for w in hidden for part in (linear(w), lif())])
        self.out = linear(out)
        self.readout = norse.Lift(norse.LIBoxCell(norse.LIBoxParameters(**MEMBRANE), dt=DT))

    def forward(self, x):
        """Run every layer over the whole trial."""
        trains = []
        for part in self.hidden:
            x = part(x)
            if isinstance(x, tuple):
                x = x[0]
                trains.append(x)
        return 20.0 * self.readout(self.out(x.flatten(2)))[0].mean(0), trains


class Flat(torch.nn.Module):
    """Apply a module to all steps and trials at once."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        """Return `(T, B, ...)` for `(T, B, ...)`."""
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        neurons = lif()
        return layer(lambda currents: neurons(currents)[0], arrays, backward=kind == "backward")
    net = Net(arrays)
    return network(net, net, arrays)


if __name__ == "__main__":
    serve_training(prepare, "norse", "torch", "numpy")
