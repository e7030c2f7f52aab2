"""Simulate the balanced networks, measure and draw them, and write results.json and the table in README.md.

python experiments/coba/run.py                                           # what README.md shows
python experiments/coba/run.py --net coba --seconds 1 --seeds 0 1 2
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parents[1] / "scripts")]

import brainunit as u
import jax
import numpy as np
from net import COBANet, CUBANet, kick
from readme import origin, put_table

import spiketrain as st
from spiketrain.training.provenance import cpu, provenance

START = 100 * u.ms  # left out of every measure: the network forgets how it was started


NETWORKS = {
    "coba": (COBANet, kick),
    "coba_driven": (COBANet, st.Step(0.2 * u.nA)),
    "cuba": (CUBANet, st.Step(0.0 * u.nA)),
}
LABELS = {"coba": "COBA", "coba_driven": "COBA, 0.2 nA throughout", "cuba": "CUBA"}
PUBLISHED = {"coba_driven": "20.5 Hz", "cuba": "5.6 Hz"}  # of one run in ANNarchy: see README.md


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=5.0, help="of biological time, at least 1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    if arguments.seconds < 1:
        parser.error("--seconds must be at least 1")
    st.environ.set(dt=0.1 * u.ms)

    file = HERE / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    command = " ".join(["python experiments/coba/run.py", *sys.argv[1:]])
    for name in arguments.net:
        runs = [run(name, seed, arguments.seconds) for seed in arguments.seeds]
        made = {"command": command, "cpu": cpu(), "provenance": provenance()}
        results[name] = {"seconds": arguments.seconds, "runs": runs} | made
    results = {name: results[name] for name in NETWORKS if name in results}
    file.write_text(json.dumps(results, indent=1) + "\n")
    put_table(HERE / "README.md", table(results), by="experiments/coba/run.py")
    print(table(results))


def run(name: str, seed: int, seconds: float) -> dict[str, Any]:
    """Simulate one network twice, the second time for its speed alone, and return what was measured."""
    kind, drive = NETWORKS[name]
    net = kind(seed=seed)
    jax.clear_caches()  # so that the first run is one
    first_s, recording = timed(net, drive, seconds)
    measured = measures(recording["spikes"], recording.times, net.n_E)
    if name in ("coba", "cuba") and seed == 0:
        draw(name, recording, net.n_E)
    del recording
    again_s, _ = timed(net, drive, seconds)
    measured |= {"seed": seed, "first_run_s": first_s, "wall_s_per_s": again_s / seconds}
    print(name, *(f"{key}={value:.4g}" for key, value in measured.items()), flush=True)
    return measured


def timed(net: Any, drive: Any, seconds: float) -> tuple[float, st.Recording]:
    started = time.perf_counter()
    recording = st.simulate(net, drive, duration=seconds * u.second, record={"spikes": "N.spikes"})
    return time.perf_counter() - started, recording


def measures(spikes: np.ndarray, times: u.Quantity, n_E: int) -> dict[str, float]:
    late = np.asarray(times > START)
    steps = round(1 / float(st.environ.get_dt().to_decimal(u.second)))
    whole = st.spike_statistics.firing_rate(spikes[:steps], times[:steps])
    spikes, times = spikes[late], times[late]
    rates = st.spike_statistics.firing_rate(spikes, times).to_decimal(u.hertz)
    cv = st.spike_statistics.cv_isi(spikes)
    return {
        "rate_hz": float(rates.mean()),
        "rate_E_hz": float(rates[:n_E].mean()),
        "rate_I_hz": float(rates[n_E:].mean()),
        "first_second_hz": float(whole.to_decimal(u.hertz).mean()),
        "cv_isi": float(np.nanmean(cv)),
        "correlation": float(st.spike_statistics.mean_correlation(spikes, times, window=10 * u.ms)),
    }


def draw(name: str, recording: st.Recording, n_E: int) -> None:
    """Draw the first second of one run beside what is distributed over neurons in all of it."""
    populations = {"excitatory": recording["spikes"][:, :n_E], "inhibitory": recording["spikes"][:, n_E:]}
    seconds = float(recording.times[-1].to_decimal(u.second))
    title = f"{LABELS[name]}: the first second, and distributions over {seconds:g} s"
    figure = st.plots.activity(populations, recording.times, title=title)
    raster, *_ = figure.subfigs[0].axes
    raster.set_xlim(0, 1000)
    figure.savefig(HERE / f"raster_{name}.png")


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [
        "| network | rate | excitatory | inhibitory | CV of intervals | correlation | rate, first second | published "
        "| s per simulated second | first run |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        runs = result["runs"]

        def spread(key: str, digits: int, runs: Any = runs) -> str:
            values = [r[key] for r in runs]
            deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.{digits}f}{deviation}"

        wall, first = (statistics.median(r[key] for r in runs) for key in ("wall_s_per_s", "first_run_s"))
        rows.append(
            f"| {LABELS[name]} | {spread('rate_hz', 2)} Hz | {spread('rate_E_hz', 2)} Hz | {spread('rate_I_hz', 2)} Hz "
            f"| {spread('cv_isi', 2)} | {spread('correlation', 4)} | {spread('first_second_hz', 2)} Hz "
            f"| {PUBLISHED.get(name, '')} | {wall:.2f} | {first:.1f} s |"
        )
    return "\n".join([*rows, "", *dict.fromkeys(map(origin, results.values()))])


if __name__ == "__main__":
    main()
