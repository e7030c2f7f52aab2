"""Pictures: what is drawn is what was given, every axis says what it shows, and nothing covers anything else."""

import builtins
import itertools
import re

import brainunit as u
import numpy as np
import pytest
from matplotlib.colors import to_hex

from spiketrain import ShapeError, UnitError, plots
from spiketrain import spike_statistics as measure

T, DT = 2000, 0.5
TIMES = (10.0 + DT * np.arange(1, T + 1)) * u.ms
MS = TIMES.to_decimal(u.ms)


def poisson(neurons, seed, p=0.01):
    return np.random.default_rng(seed).random((T, neurons)) < p


@pytest.fixture
def populations():
    return {"excitatory": poisson(80, 0), "inhibitory": poisson(20, 1, 0.03)}


@pytest.fixture
def ax():
    return plots.new_figure(figsize=(5, 3)).subplots()


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def dots(ax):
    """The points of every line that has some."""
    return [line for line in ax.lines if len(line.get_xdata())]


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_raster_shows_every_spike_where_it_belongs(ax, populations):
    assert plots.raster(ax, populations, TIMES) is ax
    below = 0
    for line, train in zip(dots(ax), populations.values(), strict=True):
        steps, neurons = np.nonzero(train)
        assert len(steps) > 100
        drawn = sorted(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert drawn == sorted(zip(MS[steps], below + neurons, strict=True))
        below += train.shape[1]
    assert names(ax) == ["excitatory", "inhibitory"]
    assert [to_hex(line.get_color()).upper() for line in dots(ax)] == list(plots.COLOURS[:2])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron")
    assert ax.get_xlim() == (10.0, 10.0 + T * DT) and ax.get_ylim() == (-0.5, 99.5)


def test_a_raster_of_many_neurons_shows_every_kth(ax):
    train = poisson(1000, 0)
    plots.raster(ax, {"all": train}, TIMES, shown=100)
    (line,) = dots(ax)
    neurons = np.unique(line.get_ydata())
    assert len(neurons) == 100 and not (neurons % 10).any() and ax.get_ylim() == (-0.5, 999.5)
    assert len(line.get_xdata()) == train[:, ::10].sum()
    assert ax.get_ylabel() == "neuron (1 in 10 shown)"


def test_markers_fit_their_neuron_and_many_become_pixels():
    sizes = {}
    for n in (5, 40, 400):
        axes = plots.new_figure(figsize=(5, 3)).subplots()
        plots.raster(axes, {"all": poisson(n, 0)}, TIMES)
        (line,) = dots(axes)
        sizes[n] = line.get_markersize()
        room = axes.get_window_extent().height * 72 / axes.figure.dpi / n
        assert line.get_marker() == ("|" if room > 3 else ".")
        assert line.get_rasterized() == (len(line.get_xdata()) > 2000)
    assert sizes[5] > sizes[40] > sizes[400] > 1


def test_traces_show_values_in_their_unit_and_mark_spikes(ax):
    V = (-60.0 + np.random.default_rng(0).normal(size=(T, 4))) * u.mV
    spikes = poisson(4, 1)
    plots.traces(ax, V, TIMES, label="V", spikes=spikes, neurons=(2, 0))
    for neuron, trace, mark in zip((2, 0), ax.lines[::2], ax.lines[1::2], strict=True):
        np.testing.assert_array_equal(trace.get_ydata(), V.to_decimal(u.mV)[:, neuron])
        assert spikes[:, neuron].any()
        np.testing.assert_array_equal(mark.get_xdata(), MS[spikes[:, neuron]])
        np.testing.assert_array_equal(mark.get_ydata(), V.to_decimal(u.mV)[spikes[:, neuron], neuron])
        assert trace.get_color() == mark.get_color()
    assert ax.get_ylabel() == "V (mV)" and names(ax) == ["neuron 2", "neuron 0"]
    plots.traces(ax, V.to_decimal(u.mV), TIMES, label="u")
    assert ax.get_ylabel() == "u"


def test_population_rates_are_the_measured_ones(ax, populations):
    plots.population_rate(ax, populations, TIMES, width=20 * u.ms)
    for name, train in populations.items():
        middles, rate = measure.population_rate(train, TIMES, width=20 * u.ms)
        np.testing.assert_array_equal(lines(ax)[name].get_xdata(), middles.to_decimal(u.ms))
        np.testing.assert_array_equal(lines(ax)[name].get_ydata(), rate.to_decimal(u.hertz))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_ylim()[0]) == ("time (ms)", "rate (Hz)", 0.0)


def outline(patch):
    """Return the edges and the heights of a histogram drawn as one outline."""
    x, y = patch.get_xy().T
    edges = np.unique(x)
    return edges, y[1::2][: len(edges) - 1]


@pytest.mark.parametrize(
    ("draw", "label", "measured"),
    [
        (plots.isi_histogram, "interspike interval (ms)", lambda x: measure.interspike_intervals(x, TIMES)[0].mantissa),
        (plots.rate_histogram, "firing rate (Hz)", lambda x: measure.firing_rate(x, TIMES).mantissa),
        (lambda ax, x, _: plots.cv_histogram(ax, x), "CV of intervals", measure.cv_isi),
    ],
    ids=["isi", "rate", "cv"],
)
def test_a_histogram_holds_the_measured_values(ax, populations, draw, label, measured):
    populations["silent"] = np.zeros((T, 3), bool)
    assert draw(ax, populations, TIMES) is ax
    assert ax.get_xlabel() == label and ax.get_ylabel().startswith("density")
    assert names(ax)[:2] == ["excitatory", "inhibitory"]
    for patch, train in zip(ax.patches, populations.values(), strict=False):
        edges, heights = outline(patch)
        values = measured(train)
        values = values[np.isfinite(values)]
        assert len(values) >= 3
        expected, _ = np.histogram(values, edges, density=True)
        np.testing.assert_allclose(heights, expected, atol=1e-12)
        assert np.mean((values >= edges[0]) & (values <= edges[-1])) > 0.95


def test_rates_are_counted_without_a_comb(ax):
    """Rates are multiples of 1 / duration: each bin holds equally many of them."""
    train = poisson(3000, 0, p=0.02)
    plots.rate_histogram(ax, {"all": train}, TIMES)
    edges, heights = outline(ax.patches[0])
    np.testing.assert_allclose(np.diff(edges), np.diff(edges)[0])
    assert (np.diff(edges)[0] / (1e3 / (T * DT))) % 1 == pytest.approx(0, abs=1e-9)
    middles, hz = (edges[1:] + edges[:-1]) / 2, 1e3 / (T * DT)
    mean, std = 0.02 * T * hz, np.sqrt(0.02 * 0.98 * T) * hz
    gauss = np.exp(-0.5 * ((middles - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(heights, gauss, atol=0.1 * gauss.max())


def test_weights_are_drawn_in_one_unit(ax):
    weights = np.random.default_rng(0).lognormal(size=(30, 20))
    plots.weight_distribution(ax, {"E": weights * u.nS, "I": (weights * 1e-3) * u.uS})
    assert ax.get_xlabel() == "weight (nS)" and ax.get_ylabel() == "density (1/nS)" and names(ax) == ["E", "I"]
    (edges, E), (_, I) = map(outline, ax.patches)
    np.testing.assert_allclose(E, np.histogram(weights, edges, density=True)[0])
    np.testing.assert_allclose(I, E, atol=0.02)
    with pytest.raises(UnitError, match="`nS`, got an array"):
        plots.weight_distribution(ax, {"E": weights * u.nS, "I": weights * u.mV})
    plots.weight_distribution(ax, {"all the same": np.full(7, 6.0) * u.nS})


@pytest.mark.parametrize("silent", [False, True])
def test_the_usual_figure_labels_everything_and_overlaps_nothing(populations, silent):
    trains = {name: train & (not silent) for name, train in populations.items()}
    figure = plots.activity(trains, TIMES, title="two populations", width=10 * u.ms)
    figure.canvas.draw()
    left, right = figure.subfigs
    dots, rate, rates, cv = [*left.axes, *right.axes]
    assert figure.get_suptitle() == "two populations"
    assert [ax.get_xlabel() for ax in (rate, rates, cv)] == ["time (ms)", "firing rate (Hz)", "CV of intervals"]
    assert all(ax.get_ylabel() for ax in figure.axes)
    assert dots.get_shared_x_axes().joined(dots, rate)
    boxes = [ax.get_tightbbox() for ax in figure.axes] + [dots.get_legend().get_window_extent()]
    for a, b in itertools.combinations(boxes[:-1], 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) < 1.5, "axes with their labels"
    assert dots.get_legend().get_window_extent().y0 >= dots.get_window_extent().y1 - 1, "the legend hides no spike"
    assert bool(len(dots.lines[0].get_xdata())) != silent


def test_a_batch_is_refused_with_what_to_write(ax):
    batch = np.ones((T, 3, 5), bool)
    for draw in (
        lambda: plots.raster(ax, {"E": batch}, TIMES),
        lambda: plots.population_rate(ax, {"E": batch}, TIMES),
        lambda: plots.traces(ax, batch, TIMES, label="V"),
    ):
        with pytest.raises(ShapeError, match=re.escape("(T, neurons), here (2000, neurons), got (2000, 3, 5)")):
            draw()
    with pytest.raises(UnitError, match=r"raster\(times=...\) expects a quantity in units of `ms`"):
        plots.raster(ax, {"E": batch[:, 0]}, MS)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    found = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=re.escape("Install it with `pip install spiketrain[plots]`.")):
        plots.activity({"E": poisson(3, 0)}, TIMES)
