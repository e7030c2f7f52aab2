"""Run an experiment over several seeds and write its results file, its pictures and the table in its README.

python scripts/results.py vowels --seeds 0 1 2 3 4
python scripts/results.py fashion_rows --seeds 0 1 2
python scripts/results.py fashion_rows --seeds 0 1 2 --at-once 2    # two seeds side by side, each on one core
python scripts/results.py vowels --tables-only     # from the results file that is there
python scripts/results.py delays_without --of delays    # another configuration, beside the results of delays

Data sets that are not part of spiketrain are looked for where `SPIKETRAIN_DATA` says.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ledger import ROOT, write_ledger
from readme import origin, put_table

HEADLINE = {"vowels": (ROOT / "README.md",)}  # pages beside its own that show the results of an experiment


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--at-once", type=int, default=1, help="how many seeds to train side by side, each on one core")
    parser.add_argument("--tables-only", action="store_true")
    parser.add_argument("--of", help="the folder in experiments/ that it belongs to, if it has none of its own")
    arguments = parser.parse_args()
    folder = ROOT / "experiments" / (arguments.of or arguments.experiment)
    name = arguments.experiment if arguments.of else "results"
    if not arguments.tables_only:
        with tempfile.TemporaryDirectory() as scratch:
            jobs = [(arguments.experiment, seed, Path(scratch) / str(seed)) for seed in arguments.seeds]
            if arguments.at_once > 1:
                os.environ["JAX_NUM_CPU_DEVICES"] = "1"
            with ThreadPoolExecutor(arguments.at_once) as pool:
                runs = list(pool.map(lambda job: run(*job), jobs))
            results = summarise(arguments.experiment, runs, arguments.of)
            if not arguments.of:
                draw(runs, folder)
        (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads((folder / f"{name}.json").read_text())
    put_table(folder / "README.md", table(results), by="scripts/results.py", name=name)
    for readme in HEADLINE.get(arguments.experiment, ()):
        put_table(readme, table(results), by="scripts/results.py")
    write_ledger()


def run(experiment: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train one seed in a process of its own and return what it recorded."""
    started = time.monotonic()
    command = [sys.executable, "-m", "spiketrain.cli.train", f"experiment={experiment}", f"seed={seed}"]
    subprocess.run([*command, f"hydra.run.dir={folder}"], check=True, cwd=ROOT)
    wall = time.monotonic() - started
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return {"seed": seed, "wall_s": wall, "result": result, "config": config, "metrics": metrics, "folder": folder}


def summarise(experiment: str, runs: list[dict[str, Any]], of: str | None = None) -> dict[str, Any]:
    """Return what is kept of the runs."""
    from spiketrain.training.provenance import cpu, provenance

    accuracies = [r["result"]["test"]["accuracy"] for r in runs]
    return {
        "experiment": experiment,
        **({"of": of} if of else {}),
        "config": {group: runs[0]["config"][group] for group in ("data", "encoder", "model")},
        "command": f"python scripts/results.py {' '.join(sys.argv[1:])}",
        "mean_test_accuracy": float(np.mean(accuracies)),
        "std_test_accuracy": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        "parameters": runs[0]["result"]["parameters"],
        "seeds": [
            {"seed": r["seed"], "wall_s": round(r["wall_s"], 1), "train_s": r["result"]["seconds"]}
            | {split: r["result"][split] for split in ("validation", "test") if split in r["result"]}
            | {m["split"]: m for m in r["metrics"] if m["split"] == "deployed"}
            for r in runs
        ],
        "cpu": cpu(),
        "provenance": provenance(),
    }


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = [
        "| seed | test accuracy | validation accuracy | firing rate | training | whole command |",
        "|---|---|---|---|---|---|",
    ]
    for r in results["seeds"]:
        deployed = f" ({100 * r['deployed']['accuracy']:.2f} % deployed)" if "deployed" in r else ""
        rates = [v for k, v in r["test"].items() if k.startswith("rate_hz/")]
        validation = f"{100 * r['validation']['accuracy']:.1f} %" if "validation" in r else "none"
        rows.append(
            f"| {r['seed']} | {100 * r['test']['accuracy']:.2f} %{deployed} | {validation} | {np.mean(rates):.0f} Hz "
            f"| {r['train_s']:.1f} s | {r['wall_s']:.1f} s |"
        )
    return "\n".join(
        [
            f"**Test accuracy {100 * results['mean_test_accuracy']:.2f} % ± {100 * results['std_test_accuracy']:.2f}** "
            f"(mean and standard deviation over {len(results['seeds'])} seeds, {results['parameters']:,} parameters).",
            "",
            *rows,
            "",
            f"{origin(results)} Training is everything between the first and the last optimizer step, compilation left "
            "out; the whole command adds start-up, compilation, pictures and evaluation.",
        ]
    )


def draw(runs: list[dict[str, Any]], folder: Path) -> None:
    """Draw the learning curves of all seeds and keep the last raster of the first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for r in runs:
        for split, style in (("train", "-"), ("validation", "--")):
            points = [m for m in r["metrics"] if m["split"] == split]
            steps = [m["step"] for m in points]
            color = f"C{r['seed'] % 10}"
            left.plot(steps, [100 * m["accuracy"] for m in points], style, lw=1, color=color)
            right.plot(steps, [m["loss"] for m in points], style, lw=1, color=color)
        left.plot([], [], color=f"C{r['seed'] % 10}", label=f"seed {r['seed']}")
    left.set(xlabel="optimizer step", ylabel="accuracy (%)")
    left.legend(fontsize=7, title="solid: train, dashed: validation", title_fontsize=7)
    right.set(xlabel="optimizer step", ylabel="cross-entropy")
    figure.savefig(folder / "curves.png", dpi=130)
    last = sorted((runs[0]["folder"] / "pictures").glob("step_*.png"))[-1]
    (folder / "raster.png").write_bytes(last.read_bytes())


if __name__ == "__main__":
    main()
