"""`spiketrain-eval`: evaluate a checkpoint by itself.

spiketrain-eval runs/vowels/2026-01-31_12-00-00
spiketrain-eval runs/vowels/2026-01-31_12-00-00 --checkpoint best --split validation --json metrics.json
"""

import argparse
import json
import sys
from pathlib import Path

from spiketrain.cli.common import import_plugins, run
from spiketrain.cli.startup import start


def command() -> None:
    """Entry point of the console command."""
    start(main)


def main() -> None:
    """Run the command in this process, as it is."""
    parser = argparse.ArgumentParser(prog="spiketrain-eval", description="Evaluate a checkpoint by itself.")
    parser.add_argument("path", type=Path, help="a run folder, or the folder of one checkpoint")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step number (default: last)")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--json", type=Path, help="also write the metrics to this file")
    parser.add_argument("--plugins", default="", help="packages that register the run's own models or data: a,b")
    arguments = parser.parse_args()
    sys.exit(run(lambda: _evaluate(arguments)))


def _evaluate(arguments: argparse.Namespace) -> None:
    plugins = [name for name in arguments.plugins.split(",") if name]
    import_plugins(plugins)
    from spiketrain.training.run import evaluate

    meta, metrics = evaluate(arguments.path, which=arguments.checkpoint, split=arguments.split, plugins=plugins)
    record = {"checkpoint": str(arguments.path), "step": meta["step"], "split": arguments.split, "metrics": metrics}
    for name, value in metrics.items():
        print(f"{arguments.split} {name}: {value!r}")
    print(f"{arguments.split} accuracy: {100 * metrics['accuracy']:.1f} %")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command()
