"""The training workloads: their sizes, and the inputs and weights that every library is given.

Everything is drawn with numpy and written to one file, so that all libraries see the same numbers.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import reference

RATE = 0.1  # the spikes per step and neuron that the weights of hidden layers are scaled to
CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    Args:
        name: what the row is called.
        kind: "feedforward", "recurrent" (adaptive neurons), "conv" (2 x 34 x 34: 16C5-AP2-32C5-AP2-10), "forward" or
            "backward" (one layer of neurons that is given its currents).
        T: the number of steps.
        B: the number of trials.
        sizes: the widths from input to output, or the number of neurons of the one layer.
        density: the part of the inputs that are one.
    """

    name: str
    kind: str
    T: int
    B: int
    sizes: tuple[int, ...]
    density: float = 0.1

    def __post_init__(self) -> None:
        few = 1 if self.kind in ("forward", "backward") else 3
        if len(self.sizes) < few or (few == 1 and len(self.sizes) > 1):
            raise ValueError(
                f"{self.name} takes {'one size' if few == 1 else 'three sizes or more'}, got {self.sizes}."
            )

    @property
    def title(self) -> str:
        """The name with the sizes."""
        widths = "" if self.kind == "conv" else f" {'-'.join(map(str, self.sizes))},"
        return f"{self.name}{widths} T {self.T}, B {self.B}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def W1(T: int = 100, B: int = 64, sizes: tuple[int, ...] = (700, 256, 256, 20), density: float = 0.1) -> Workload:
    """Return the feed-forward network."""
    return Workload("W1", "feedforward", T, B, tuple(sizes), density)


def W2(T: int = 100, B: int = 64, sizes: tuple[int, ...] = (700, 256, 256, 20), density: float = 0.1) -> Workload:
    """Return the network with recurrent adaptive hidden layers."""
    return Workload("W2", "recurrent", T, B, tuple(sizes), density)


def W3(T: int = 30, B: int = 32, density: float = 0.05) -> Workload:
    """Return the convolutional network."""
    return Workload("W3", "conv", T, B, (34, 34, 2), density)


def M1(T: int = 1000, B: int = 64, sizes: tuple[int, ...] = (512,)) -> Workload:
    """Return one layer of neurons, forward."""
    return Workload("M1", "forward", T, B, tuple(sizes))


def M2(T: int = 1000, B: int = 64, sizes: tuple[int, ...] = (512,)) -> Workload:
    """Return one layer of neurons, forward and backward to its currents."""
    return Workload("M2", "backward", T, B, tuple(sizes))


NAMED = {f.__name__: f for f in (W1, W2, W3, M1, M2)}
DEFAULT = {"W1": [W1(), W1(B=256), W1(T=250)], "W2": [W2()], "W3": [W3()], "M1": [M1()], "M2": [M2()]}


def random(seed: int, count: int = 2) -> list[Workload]:
    """Return networks of sizes that nobody chose: T 40 to 200, B 16 to 128 in fours, widths 64 to 512, inputs 100 to 1000."""
    rng, found = np.random.default_rng(seed), []
    for n in range(count):
        hidden = rng.integers(64, 513, size=rng.integers(1, 4)).tolist()
        T, B, inputs = (int(rng.integers(low, high + 1)) for low, high in ((40, 200), (4, 32), (100, 1000)))
        kind = str(rng.choice(["feedforward", "recurrent"]))
        found.append(Workload(f"R{n + 1} {kind}", kind, T, 4 * B, (inputs, *hidden, 20)))
    return found


def draw(workload: Workload, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw inputs, labels and weights.

    Each hidden layer's weights are scaled, one layer after the other, until it fires with `RATE` spikes per step and
    neuron on the first trials. Arrays: `x`, `(T, B, ...)`, spikes in uint8 or currents in float32; `y`, `(B,)`; the
    weights `w0, w1, ...` from input to output, `(in, out)` or `(5, 5, in, out)`; the recurrent weights `r0, ...`,
    `(from, to)`, half as strong as the input's.
    """
    rng = np.random.default_rng(seed)
    T, B = workload.T, workload.B
    if workload.kind in ("forward", "backward"):
        normal = rng.standard_normal((T, B, *workload.sizes), dtype=np.float32)
        gain = gain_for(lambda g: reference.lif(g * normal[:, :4].astype(float)))
        return {"x": normal * np.float32(gain)}
    features = workload.sizes if workload.kind == "conv" else workload.sizes[:1]
    x = (rng.random((T, B, *features), dtype=np.float32) < workload.density).astype(np.uint8)
    arrays = {"x": x, "y": rng.integers(0, classes(workload), B).astype(np.int32)}
    trials = x[:, :8].astype(float)
    for n, (shape, fan_in) in enumerate(hidden_shapes(workload)):
        w = rng.standard_normal(shape) / np.sqrt(fan_in)
        I, R = reference.product(trials, w), None
        if workload.kind == "recurrent":
            R = 0.5 * rng.standard_normal((shape[-1], shape[-1])) / np.sqrt(shape[-1])
        train = hidden_train(I, R)
        gain = gain_for(train)
        trials = train(gain)
        arrays |= {f"w{n}": np.float32(gain * w)} | ({} if R is None else {f"r{n}": np.float32(gain * R)})
    fan_in = int(np.prod(trials.shape[2:]))
    out = 0.3 * rng.standard_normal((fan_in, classes(workload))) / np.sqrt(fan_in)
    return arrays | {f"w{len(hidden_shapes(workload))}": np.float32(out)}


def hidden_shapes(workload: Workload) -> list[tuple[tuple[int, ...], int]]:
    """Return shape and fan-in of the weights of every hidden layer."""
    if workload.kind == "conv":
        return [((5, 5, 2, 16), 50), ((5, 5, 16, 32), 400)]
    return [((pre, post), pre) for pre, post in zip(workload.sizes[:-2], workload.sizes[1:-1], strict=True)]


def classes(workload: Workload) -> int:
    """Return the number of outputs."""
    return CLASSES if workload.kind == "conv" else workload.sizes[-1]


def hidden_train(I: np.ndarray, R: np.ndarray | None) -> Any:
    """Return the train of a hidden layer as a function of the gain of its weights."""
    return lambda gain: reference.lif(gain * I) if R is None else reference.alif(gain * I, gain * R)


def gain_for(train: Any) -> float:
    """Return the gain at which a layer fires with `RATE`, by bisection on its logarithm."""
    low, high = -5.0, 5.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if train(np.exp(middle)).mean() < RATE else (low, middle)
    return float(np.exp((low + high) / 2))
