"""A raster of every spiking layer and the membrane traces behind it, for one fixed trial."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.config.schema import LoggerSettings
from spiketrain.environ import dt_in_seconds
from spiketrain.plots import new_figure
from spiketrain.state import SpikeTrain, StateTrain
from spiketrain.training import devices
from spiketrain.training.arrays import PARAMS
from spiketrain.training.callbacks import Callback
from spiketrain.training.processes import is_first, of_first

log = logging.getLogger("spiketrain")

LONGEST_NAME = 12  # of a class, in letters


class Pictures(Callback):
    """Draws one held-out trial, and records the distribution of every parameter.

    It does so every few minutes, and at the end, of what was evaluated. A figure takes as long to draw as a hundred small
    steps, so it is drawn in a thread while training goes on.

    Args:
        settings: how often, and whether to draw.
    """

    def __init__(self, settings: LoggerSettings):
        self._settings, self._warned = settings, False
        self._last = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._drawing: Future[None] | None = None

    def on_start(self, trainer: Any) -> None:
        """Start the clock."""
        self._last = time.monotonic()

    def on_epoch_end(self, trainer: Any, epoch: int) -> None:
        """Draw where it is time; at the end of training the picture of the end follows."""
        if trainer.folder is None or epoch == trainer.settings.epochs:
            return
        passed = time.monotonic() - self._last
        if of_first(passed >= 60 * self._settings.pictures_every_minutes):
            self._show(trainer)
            self._last = time.monotonic()

    def on_end(self, trainer: Any, result: dict[str, Any]) -> None:
        """Draw what was evaluated, and wait for the picture."""
        if trainer.folder is not None:
            self._show(trainer)
        self._wait()

    def _show(self, trainer: Any) -> None:
        leaves = devices.on_one(trainer.leaves, trainer.mesh)
        if not is_first():
            return
        names = [name for name in trainer.layout.names if name.startswith(PARAMS)]
        trainer.log.histograms(trainer.step, dict(zip(names, map(np.asarray, leaves), strict=False)))
        if not self._settings.pictures:
            return
        try:
            figure = of_one_trial(trainer, leaves)
        except ImportError as error:
            if not self._warned:
                log.warning("%s Or switch them off with logger.pictures=false.", error)
            self._warned = True
            return
        self._wait()
        path = trainer.folder / "pictures" / f"step_{trainer.step:06d}.png"
        self._drawing = self._thread.submit(_draw, figure, path, trainer.log, trainer.step)

    def _wait(self) -> None:
        """Wait for the picture that is being drawn, and raise what went wrong with it."""
        if self._drawing is not None:
            self._drawing.result()
        self._drawing = None


def _draw(figure: Any, path: Path, run_log: Any, step: int) -> None:
    rgb = pixels(figure)
    try:
        save(rgb, path)
    except OSError as error:
        log.warning("A picture could not be written: %s.", error)
    run_log.picture(step, "raster_and_traces", rgb)


def of_one_trial(trainer: Any, leaves: list[jax.Array], trial: int = 0) -> Any:
    """Return a figure of one held-out trial: input, rasters, traces, readout; of an ensemble its first member.

    Args:
        trainer: gives the trial, its encoder and what the figure is called.
        leaves: the state of training, whole.
        trial: which of the validation trials, or of the test trials where none are held out.
    """
    name = "validation" if "validation" in trainer.splits else "test"
    one = trainer.splits[name].take(np.array([trial])).dense()
    frames = jnp.asarray(one.x[:, : int(one.lengths[0])]).swapaxes(0, 1)
    x, _ = trainer.encoder(frames, jnp.ones(frames.shape[:2], bool))
    model = trainer.layout.evaluation_model([leaf[0] for leaf in leaves] if trainer.members else leaves)
    out, spikes, V = record(model, x)
    title = f"{name} trial {trial}, class {trainer.classes[int(one.y[0])]}, step {trainer.step}"
    return raster_and_traces(
        np.asarray(x), out, spikes, V, title=title, dt_ms=dt_in_seconds() * 1e3, classes=trainer.classes
    )


def record(model: Any, x: Any) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run one trial `(T, 1, C)` and return the output, the spikes and the potentials V of every layer."""
    out, spikes, states = nnx.capture(type(model).__call__, SpikeTrain, StateTrain)(model, x)
    trains = {"/".join(map(str, p[:-1])): np.asarray(s.get_value()[0]) for p, s in nnx.to_flat_state(spikes)}
    potentials = {
        path.removesuffix("/V"): _bare(s.get_value()[0])
        for path, s in (("/".join(map(str, p)), s) for p, s in nnx.to_flat_state(states))
        if path.endswith("/V")
    }
    return np.asarray(out), trains, potentials


def raster_and_traces(
    x: np.ndarray,
    out: np.ndarray,
    spikes: dict[str, np.ndarray],
    potentials: dict[str, np.ndarray],
    *,
    title: str,
    dt_ms: float,
    classes: Sequence[str],
) -> Any:
    """Return a matplotlib figure: input, one raster and some traces per layer, output.

    Raises:
        ImportError: matplotlib is missing; the message says what to install.
    """
    times = np.arange(len(x)) * dt_ms
    rows = 2 + 2 * len(spikes)
    height = 1.6 * rows
    figure = new_figure(figsize=(7, height), dpi=120, layout="none")  # to find a layout takes longer than to draw it
    figure.subplots_adjust(left=0.15, right=0.86, bottom=0.5 / height, top=1 - 0.45 / height, hspace=0.25)
    axes = iter(figure.subplots(rows, 1, sharex=True))
    figure.suptitle(title, fontsize=10)

    beside: dict[str, Any] = {
        "loc": "center left",
        "bbox_to_anchor": (1.0, 0.5),
        "fontsize": 6,
        "title_fontsize": 6,
        "frameon": False,
    }
    ax = next(axes)
    limit = np.abs(x).max() or 1.0
    ax.imshow(x[:, 0].T, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit,
              interpolation="nearest", extent=(-dt_ms / 2, times[-1] + dt_ms / 2, -0.5, x.shape[-1] - 0.5))  # fmt: skip
    ax.set_ylabel("input\nchannel")
    for name, train in spikes.items():
        flat = train[:, 0].reshape(len(train), -1)
        steps, neurons = np.nonzero(flat)
        ax = next(axes)
        ax.scatter(times[steps], neurons, s=6, marker="|", color="black", linewidths=0.8)
        rate = flat.mean() / dt_ms * 1000
        ax.set_ylabel(f"{name}\nneuron")
        ax.set_ylim(-1, flat.shape[1])
        ax.set_title(f"{int(flat.sum())} spikes, {rate:.1f} Hz per neuron", fontsize=8, loc="right")
        ax = next(axes)
        V = next((v for key, v in potentials.items() if key.startswith(name)), None)
        if V is not None:
            V = V[:, 0].reshape(len(V), -1)
            for i, neuron in enumerate(np.argsort(flat.sum(0), kind="stable")[:: -max(1, flat.shape[1] // 4)][:4]):
                ax.plot(times, V[:, neuron], lw=1, color=f"C{i}", label=f"{neuron}")
                fired = flat[:, neuron] > 0
                ax.plot(times[fired], V[fired, neuron], "o", ms=3, color=f"C{i}")
            ax.legend(title="neuron", **beside)
        ax.set_ylabel("V before reset\n(dots: spikes)")
    ax = next(axes)
    for c in range(out.shape[-1]):
        ax.plot(
            times, out[:, 0, c], lw=1.2, color=f"C{c % 10}", label=_short(classes[c]) if c < len(classes) else f"{c}"
        )
    if out.shape[-1] <= 20:
        ax.legend(title="class", **beside)
    ax.set_ylabel("readout")
    ax.set_xlabel("time (ms)")
    ax.set_xlim(-dt_ms / 2, times[-1] + dt_ms / 2)
    figure.align_ylabels()
    return figure


def _short(name: str) -> str:
    """Return a name as it fits beside the axes."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def pixels(figure: Any) -> np.ndarray:
    """Return a figure as `(height, width, 3)` bytes."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def save(rgb: np.ndarray, path: Path) -> None:
    """Write a picture `(height, width, 3)` as PNG."""
    from matplotlib.image import imsave

    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, rgb)


def _bare(x: Any) -> np.ndarray:
    return np.asarray(getattr(x, "mantissa", x))
