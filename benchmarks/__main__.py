"""Run a benchmark, print its table and write its results file.

python -m benchmarks train           # one optimizer step of several networks against every peer
python -m benchmarks train --workloads W1 --T 250 --B 64 --peers spyx sparx --allocators default tuned
python -m benchmarks train --workloads W2 --update
python -m benchmarks memory          # training within an eighth of the memory, and trials of 10,000 steps
python -m benchmarks trainer         # what a run takes besides its optimizer steps
python -m benchmarks delays          # learned delays: one convolution against one product per delay
python -m benchmarks events          # training from files in the layout of SHD: memory of events and of dense trains
python -m benchmarks coba            # the COBA network against brainpy.state and brian2
python -m benchmarks coba --rounds 7 --seconds 2 --peers brian2
python -m benchmarks large           # 100,000 neurons with 1,000 synapses each: build, run, memory
python -m benchmarks long            # ten minutes of biological time, watched, in constant memory
"""

import argparse
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from benchmarks import circuits, delays, environments, events, memory, trainer, training, training_table, workloads
from scripts.readme import origin, put_table

HERE = Path(__file__).resolve().parent
TABLES = {
    "train": training_table.page,
    "memory": memory.table,
    "trainer": trainer.table,
    "delays": delays.table,
    "events": events.table,
    "coba": circuits.coba_table,
    "large": circuits.large_table,
    "long": circuits.long_table,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)
    train = commands.add_parser("train", help="training steps against the peers")
    add_training(train)
    budget = commands.add_parser("memory", help="training within a memory budget")
    budget.add_argument(
        "--T", type=int, nargs="*", default=[1000, 10_000], help="trials of the first are timed in pairs"
    )
    budget.add_argument("--B", type=int, default=64)
    budget.add_argument("--rounds", type=int, default=7)
    run = commands.add_parser("trainer", help="what a run takes besides its optimizer steps")
    run.add_argument("--experiment", default="vowels")
    run.add_argument("--rounds", type=int, default=21)
    learned = commands.add_parser("delays", help="layers with learned delays in several forms")
    learned.add_argument("--T", type=int, default=100)
    learned.add_argument("--B", type=int, nargs="+", default=[64, 256])
    learned.add_argument("--sizes", type=int, nargs="+", default=[140, 256, 256])
    learned.add_argument("--longest", type=int, default=25, help="the longest delay, in steps")
    learned.add_argument("--rounds", type=int, default=7)
    files = commands.add_parser("events", help="memory of training from events in files")
    files.add_argument("--trials", type=int, default=8156)
    files.add_argument("--events", type=int, default=8000, help="of a trial")
    coba = commands.add_parser("coba", help="the COBA network against its peers")
    coba.add_argument("--peers", nargs="*", default=["brainpy", "brian2"], choices=["brainpy", "brian2"])
    coba.add_argument("--rounds", type=int, default=5)
    coba.add_argument("--seconds", type=float, default=1.0, help="biological time of a round")
    large = commands.add_parser("large", help="a network that fills the memory")
    large.add_argument("--neurons", type=int, default=100_000)
    large.add_argument("--synapses", type=int, default=1000, help="per neuron")
    large.add_argument("--seconds", type=float, default=0.2)
    long = commands.add_parser("long", help="minutes of biological time in the memory of seconds")
    long.add_argument("--seconds", type=float, default=600.0)
    for command in (train, budget, run, learned, files, coba, large, long):
        command.add_argument("--out", type=Path, help="the results file, benchmarks/results/NAME.json by default")
    arguments = parser.parse_args()

    if arguments.benchmark == "train":
        results = train_as(arguments)
    elif arguments.benchmark == "memory":
        results = memory.memory(arguments.T, arguments.B, arguments.rounds)
    elif arguments.benchmark == "trainer":
        results = trainer.trainer(arguments.experiment, arguments.rounds)
    elif arguments.benchmark == "delays":
        given = arguments
        results = delays.delays(given.T, given.B, given.sizes, given.longest, given.rounds)
    elif arguments.benchmark == "events":
        results = events.events(arguments.trials, arguments.events)
    elif arguments.benchmark == "coba":
        if missing := environments.make(["spiketrain", *arguments.peers]):
            raise SystemExit(f"There is no environment for {missing}.")
        results = circuits.coba(arguments.peers, arguments.rounds, arguments.seconds)
    elif arguments.benchmark == "large":
        results = circuits.alone("large", arguments.neurons, arguments.synapses, arguments.seconds)
    else:
        results = circuits.alone("long", arguments.seconds)
    results["command"] = f"python -m benchmarks {' '.join(sys.argv[1:])}"
    path = arguments.out or HERE / "results" / f"{arguments.benchmark}.json"
    if getattr(arguments, "update", False):
        results = updated(json.loads(path.read_text()), results)
    results = write(path, results)
    text = TABLES[arguments.benchmark](results) + "\n\n" + origin(results)
    print(text, f"\nwritten to {path}", sep="\n")
    if arguments.out is None:
        put_table(HERE / "README.md", text, by="python -m benchmarks", name=arguments.benchmark)
        if arguments.benchmark == "train":
            short = training_table.short(results) + "\n\n" + origin(results)
            put_table(HERE.parent / "README.md", short, by="python -m benchmarks", name="train")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train`."""
    parser.add_argument(
        "--workloads", nargs="*", default=[*workloads.DEFAULT, "R"], choices=[*workloads.DEFAULT, "R"],
        help="R: two networks of random sizes",
    )  # fmt: skip
    for name in ("T", "B"):
        parser.add_argument(f"--{name}", type=int, help="in place of the sizes that the table has")
    parser.add_argument("--sizes", type=int, nargs="*", help="widths from input to output, one number for M1 and M2")
    parser.add_argument("--density", type=float, help="the part of the inputs that are one")
    parser.add_argument("--peers", nargs="*", default=list(training.PEERS), choices=list(training.PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--allocators", nargs="+", default=["default"], choices=list(training.ALLOCATORS),
        help="glibc's as it is, and tuned as the commands of spiketrain tune it, for every library",
    )  # fmt: skip
    parser.add_argument(
        "--update", action="store_true", help="keep what the results file has of other workloads and allocators"
    )
    parser.add_argument("--seed", type=int, help="of the random sizes; drawn, printed and stored unless it is given")


def train_as(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the training workloads that the command line asks for."""
    sizes = {name: getattr(arguments, name) for name in ("T", "B", "sizes", "density")}
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    chosen = training.chosen(arguments.workloads, {k: v for k, v in sizes.items() if v is not None}, seed)
    missing = environments.make(["spiketrain", *arguments.peers])
    if "spiketrain" in missing:
        raise SystemExit(f"There is no environment for spiketrain: {missing['spiketrain']}.")
    return {"seed": seed} | training.run(chosen, arguments.peers, missing, arguments.rounds, arguments.allocators)


def updated(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the old results of training with the new ones in the place of those of the same workload and allocator."""
    by_title = {entry["title"]: entry for entry in new["workloads"]}
    kept = [entry | by_title.pop(entry["title"], {}) for entry in old["workloads"]]
    commands = {"command": f"{old['command']}` and `{new['command']}"}
    return old | new | commands | {"workloads": [*kept, *by_title.values()]}


def write(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Write a results file with what produced it, and return it."""
    from spiketrain.training.provenance import cpu, provenance

    results = results | {"cpu": cpu(), "provenance": provenance()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
