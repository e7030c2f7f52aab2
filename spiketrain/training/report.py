"""What an evaluation is written as: one record of plain data, tables for a terminal, predictions, a picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spiketrain import metrics
from spiketrain.errors import ConfigError
from spiketrain.plots import new_figure
from spiketrain.training.evaluation import Evaluation, Predictions, sweep
from spiketrain.training.trainer import Trainer

MOST_CLASSES = 25  # of which a confusion matrix still fits into a terminal


def report(
    trainer: Trainer, split: str, *, sweeps: Mapping[str, Sequence[float]] | None = None, seed: int = 0
) -> tuple[dict[str, Any], Predictions]:
    """Evaluate what a trainer holds; within its time step.

    Args:
        trainer: a trained or restored one.
        split: one of its splits.
        sweeps: the values of each disturbance to try; see `Evaluation.disturbed`.
        seed: of what disturbances draw.

    Returns:
        A record that JSON can hold, and the predictions.
    """
    evaluation = Evaluation(
        trainer.layout.evaluation_model(trainer.leaves),
        trainer.splits[split],
        loss=trainer.functions.loss,
        encoder=trainer.encoder,
        batch_size=trainer.eval_size,
        mesh=trainer.mesh,
        piece_steps=trainer.settings.piece_steps,
    )
    found = {kind: sweep(evaluation, kind, values, seed=seed) for kind, values in (sweeps or {}).items()}
    predictions = evaluation.predict()
    rows = metrics.per_class(predictions.confusion)
    record = {
        "step": trainer.step,
        "split": split,
        "trials": len(predictions.labels),
        "metrics": trainer.evaluate(split),
        "classes": list(trainer.classes),
        "per_class": [{"class": name, **row} for name, row in zip(trainer.classes, rows, strict=True)],
        "confusion": predictions.confusion.tolist(),
        "operations": evaluation.operations().record(),
        "seed": seed,
        "sweeps": found,
    }
    return record, predictions


def text(record: Mapping[str, Any]) -> str:
    """Return a record as lines for a terminal."""
    parts = [_metrics(record), _per_class(record)]
    if len(record["classes"]) <= MOST_CLASSES:
        parts.append(_confusion(record))
    parts.append(_operations(record["operations"]))
    parts += [sweep_table(kind, rows) for kind, rows in record["sweeps"].items()]
    return "\n\n".join(parts)


def sweep_table(kind: str, rows: Sequence[Mapping[str, float]]) -> str:
    """Return accuracy and loss at each value of a disturbance."""
    cells = [[f"{row['value']:g}", _percent(row["accuracy"]), f"{row['loss']:.4f}"] for row in rows]
    return table([kind, "accuracy", "loss"], cells)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for first, *others in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def _metrics(record: Mapping[str, Any]) -> str:
    split, found = record["split"], record["metrics"]
    lines = [f"{split} {name}: {value!r}" for name, value in found.items()]
    return "\n".join([*lines, f"{split} accuracy: {100 * found['accuracy']:.1f} %"])


def _per_class(record: Mapping[str, Any]) -> str:
    rows = [
        [row["class"], str(row["trials"]), *(_percent(row[name]) for name in ("precision", "recall", "f1"))]
        for row in record["per_class"]
    ]
    return table(["class", "trials", "precision", "recall", "F1"], rows)


def _confusion(record: Mapping[str, Any]) -> str:
    names = record["classes"]
    rows = [[f"{i}  {name}" if name != str(i) else name, *(str(n) if n else "." for n in counts)]
            for i, (name, counts) in enumerate(zip(names, record["confusion"], strict=True))]  # fmt: skip
    return table(["true \\ predicted", *map(str, range(len(names)))], rows)


def _operations(record: Mapping[str, Any]) -> str:
    rows = [[x["layer"], x["input"], f"{x['operations']:,.0f}", f"{x['dense']:,.0f}"] for x in record["layers"]]
    synaptic, multiply = record["synaptic_operations"], record["multiply_accumulates"]
    lines = [
        table(["operations per trial", "input", "taken", "dense"], rows),
        f"{synaptic:,.0f} synaptic operations and {multiply:,.0f} multiplications with accumulation per trial, "
        f"of {record['dense']:,.0f} in dense products",
    ]
    if record["uncounted"]:
        lines.append(f"not counted, for they run more or less than once per step: {', '.join(record['uncounted'])}")
    return "\n".join(lines)


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"


def check_format(path: Path) -> None:
    """Refuse a file of predictions that is neither `.npz` nor `.csv`."""
    if path.suffix not in (".npz", ".csv"):
        raise ConfigError(f"--predictions {path} must end in .npz or .csv.")


def write_predictions(path: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """Write trial, label, prediction, logits and probabilities, one row per trial of the split, in its order.

    In an `.npz` they are arrays, beside the names of the classes; in a `.csv`, columns.
    """
    trials = np.arange(len(predictions.labels))
    if path.suffix == ".npz":
        np.savez(
            path,
            trial=trials,
            label=predictions.labels,
            prediction=predictions.predicted,
            logits=predictions.logits,
            probabilities=predictions.probabilities,
            classes=np.array(classes),
        )
        return
    each = [f"{what}_{i}" for what in ("logit", "probability") for i in range(len(classes))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "label", "prediction", *each])
        columns = zip(trials, predictions.labels, predictions.predicted, strict=True)
        scores = np.concatenate([predictions.logits, predictions.probabilities], 1)
        writer.writerows([*ids, *map(repr, row)] for ids, row in zip(columns, scores.tolist(), strict=True))


def confusion_picture(record: Mapping[str, Any], *, title: str = "") -> Any:
    """Return a matplotlib figure of the confusion matrix: the part of each true class, and the number of trials.

    Raises:
        ImportError: matplotlib is missing; the message says what to install.
    """
    counts = np.array(record["confusion"])
    names, n = record["classes"], len(record["classes"])
    part = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(3.2 + 0.34 * n, 4.2), 16)
    figure = new_figure(figsize=(side, side - 0.6), dpi=150)
    ax = figure.subplots()
    shown = ax.imshow(part, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    places = range(n) if n <= 40 else range(0, n, -(-n // 40))
    ax.set_xticks(places, [names[i] for i in places], rotation=90, fontsize=8)
    ax.set_yticks(places, [names[i] for i in places], fontsize=8)
    if n <= MOST_CLASSES:
        for i, j in zip(*np.nonzero(counts), strict=True):
            ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color="w" if part[i, j] > 0.5 else "k")
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    bar = figure.colorbar(shown, ax=ax, shrink=0.8)
    bar.set_label("part of the true class")
    return figure
