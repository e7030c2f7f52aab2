"""Write `experiments/README.md`, one row for every experiment with a results file: what was reached, and at what cost.

python scripts/ledger.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
LEDGER = ROOT / "experiments" / "README.md"

AIMS = {  # per cent, set before the search; of spoken_digits the official split and the folds
    "vowels": 98.5,
    "spoken_digits": 98.0,
    "spoken_digits folds": 85.0,
    "fashion_rows": 90.0,
    "fashion_conv": 92.5,
    "mnist_rows": 98.8,
    "randman": 95.0,
    "smnist": 98.0,
    "psmnist": 95.0,
}

MISSED = {  # what was tried towards an aim that was not reached
    "fashion_conv": "more epochs, a third convolution, other gains and learning rates",
}

NOT_RUN = {  # why an experiment has no score
    "smnist": "784 steps want a GPU, which there was not; smnist_short stands for it in the table",
    "psmnist": "784 steps want a GPU, which there was not; psmnist_short stands for it in the table",
    "shd": "its files are to be had from their authors alone; the recipe is tested on files in their layout",
    "ssc": "as shd",
    "gesture": "as shd",
}

PAGE = """\
# Experiments

Written by `scripts/ledger.py` from the results file of every experiment whose result is a score. The score is the test
accuracy at the last epoch, mean and standard deviation over seeds. The page of each experiment says what was tried, on
what it was chosen, and where a test set had been seen before its recipe was final. The time is that of the whole
command, start-up, compilation, evaluation and pictures included, in the mean over seeds; that of several folds is
training alone, in the mean over runs.

{table}

The aim was set before the search. Where it was not reached, this was tried, as the page of the experiment tells in full:
{missed}

Without a score are:
{not_run}

[coba](coba/README.md) is a simulation and has rates in place of a score.
"""


def write_ledger() -> None:
    """Write the page."""
    LEDGER.write_text(page())


def page() -> str:
    """Return the text of the page, a function of the results files alone."""
    files = sorted(path for path in LEDGER.parent.glob("*/*.json") if path.stem == "results" or "_" in path.stem)
    results = [row for file in files for row in rows(json.loads(file.read_text()))]
    head = (
        "experiment",
        "data",
        "model",
        "parameters",
        "score",
        "aim",
        "seeds",
        "time per seed",
        "hardware",
        "command",
    )
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *results)]
    return PAGE.format(table="\n".join(lines), missed=items(MISSED), not_run=items(NOT_RUN))


def items(reasons: dict[str, str]) -> str:
    """Return a list of experiments and what is said of each."""
    return "\n".join(f"- [{name}]({name}/README.md): {reason}." for name, reason in reasons.items())


def rows(results: dict[str, Any]) -> list[list[str]]:
    """Return the cells of one experiment: one row, one for the official split and the folds, or none without a score."""
    if "splits" in results:
        official, *folds = results["splits"]
        of_seeds = [float(np.mean(seed)) for seed in zip(*(fold["test_accuracy"] for fold in folds), strict=True)]
        seconds = float(np.mean([s for split in results["splits"] for s in split["train_s"]]))
        left_out = f"{len(folds)} folds, a speaker left out in each"
        return [
            row(results, over_seeds(official["test_accuracy"]), seconds, "official split", AIMS["spoken_digits"]),
            row(results, over_seeds(of_seeds), seconds, left_out, AIMS["spoken_digits folds"]),
        ]
    if "mean_test_accuracy" not in results:
        return []
    seconds = float(np.mean([seed["wall_s"] for seed in results["seeds"]]))
    score = results["mean_test_accuracy"], results["std_test_accuracy"], len(results["seeds"])
    aim = AIMS.get(results["experiment"])
    return [row(results, score, seconds, described_data(results["config"]["data"]), aim)]


def over_seeds(accuracies: list[float]) -> tuple[float, float, int]:
    """Return mean, standard deviation and number."""
    return (
        float(np.mean(accuracies)),
        float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        len(accuracies),
    )


def row(
    results: dict[str, Any], score: tuple[float, float, int], seconds: float, data: str, aim: float | None
) -> list[str]:
    """Return one row."""
    name, config = results["experiment"], results["config"]
    mean, std, seeds = score
    return [
        f"[{name}]({results.get('of', name)}/README.md)",
        data,
        described_model(config["model"]),
        f"{results['parameters']:,}",
        f"{100 * mean:.2f} % ± {100 * std:.2f}",
        beside_aim(100 * mean, aim),
        str(seeds),
        f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min",
        results["cpu"],
        f"`{results['command']}`",
    ]


def beside_aim(score: float, aim: float | None) -> str:
    """Return the aim and whether it was reached, or how far below it the score is."""
    if aim is None:
        return ""
    return f"{aim} %, reached" if score >= aim else f"{aim} %, {aim - score:.2f} below"


def described_data(config: dict[str, Any]) -> str:
    """Return the name of the data and the words among its settings."""
    return ", ".join(str(v) for k, v in config.items() if isinstance(v, str) and k != "path")


def described_model(config: dict[str, Any]) -> str:
    """Return the layers that have neurons or weights, in order, with their sizes."""
    if config["name"] == "spiking_net":
        cells = ("recurrent " if config["recurrent"] else "") + config["neuron"]["name"]
        return ", ".join(f"{cells} {size}" for size in config["hidden"])
    if config["name"] == "sequential":
        words = [described_layer(layer) for layer in config["layers"].values()]
        return ", ".join(word for word in words if word)
    return config["name"]


def described_layer(config: dict[str, Any]) -> str:
    """Return the kind of a layer, its neurons and its size, or nothing for one that only changes axes."""
    if config["name"] in ("reshape", "flatten"):
        return ""
    neuron = (config.get("neuron") or {}).get("name", "")
    return " ".join(str(word) for word in (config["name"], neuron, config.get("features", "")) if word).replace(
        "_", " "
    )


if __name__ == "__main__":
    write_ledger()
