"""Train on the official split and without each speaker in turn; write results.json, the tables in README.md, pictures.

python experiments/spoken_digits/run.py                     # what README.md shows
python experiments/spoken_digits/run.py --seeds 0 1 2 --folder runs/digits --launcher joblib
python experiments/spoken_digits/run.py --tables-only       # from the results file that is there
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path += [str(HERE), str(ROOT / "scripts")]

import yaml
from baseline import logistic_regression
from ledger import write_ledger
from readme import origin, put_table

from spiketrain.data.speech import load_spoken_digits
from spiketrain.training.provenance import cpu, provenance
from spiketrain.training.recorded import find_runs

SPEAKERS = range(6)
SPLITS = (None, *SPEAKERS)  # None is the official split
TOLD = ("logger.tensorboard=false", "logger.progress=false")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="of the runs; the same one continues what was interrupted")
    parser.add_argument("--launcher", choices=["basic", "joblib"], default="basic")
    parser.add_argument("--tables-only", action="store_true")
    arguments = parser.parse_args()
    file = HERE / "results.json"
    if not arguments.tables_only:
        folder = arguments.folder or ROOT / "runs" / "spoken_digits" / time.strftime("all_%Y-%m-%d_%H-%M-%S")
        sweep(folder, arguments.seeds, arguments.launcher)
        runs = [read(run) for run in find_runs([folder])]
        results = summarise(runs, baselines())
        command = f"python experiments/spoken_digits/run.py --seeds {' '.join(map(str, arguments.seeds))}"
        made = {"command": command, "cpu": cpu(), "provenance": provenance()}
        file.write_text(json.dumps(results | made, indent=1) + "\n")
        draw(runs)
    text = table(json.loads(file.read_text()))
    put_table(HERE / "README.md", text, by="experiments/spoken_digits/run.py")
    write_ledger()
    print(text)


def baselines() -> list[float]:
    """Return what logistic regression reaches on every split; a new voice asks for a stronger pull to zero."""
    return [logistic_regression(load_spoken_digits(held_out_speaker=k), l2=1.0 if k is None else 100.0) for k in SPLITS]


def sweep(folder: Path, seeds: list[int], launcher: str) -> None:
    """Train every split with every seed."""
    swept = [
        "data.held_out_speaker=" + ",".join("null" if k is None else str(k) for k in SPLITS),
        "seed=" + ",".join(map(str, seeds)),
    ]
    command = [sys.executable, "-m", "spiketrain.cli.train", "-m", f"launcher={launcher}", "experiment=spoken_digits"]
    subprocess.run([*command, *TOLD, *swept, f"hydra.sweep.dir={folder}"], check=True, cwd=ROOT)


def read(run: Any) -> dict[str, Any]:
    """Return what one run recorded."""
    if run.state != "finished":
        raise SystemExit(f"{run.folder} is {run.state}. {run.why}")
    return {
        "held_out_speaker": run.settings["data.held_out_speaker"],
        "seed": run.settings["seed"],
        "config": yaml.safe_load((run.folder / "config.yaml").read_text()),
        "folder": run.folder,
        "result": json.loads((run.folder / "result.json").read_text()),
        "metrics": [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()],
    }


def summarise(runs: list[dict[str, Any]], baselines: list[float]) -> dict[str, Any]:
    """Return what is kept of the runs: per split the accuracy of every seed and of the baseline."""
    splits = []
    for speaker, baseline in zip(SPLITS, baselines, strict=True):
        of_split = sorted((r for r in runs if r["held_out_speaker"] == speaker), key=lambda r: r["seed"])
        splits.append(
            {
                "held_out_speaker": speaker,
                "baseline": baseline,
                "seeds": [r["seed"] for r in of_split],
                "test_accuracy": [r["result"]["test"]["accuracy"] for r in of_split],
                "train_s": [r["result"]["seconds"] for r in of_split],
                "rates_hz": {k: v for k, v in of_split[0]["result"]["test"].items() if k.startswith("rate_hz/")},
            }
        )
    return {
        "experiment": "spoken_digits",
        "config": {group: runs[0]["config"][group] for group in ("data", "encoder", "model")},
        "parameters": runs[0]["result"]["parameters"],
        "splits": splits,
    }


def table(results: dict[str, Any]) -> str:
    """Return the results as Markdown: the official split, then the folds one by one."""
    official, *folds = results["splits"]
    seeds = official["seeds"]
    lines = [
        f"**Official split {accuracy(official['test_accuracy'])}; a speaker who was not heard in training "
        f"{accuracy(of_seeds(folds))}** (mean and standard deviation over {len(seeds)} seeds, the second one over the "
        f"six folds in each; {results['parameters']:,} parameters).",
        "",
        "| tested on | "
        + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean | spike counts, logistic regression |",
        "|---|" + "---|" * (len(seeds) + 2),
        row("official split", official["test_accuracy"], official["baseline"]),
    ]
    for fold in folds:
        speaker = fold["held_out_speaker"]
        lines.append(row(f"speaker {speaker}", fold["test_accuracy"], fold["baseline"]))
    lines.append(row("mean of the six speakers", of_seeds(folds), mean(f["baseline"] for f in folds)))
    seconds = [s for split in results["splits"] for s in split["train_s"]]
    return "\n".join(
        [
            *lines,
            "",
            f"{origin(results)} The {len(seconds)} runs took {mean(seconds):.0f} s of training each, "
            f"{sum(seconds) / 60:.0f} minutes together.",
        ]
    )


def of_seeds(folds: list[dict[str, Any]]) -> list[float]:
    """Return the mean of the folds for every seed."""
    return [mean(of_folds) for of_folds in zip(*(fold["test_accuracy"] for fold in folds), strict=True)]


def accuracy(values: list[float]) -> str:
    """Return mean and standard deviation in percent."""
    return f"{100 * mean(values):.2f} % ± {100 * stdev(values) if len(values) > 1 else 0.0:.2f}"


def row(what: str, accuracies: list[float], baseline: float) -> str:
    """Return one line of the table."""
    return "| " + " | ".join([what, *(f"{100 * a:.1f} %" for a in [*accuracies, mean(accuracies), baseline])]) + " |"


def draw(runs: list[dict[str, Any]]) -> None:
    """Draw the training of the first seed on every split, and keep the raster of the official one."""
    from matplotlib.figure import Figure

    first = min(r["seed"] for r in runs)
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for r in (r for r in runs if r["seed"] == first):
        speaker, points = r["held_out_speaker"], [m for m in r["metrics"] if m["split"] == "train"]
        label = "official split" if speaker is None else f"without speaker {speaker}"
        color = "black" if speaker is None else f"C{speaker}"
        epochs = [m["epoch"] for m in points]
        left.plot(epochs, [100 * m["accuracy"] for m in points], lw=1, color=color, label=label)
        left.plot(epochs[-1], 100 * r["result"]["test"]["accuracy"], "o", ms=4, color=color)
        right.plot(epochs, [m["loss"] for m in points], lw=1, color=color)
    left.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(50, 101))
    left.legend(fontsize=6, title="line: training, dot: test", title_fontsize=6)
    right.set(xlabel="epoch", ylabel="training loss")
    figure.savefig(HERE / "curves.png", dpi=130)
    official = next(r for r in runs if r["seed"] == first and r["held_out_speaker"] is None)
    (HERE / "raster.png").write_bytes(sorted((official["folder"] / "pictures").glob("step_*.png"))[-1].read_bytes())


if __name__ == "__main__":
    main()
