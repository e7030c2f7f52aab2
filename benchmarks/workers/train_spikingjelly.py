"""The training workloads in SpikingJelly: multi-step mode, which takes the products out of the loop by itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import numpy as np
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based import layer as parts
from torch_training import convolution, layer, linear, network, weights


def lif(mode="m"):
    """Return neurons of the workloads: 1 - 1 / tau is 0.95, v_reset=None is the soft reset."""
    leak = dict(tau=20.0, decay_input=False, v_reset=None)
    return neuron.LIFNode(**leak, surrogate_function=surrogate.ATan(2.0), step_mode=mode)


class Feedback(torch.nn.Module):
    """What a recurrent layer is given: its input and its own spikes through weights."""

    def __init__(self, R):
        super().__init__()
        self.back = linear(R)

    def forward(self, y, x):
        """Return the current of one step."""
        return x + self.back(y)


class Net(torch.nn.Module):
    """A product, neurons, a product, neurons, a product, a readout."""

    def __init__(self, arrays):
        super().__init__()
        hidden, out, recurrent = weights(arrays)
        self.hidden = torch.nn.ModuleList()
        for n, w in enumerate(hidden):
            if w.ndim == 4:
                product = parts.SeqToANNContainer(convolution(w), torch.nn.AvgPool2d(2))
            else:
                product = linear(w)
            neurons = lif()
            if recurrent:
                neurons = parts.ElementWiseRecurrentContainer(lif("s"), Feedback(recurrent[n]), step_mode="m")
            self.hidden.append(torch.nn.Sequential(product, neurons))
        self.out = linear(out)
        # Its input counts 1 / tau times, hence the 20 below.
        self.readout = neuron.NonSpikingLIFNode(tau=20.0, decode="mean-mem")
        self.readout.step_mode = "m"

    def forward(self, x):
        """Run every layer over the whole trial."""
        functional.reset_net(self)
        trains = []
        for part in self.hidden:
            x = part(x)
            trains.append(x)
        return 20.0 * self.readout(self.out(x.flatten(2))), trains


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        neurons = lif()

        def run(currents):
            functional.reset_net(neurons)
            return neurons(currents)

        return layer(run, arrays, backward=kind == "backward")
    net = Net(arrays)
    return network(net, net, arrays)


if __name__ == "__main__":
    serve_training(prepare, "spikingjelly", "torch", "numpy")
