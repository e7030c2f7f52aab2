"""Draw every surrogate and write the table in docs/surrogates.md, from the library's own docstrings and slopes.

python scripts/plot_surrogates.py
"""

import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.config import registry

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- table: written by scripts/plot_surrogates.py -->", "<!-- end of table -->"
FAMILIES = {
    "sigmoidal": "slope of a sigmoid",
    "bell": "bell",
    "piecewise": "straight pieces",
    "one_sided": "one-sided",
    "fourier": "periodic",
}
COLOURS = dict(zip(FAMILIES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A6A00"), strict=True))


def main() -> None:
    """Write the picture and the table."""
    surrogates = every_surrogate()
    picture(surrogates).savefig(DOCS / "surrogates.png", dpi=200)
    page = DOCS / "surrogates.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + "\n\n" + table(surrogates) + "\n\n" + END + rest.split(END)[1])


def every_surrogate() -> dict[str, Any]:
    """Return all surrogates at their defaults by their name in a configuration, family by family."""
    found = {name: registry.lookup("surrogate", name, "surrogate").load()() for name in registry.names("surrogate")}
    own = {name: s for name, s in found.items() if family(s) in FAMILIES}
    return dict(sorted(own.items(), key=lambda item: (list(FAMILIES).index(family(item[1])), item[0])))


def family(surrogate: Any) -> str:
    """Return the module that a surrogate lives in."""
    return type(surrogate).__module__.rpartition(".")[2]


def table(surrogates: dict[str, Any]) -> str:
    """Return one row per surrogate, in Markdown."""
    rows = [
        r"| class and constants | in a configuration | slope $\sigma'(x)$ | integral | source |",
        "|---|---|---|---|---|",
    ]
    for name, surrogate in surrogates.items():
        documented = type(surrogate).__doc__ or ""
        display = re.search(r"\$\$(.+?)\$\$", documented, re.DOTALL)
        equation = f"${' '.join(display[1].split())}$" if display else documented.partition("\n")[0]
        equation = re.split(r", (?:which|with a|zero|whose)|: `|\.$", equation)[0].replace(r"\sigma'(x) = ", "")
        source = re.search(r"Reference: (.+?), (https://\S+?)\.?\n", documented)
        assert source is not None
        link = f"[{source[1]}]({source[2]})"
        escaped = equation.replace("|", r"\|")
        rows.append(f"| `{surrogate}` | `{name}` | {escaped} | {integral(surrogate)} | {link} |")
    return "\n".join(rows)


def integral(surrogate: Any) -> str:
    """Return the integral of a slope over the real line, or that there is none."""
    with jax.enable_x64(True):
        partial = []
        for end in (1e6, 1e9):
            s = np.linspace(-math.asinh(end), math.asinh(end), 400_001)  # x = sinh(s) reaches far in few points
            slope = np.asarray(surrogate.slope(jnp.asarray(np.sinh(s))), np.float64)
            partial.append(float(np.trapezoid(slope * np.cosh(s), s)))
    exists = family(surrogate) != "fourier" and abs(partial[1] - partial[0]) < 1e-4
    return f"{partial[1]:.3g}" if exists else "none"


def picture(surrogates: dict[str, Any]) -> Any:
    """Return a figure with one panel per surrogate, all on the same axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = 5
    rows = math.ceil(len(surrogates) / columns)
    figure = Figure(figsize=(7.2, 1.34 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True).ravel()
    x = np.linspace(-2.5, 2.5, 2001)
    for ax, surrogate in zip(axes, surrogates.values(), strict=False):
        colour = COLOURS[family(surrogate)]
        y = np.asarray(surrogate.slope(jnp.asarray(x, jnp.float32)))
        ax.axvline(0, color="0.85", lw=0.8, zorder=0)
        ax.axhline(0, color="0.85", lw=0.8, zorder=0)
        ax.fill_between(x, y, color=colour, alpha=0.15, lw=0)
        ax.plot(x, y, color=colour, lw=1.3)
        ax.set_title(type(surrogate).__name__, fontsize=7, pad=3)
        constants = ", ".join(f"{SYMBOLS.get(k, k)} = {v:g}" for k, v in vars(surrogate).items())
        ax.text(0.03, 0.97, constants.replace(", ", "\n"), transform=ax.transAxes, va="top", fontsize=5.5, color="0.35")
        if (area := integral(surrogate)) != "none":
            ax.text(0.97, 0.97, rf"$\int = {area}$", transform=ax.transAxes, ha="right", va="top", fontsize=5.5)
    for ax in axes:
        ax.tick_params(labelsize=6, length=2)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set(xlim=(-2.5, 2.5), ylim=(-0.35, 1.2), xticks=[-2, 0, 2], yticks=[0, 0.5, 1])
    for ax in axes[len(surrogates) :]:
        ax.set_visible(False)
    figure.supxlabel("distance to threshold $x$", fontsize=8)
    figure.supylabel(r"slope $\sigma'(x)$", fontsize=8)
    handles = [Line2D([], [], color=COLOURS[f], lw=2, label=label) for f, label in FAMILIES.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=7, frameon=False)
    return figure


SYMBOLS = {
    "alpha": r"$\alpha$",
    "beta": r"$\beta$",
    "gamma": r"$\gamma$",
    "sigma": r"$\sigma$",
    "width": "$w$",
    "scale": "$c$",
    "t_period": "$T$",
    "n": "$n$",
    "h": "$h$",
    "s": "$s$",
    "c": "$c$",
    "w": "$w$",
}


if __name__ == "__main__":
    main()
