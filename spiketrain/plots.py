"""The pictures of a network simulation, each drawn on axes that are given, and the figure that is made of them.

Trains are as a `Recording` holds them, `(T, neurons)` beside the times of the steps; populations are a mapping from
names to trains, the excitatory ones first. Nothing here touches pyplot, so a script needs no display.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import brainunit as u
import numpy as np

from spiketrain import spike_statistics
from spiketrain.errors import ShapeError
from spiketrain.units import UNITLESS, expect_unit, magnitude, unit_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Blue, then red: told apart without colour vision, too (Okabe and Ito, https://jfly.uni-koeln.de/color)."""

_RASTERIZED = 2000  # dots: beyond them a vector file would be larger than a picture
_BINS = 30


def new_figure(**options: Any) -> Any:
    """Return an empty figure that can be saved, without pyplot.

    Args:
        options: of `matplotlib.figure.Figure`, such as `figsize=(7, 4)`.

    Raises:
        ImportError: matplotlib is missing; the message says what to install.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib. Install it with `pip install spiketrain[plots]`.") from error
    figure = Figure(**({"layout": "constrained"} | options))
    FigureCanvasAgg(figure)
    return figure


def raster(ax: Any, populations: Mapping[str, Any], times: Any, *, shown: int = 400) -> Any:
    """Draw every spike as a dot: time to the right, neurons upwards, population upon population.

    Args:
        ax: the matplotlib axes to draw on.
        populations: trains `(T, neurons)` by their names.
        times: the times of the steps, `(T,)`.
        shown: the number of neurons to draw, every k-th one of all; more than there are pixels would only blacken
            the picture. The axis counts all of them.

    Returns:
        `ax`.

    Raises:
        ShapeError: a train has a batch axis, or another length than `times`.
        UnitError: `times` is no time.
    """
    trains, ms = _trains("raster", populations, times)
    total = sum(train.shape[1] for train in trains.values())
    every = max(1, round(total / shown))
    points = ax.get_window_extent().height * 72 / ax.figure.dpi * every / total  # of one neuron that is drawn
    below, spikes = 0, {}
    for name, train in trains.items():
        steps, neurons = np.nonzero(train[:, ::every])
        spikes[name] = ms[steps], below + every * neurons
        below += train.shape[1]
    many = sum(len(x) for x, _ in spikes.values()) > _RASTERIZED
    # A bar where a neuron has room for one, else a dot, which is drawn at half its size and seen from a point on.
    bar = {"marker": "|", "markersize": min(0.8 * points, 8.0), "markeredgewidth": 0.9}
    dot = {"marker": ".", "markersize": max(2 * points, 2.4), "markeredgewidth": 0.0}
    mark: dict[str, Any] = bar if points > 3 else dot
    mark |= {"linestyle": "none", "rasterized": many}
    for colour, (name, (x, y)) in zip(_colours(spikes), spikes.items(), strict=True):
        ax.plot(x, y, color=colour, **mark)
        ax.plot([], [], color=colour, marker="s", markersize=5, linestyle="none", label=name)
    ax.set(ylabel="neuron" if every == 1 else f"neuron (1 in {every} shown)", xlabel="time (ms)")
    ax.set(ylim=(-0.5, total - 0.5), xlim=_span(ms))
    return _legend(ax)


def traces(ax: Any, values: Any, times: Any, *, label: str, spikes: Any = None, neurons: Sequence[int] = (0, 1)) -> Any:
    """Draw what a State does over time in some neurons.

    Args:
        ax: the matplotlib axes to draw on.
        values: `(T, neurons)`, with or without a unit, which the label of the axis shows.
        times: the times of the steps, `(T,)`.
        label: what it is, such as `"V"`.
        spikes: `(T, neurons)`, to mark with a dot where a neuron fires.
        neurons: which ones to draw.

    Returns:
        `ax`.

    Raises:
        ShapeError: `values` or `spikes` has a batch axis, or another length than `times`.
        UnitError: `times` is no time.
    """
    trains, ms = _trains("traces", {"values": values} | ({} if spikes is None else {"spikes": spikes}), times)
    for i, neuron in enumerate(neurons):
        colour, trace = COLOURS[i % len(COLOURS)], trains["values"][:, neuron]
        ax.plot(ms, trace, color=colour, linewidth=1.0, label=f"neuron {neuron}")
        if spikes is not None:
            fired = trains["spikes"][:, neuron] != 0
            ax.plot(ms[fired], trace[fired], "o", color=colour, markersize=3.5)
    ax.set(xlabel="time (ms)", ylabel=_with_unit(label, unit_of(values)), xlim=_span(ms))
    return _legend(ax)


def population_rate(ax: Any, populations: Mapping[str, Any], times: Any, *, width: Any = 5 * u.ms) -> Any:
    """Draw the rate of every population over time, `spike_statistics.population_rate` in bins of `width`.

    Args:
        ax: the matplotlib axes to draw on.
        populations: trains `(T, neurons)` by their names.
        times: the times of the steps, `(T,)`.
        width: the bins, a time.

    Returns:
        `ax`.

    Raises:
        DomainError: `width` is shorter than a step or longer than the train.
        ShapeError: a train has a batch axis, or another length than `times`.
        UnitError: `times` or `width` is no time.
    """
    trains, ms = _trains("population_rate", populations, times)
    for colour, (name, train) in zip(_colours(trains), trains.items(), strict=True):
        middles, rate = spike_statistics.population_rate(train, times, width=width)
        ax.plot(magnitude(middles), magnitude(rate), color=colour, linewidth=1.2, label=name)
    ax.set(xlabel="time (ms)", ylabel="rate (Hz)", xlim=_span(ms))
    ax.set_ylim(bottom=0)
    return _legend(ax)


def isi_histogram(ax: Any, populations: Mapping[str, Any], times: Any) -> Any:
    """Draw the density of interspike intervals, logarithmic upwards: a Poisson process gives a straight line.

    Args:
        ax: the matplotlib axes to draw on.
        populations: trains `(T, neurons)` by their names.
        times: the times of the steps, `(T,)`.

    Returns:
        `ax`.

    Raises:
        ShapeError: a train has a batch axis, or another length than `times`.
        UnitError: `times` is no time.
    """
    trains, ms = _trains("isi_histogram", populations, times)
    intervals = {name: spike_statistics.interspike_intervals(train, times)[0] for name, train in trains.items()}
    ax.set(yscale="log")
    return _histogram(ax, intervals, "interspike interval", grid=ms[1] - ms[0])


def cv_histogram(ax: Any, populations: Mapping[str, Any]) -> Any:
    """Draw how the CV of interspike intervals is distributed over neurons; a dashed line marks Poisson's.

    Args:
        ax: the matplotlib axes to draw on.
        populations: trains `(T, neurons)` by their names.

    Returns:
        `ax`.
    """
    ax.axvline(1.0, color="0.5", linestyle="--", linewidth=1.0)
    cv = {name: spike_statistics.cv_isi(train) for name, train in populations.items()}
    return _histogram(ax, cv, "CV of intervals")


def rate_histogram(ax: Any, populations: Mapping[str, Any], times: Any) -> Any:
    """Draw how the firing rate is distributed over neurons.

    Args:
        ax: the matplotlib axes to draw on.
        populations: trains `(T, neurons)` by their names.
        times: the times of the steps, `(T,)`.

    Returns:
        `ax`.

    Raises:
        ShapeError: a train has a batch axis, or another length than `times`.
        UnitError: `times` is no time.
    """
    trains, ms = _trains("rate_histogram", populations, times)
    rates = {name: spike_statistics.firing_rate(train, times) for name, train in trains.items()}
    return _histogram(ax, rates, "firing rate", grid=1e3 / np.ptp(_span(ms)))


def weight_distribution(ax: Any, weights: Mapping[str, Any]) -> Any:
    """Draw how weights are distributed over connections.

    Args:
        ax: the matplotlib axes to draw on.
        weights: arrays of any shape by the names of their projections, all in one unit or none:
            `{"E to I": net.E2I.comm.weight.value}`.

    Returns:
        `ax`.

    Raises:
        UnitError: the weights measure different things.
    """
    return _histogram(ax, {name: u.math.ravel(w) for name, w in weights.items()}, "weight")


def activity(populations: Mapping[str, Any], times: Any, *, title: str = "", width: Any = 5 * u.ms) -> Any:
    """Return the usual figure of a network: raster, population rates, and how rates and CVs are distributed.

    Args:
        populations: trains `(T, neurons)` by their names.
        times: the times of the steps, `(T,)`.
        title: what is shown.
        width: the bins of the population rate, a time.

    Returns:
        A matplotlib figure; `figure.savefig("activity.png")` writes it.

    Raises:
        DomainError: `width` is shorter than a step or longer than the train.
        ImportError: matplotlib is missing; the message says what to install.
        ShapeError: a train has a batch axis, or another length than `times`.
        UnitError: `times` or `width` is no time.
    """
    figure = new_figure(figsize=(9, 5), dpi=150)
    left, right = figure.subfigures(1, 2, width_ratios=(2.6, 1))
    dots, rate = left.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    rates, cv = right.subplots(2, 1)
    population_rate(rate, populations, times, width=width)
    rate_histogram(rates, populations, times)
    cv_histogram(cv, populations)
    raster(dots, populations, times).set_xlabel("")
    for ax in (rate, rates, cv):
        ax.get_legend().remove()
    left.align_ylabels()
    figure.suptitle(title)
    return figure


def _trains(owner: str, populations: Mapping[str, Any], times: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return bare trains and the times in ms."""
    ms = np.asarray(magnitude(expect_unit(owner, "times", times, u.ms), u.ms))
    trains = {name: np.asarray(magnitude(train)) for name, train in populations.items()}
    for name, train in trains.items():
        if train.ndim != 2 or len(train) != len(ms):
            raise ShapeError(
                f"{owner} draws trains of shape (T, neurons), here ({len(ms)}, neurons), got {train.shape} for {name!r}. "
                "Choose one row of a batch: `spikes[:, 0]`."
            )
    return trains, ms


def _colours(names: Mapping[str, Any]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(names))]


def _with_unit(label: str, unit: Any) -> str:
    return label if unit == UNITLESS else f"{label} ({unit})"


def _span(ms: np.ndarray) -> tuple[float, float]:
    """Return the beginning of the first step and the end of the last."""
    return ms[0] - (ms[-1] - ms[0]) / max(len(ms) - 1, 1), ms[-1]


def _histogram(ax: Any, samples: Mapping[str, Any], label: str, grid: float = 0.0) -> Any:
    """Draw one outline per sample over common bins; NaN counts nowhere.

    Values that lie on a grid ask for bins that hold equally many points of it: others would look like a comb.
    """
    unit = unit_of(next(iter(samples.values())))
    bare = {name: np.asarray(magnitude(expect_unit("plots", name, x, unit), unit)) for name, x in samples.items()}
    finite = {name: x[np.isfinite(x)] for name, x in bare.items()}
    pooled = np.concatenate(list(finite.values()))
    low, high = (pooled.min(), np.quantile(pooled, 0.995, method="higher")) if len(pooled) else (0.0, 1.0)
    width = (high - low) / _BINS if high > low else 1.0
    if grid:
        low, width = low - grid / 2, grid * np.ceil(width / grid)
    edges = low + width * np.arange(np.ceil((high - low) / width) + 1)
    for colour, (name, x) in zip(_colours(finite), finite.items(), strict=True):
        ax.plot([], [], color=colour, label=name)
        if len(x):
            ax.hist(x, edges, color=colour, histtype="step", linewidth=1.3, density=True)
    ax.set(xlabel=_with_unit(label, unit), ylabel="density" if unit == UNITLESS else f"density (1/{unit})")
    return _legend(ax)


def _legend(ax: Any) -> Any:
    """Name the curves above the axes, where they hide nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.2,
        handletextpad=0.5,
    )
    return ax
