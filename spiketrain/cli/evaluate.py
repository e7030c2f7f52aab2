"""`spiketrain-eval`: evaluate runs or checkpoints by themselves.

spiketrain-eval runs/vowels/2026-01-31_12-00-00
spiketrain-eval runs/vowels/2026-01-31_12-00-00 --checkpoint best --split validation --json metrics.json
spiketrain-eval runs/vowels/2* --sweep noise=0,0.2,0.5 --sweep bits=8,4,2
spiketrain-eval runs/vowels/2026-01-31_12-00-00 data=npz data.path=mine.npz --predictions mine.csv
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spiketrain.cli.common import import_plugins, run
from spiketrain.cli.startup import start
from spiketrain.errors import ConfigError, SpiketrainError

Record = dict[str, Any]


def command() -> None:
    """Entry point of the console command."""
    start(main)


def main() -> None:
    """Run the command in this process, as it is."""
    parser = argparse.ArgumentParser(prog="spiketrain-eval", description="Evaluate runs or checkpoints by themselves.")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="path | data.key=value",
        help="run folders or folders of one checkpoint; and, to evaluate on other data, the same settings of `data` that "
        "spiketrain-train takes",
    )
    parser.add_argument("--checkpoint", default="last", help="last, best or a step number (default: last)")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--member", type=int, help="one member of an ensemble, from 0 (default: one after the other)")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KIND=VALUE,...",
        help="accuracy and loss where the network is disturbed: noise, flip, jitter_ms, drop, bits or dt_ms",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what a sweep draws (default: 0)")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--predictions", type=Path, help="also write what is predicted, to this .npz or .csv")
    parser.add_argument("--picture", type=Path, help="also draw the confusion matrix, to this file")
    parser.add_argument("--plugins", default="", help="packages that register the run's own models or data: a,b")
    arguments = parser.parse_intermixed_args()
    sys.exit(run(lambda: _main(arguments)))


def _main(arguments: argparse.Namespace) -> None:
    arguments.plugins = [name for name in arguments.plugins.split(",") if name]
    arguments.data = data_settings([word for word in arguments.words if _is_setting(word)])
    arguments.sweeps = dict(map(parsed_sweep, arguments.sweep))
    paths = [Path(word) for word in arguments.words if not _is_setting(word)]
    if not paths:
        raise ConfigError("spiketrain-eval needs a run folder, or the folder of one checkpoint.")
    for path in (arguments.json, arguments.predictions, arguments.picture):
        if path:
            path.parent.stat()  # a folder that is not there is said before the work, not after it
    import_plugins(arguments.plugins)
    from spiketrain.training.disturbances import check

    for kind, values in arguments.sweeps.items():
        for value in values:
            check(kind, value)
    models = [model for path in paths for model in _models(path, arguments)]
    if len(models) == 1:
        record = _one(models[0], arguments)
        _write_json(arguments.json, record)
    else:
        if arguments.predictions or arguments.picture:
            raise ConfigError(f"--predictions and --picture take one model, got {len(models)}; --member chooses one.")
        _write_json(arguments.json, records := _several(models, arguments))
        if failed := sum("error" in record for record in records):
            raise SpiketrainError(f"{failed} of {len(records)} could not be evaluated.")


class Model(NamedTuple):
    """One trained model: a run or checkpoint, or a member of the ensemble that it holds."""

    path: Path
    member: int | None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path} member {self.member}"


def _models(path: Path, arguments: argparse.Namespace) -> list[Model]:
    from spiketrain.training.run import members_of

    if arguments.member is not None:
        return [Model(path, arguments.member)]
    try:
        members = members_of(path, which=arguments.checkpoint, plugins=arguments.plugins)
    except (SpiketrainError, OSError):
        members = 1  # its evaluation says what is wrong, in its place among the others
    return [Model(path, member if members > 1 else None) for member in range(members)]


def _one(model: Model, arguments: argparse.Namespace) -> Record:
    from spiketrain.training import report

    if arguments.predictions:
        report.check_format(arguments.predictions)
    record, predictions = _evaluate(model, arguments)
    print(report.text(record))
    if arguments.predictions:
        report.write_predictions(arguments.predictions, predictions, record["classes"])
    if arguments.picture:
        title = f"{record['split']}, step {record['step']}, {100 * record['metrics']['accuracy']:.1f} %"
        try:
            report.confusion_picture(record, title=title).savefig(arguments.picture)
        except (ImportError, ValueError) as error:  # matplotlib is missing, or does not know the format
            raise ConfigError(f"--picture {arguments.picture}: {error}") from error
    return record


def _several(models: Sequence[Model], arguments: argparse.Namespace) -> list[Record]:
    """Evaluate one model after the other, a line for each; one that fails is a line with its error."""
    from spiketrain.training import report

    records: list[Record] = []
    width = max(len(str(model)) for model in models)
    print(f"{'run':{width}}  {'step':>8}  accuracy      loss  synaptic operations", flush=True)
    for model in models:
        try:
            record = _evaluate(model, arguments)[0]
        except (SpiketrainError, OSError) as error:
            records.append({"checkpoint": str(model), "error": f"{type(error).__name__}: {error}"})
            print(f"{model!s:{width}}  {records[-1]['error']}", flush=True)
            continue
        records.append(record)
        found, operations = record["metrics"], record["operations"]["synaptic_operations"]
        line = f"{record['step']:8}  {100 * found['accuracy']:6.1f} %  {found['loss']:8.4f}  {operations:19,.0f}"
        print(f"{model!s:{width}}  {line}", flush=True)
    for record in records:
        for kind, rows in record.get("sweeps", {}).items():
            print(f"\n{record['checkpoint']}\n{report.sweep_table(kind, rows)}")
    return records


def _evaluate(model: Model, arguments: argparse.Namespace) -> tuple[Record, Any]:
    from spiketrain.training.report import report
    from spiketrain.training.run import restored

    of_run = {"which": arguments.checkpoint, "split": arguments.split, "plugins": arguments.plugins}
    with restored(model.path, **of_run, data=arguments.data, member=model.member) as (_, trainer):
        record, predictions = report(trainer, arguments.split, sweeps=arguments.sweeps, seed=arguments.seed)
        return {"checkpoint": str(model), "data": trainer.config["data"], **record}, predictions


def _write_json(path: Path | None, content: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _is_setting(word: str) -> bool:
    return word.startswith(("data=", "data."))


def data_settings(words: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `data` that are set on the command line: `data=npz data.path=mine.npz`.

    Values are read as YAML where they are numbers, lists or the like; what YAML takes for text is left as it stands.
    """
    import yaml

    settings = {}
    for word in words:
        key, equals, text = word.partition("=")
        name = "name" if key == "data" else key.removeprefix("data.")
        if not equals or not name:
            raise ConfigError(f"{word!r} is no setting. Write data=npz data.path=mine.npz, or ./{word} for a folder.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        settings[name] = text if isinstance(value, str) else value
    return settings


def parsed_sweep(word: str) -> tuple[str, list[float]]:
    """Return the kind and the values of `noise=0,0.1,0.2`."""
    kind, _, values = word.partition("=")
    try:
        return kind, [float(value) for value in values.split(",")]
    except ValueError:
        raise ConfigError(f"--sweep {word} cannot be read. Write, for example, --sweep noise=0,0.1,0.2.") from None


if __name__ == "__main__":
    command()
