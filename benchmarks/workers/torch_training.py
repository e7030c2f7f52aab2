"""The training step that every torch library is given: Adam in its fused form."""

import torch


def network(forward, model, arrays):
    """Return `measure` and `step` of `forward(x)`, which returns the logits and the trains of hidden layers."""
    x, y = torch.as_tensor(arrays["x"]).float(), torch.as_tensor(arrays["y"]).long()
    if x.ndim == 5:
        x = x.permute(0, 1, 4, 2, 3).contiguous()
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    cross_entropy = torch.nn.functional.cross_entropy

    def measure():
        with torch.no_grad():
            logits, trains = forward(x)
            return cross_entropy(logits, y).item(), [train.mean().item() for train in trains]

    def step():
        adam.zero_grad()
        loss = cross_entropy(forward(x)[0], y)
        loss.backward()
        adam.step()
        return loss.item()

    return measure, step


def layer(run, arrays, *, backward):
    """Return `measure` and `step` of `run(currents)`, the spikes of one layer of neurons."""
    currents = torch.as_tensor(arrays["x"]).requires_grad_(backward)

    def measure():
        with torch.no_grad():
            spikes = run(currents)
            return (spikes**2).mean().item(), [spikes.mean().item()]

    def step():
        currents.grad = None
        with torch.set_grad_enabled(backward):
            spikes = run(currents)
            if backward:
                (spikes**2).mean().backward()
        return None

    return measure, step


def linear(w):
    """Return a layer without a bias that holds the weights `w`, `(in, out)`."""
    found = torch.nn.Linear(*w.shape, bias=False)
    found.weight.data = torch.as_tensor(w.T).contiguous()
    return found


def convolution(w):
    """Return a convolution without a bias that holds the kernel `w`, `(5, 5, in, out)`."""
    found = torch.nn.Conv2d(w.shape[2], w.shape[3], w.shape[:2], bias=False)
    found.weight.data = torch.as_tensor(w.transpose(3, 2, 0, 1)).contiguous()
    return found


def channels_first(w):
    """Return the rows of `w`, which follow features that are flattened channels last, in the order of torch."""
    side = round((len(w) // 32) ** 0.5)
    return w.reshape(side, side, 32, -1).transpose(2, 0, 1, 3).reshape(len(w), -1)


def weights(arrays):
    """Return the weights of the hidden layers, those of the output, and the recurrent ones."""
    names = sorted(name for name in arrays if name.startswith("w"))
    *hidden, out = (arrays[name] for name in names)
    out = channels_first(out) if hidden[0].ndim == 4 else out
    return hidden, out, [arrays[f"r{n}"] for n in range(len(hidden)) if f"r{n}" in arrays]
