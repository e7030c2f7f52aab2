"""The training workloads in snnTorch: the loop over time that its tutorials write, or one loop for every layer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import numpy as np
import snntorch
import torch
from snntorch import surrogate
from torch_training import convolution, layer, linear, network, weights


def neurons_of(R=None):
    """Return neurons of the workloads, recurrent where there are weights."""
    leak = dict(beta=0.95, spike_grad=surrogate.atan(alpha=2.0))
    if R is None:
        return snntorch.Leaky(**leak)
    found = snntorch.RLeaky(**leak, linear_features=len(R))
    found.recurrent = linear(R)
    return found


class Net(torch.nn.Module):
    """A product, neurons, a product, neurons, a product, a readout."""

    def __init__(self, arrays):
        super().__init__()
        hidden, out, recurrent = weights(arrays)
        self.conv = hidden[0].ndim == 4
        make = (lambda w: torch.nn.Sequential(convolution(w), torch.nn.AvgPool2d(2))) if self.conv else linear
        self.products = torch.nn.ModuleList([make(w) for w in hidden])
        self.neurons = torch.nn.ModuleList([neurons_of(R) for R in recurrent or [None] * len(hidden)])
        self.out = linear(out)
        self.readout = snntorch.Leaky(beta=0.95, reset_mechanism="none")

    def start(self):
        """Return the state of every layer at the start of a trial."""
        return [neurons.reset_mem() for neurons in self.neurons], self.readout.reset_mem()

    def advance(self, neurons, current, state):
        """Return the spikes and the state of one layer after one step."""
        if isinstance(neurons, snntorch.RLeaky):
            spikes, mem = neurons(current, *state)
            return spikes, (spikes, mem)
        return neurons(current, state)

    def forward(self, x):
        """Loop over time, products inside."""
        states, u = self.start()
        trains, out = [[] for _ in self.neurons], []
        for s in x:
            for n, (product, neurons) in enumerate(zip(self.products, self.neurons, strict=True)):
                s, states[n] = self.advance(neurons, product(s), states[n])
                trains[n].append(s)
            _, u = self.readout(self.out(s.flatten(1)), u)
            out.append(u)
        # Spikes are only looked at while no gradient is taken: stacking them is no part of a step.
        trains = [] if torch.is_grad_enabled() else [torch.stack(train) for train in trains]
        return torch.stack(out).mean(0), trains

    def by_layer(self, x):
        """Run every layer over the whole trial, products outside the loop."""
        states, u = self.start()
        trains, out = [], []
        for product, neurons, state in zip(self.products, self.neurons, states, strict=True):
            train = []
            for current in product(x.flatten(0, 1)).unflatten(0, x.shape[:2]):
                s, state = self.advance(neurons, current, state)
                train.append(s)
            x = torch.stack(train)
            trains.append(x)
        for current in self.out(x.flatten(2)):
            _, u = self.readout(current, u)
            out.append(u)
        return torch.stack(out).mean(0), trains


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        neurons = neurons_of()

        def run(currents):
            mem, train = neurons.reset_mem(), []
            for current in currents:
                s, mem = neurons(current, mem)
                train.append(s)
            return torch.stack(train)

        return layer(run, arrays, backward=kind == "backward")
    net = Net(arrays)
    return network(net.by_layer if task["options"].get("by_layer") else net, net, arrays)


if __name__ == "__main__":
    serve_training(prepare, "snntorch", "torch", "numpy")
