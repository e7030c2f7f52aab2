"""What a training run survives: faults injected into real processes, and the end compared with that of a run without.

python tests/faults.py                    everything: about a quarter of an hour on one core
python tests/faults.py --short            a few of each
python tests/faults.py --only SIGKILL     the rows whose name holds a word
python tests/faults.py --json docs/faults.json && python scripts/faults_table.py    for the manual

Prints a table of fault, times tried, times survived and what was lost, writes it to `--json`, and exits with 1 if a
fault was not survived. Survived means that the run, resumed if it had ended, has the same record of metrics and the
same arrays, bit for bit, as one that nothing happened to; or that it refused to go on with the one line it should.

Each run is a process of its own, forked from this one, which has imported everything and started nothing.
"""

import argparse
import importlib.util
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fault_runs import PHASES, Child, NotSurvived, Place, Row

# What is above settles where packages are found and how JAX starts.
# isort: split

import faults_of_many as many
import faults_of_numbers as numbers
import faults_of_one as one
from rich.console import Console
from rich.table import Table

from spiketrain.training.provenance import cpu, provenance

IN_SHORT = [(signal.SIGTERM, "saving")]


def rows() -> list[tuple[str, int, int, Row]]:
    """Return the name of each fault, how often it is tried, and how often in short, and what tries it."""
    files = 14
    return [
        ("SIGKILL at a random moment", 50, 2, one.random_kill),
        ("SIGKILL during commit", 12, 1, one.kill_within(one.COMMIT)),
        ("SIGKILL during clean-up of old steps", 9, 1, one.kill_within(one.CLEAN_UP)),
        *(
            (f"a file of the newest step {kind}", files, 0, one.damage(kind))
            for kind in ("flipped by a bit", "truncated", "emptied", "deleted")
        ),
        ("disk full during some saves (a file system of 4 MB)", 2, 1, one.disk_full(last=False)),
        ("disk full until the end (a file system of 4 MB)", 2, 0, one.disk_full(last=True)),
        ("writes refused during a save (RLIMIT_FSIZE)", 2, 0, one.file_too_large),
        *(
            (f"{signal.Signals(n).name} while {phase}", 2, (n, phase) in IN_SHORT, one.signalled(n, phase))
            for n in (signal.SIGTERM, signal.SIGINT)
            for phase in PHASES
        ),
        ("a second process in the same folder", 2, 1, one.second_process),
        ("a number that is not finite, raise", 1, 0, numbers.raises),
        ("a number that is not finite, skip", 1, 0, numbers.skips),
        ("a number that is not finite, roll_back", 1, 0, numbers.goes_back),
        ("a number that is not finite, skip, then SIGKILL", 4, 0, numbers.killed_after_it_skipped),
        ("a number that is not finite, roll_back, then SIGKILL", 4, 1, numbers.killed_after_it_went_back),
        *((f"SIGKILL of one of two processes while {phase}", 2, 0, many.one_killed(phase)) for phase in PHASES),
        ("SIGKILL of one of two processes at a random moment", 6, 0, many.one_killed("random")),
        *((f"SIGTERM to one of two processes while {phase}", 2, 0, many.one_signalled(15, phase)) for phase in PHASES),
        ("SIGINT to one of two processes while training", 2, 0, many.one_signalled(2, "training")),
        ("SIGKILL of a sweep of jobs one after the other", 4, 0, many.sweep_killed),
        ("SIGKILL of a job of a sweep through joblib", 2, 0, many.job_killed),
        ("SIGKILL of the command of a sweep through joblib", 2, 0, many.launcher_killed),
    ]


def lacking() -> dict[str, str]:
    """Return what this system lacks, by the word in the name of a fault that needs it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if Child(Path(folder, "x"), lambda: one.on_small_disk(Path(folder, "disk"))).wait():
            found["file system"] = "this system lets no process mount one"
    try:
        joblib = importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher")
    except ModuleNotFoundError:
        joblib = None
    if joblib is None:
        found["joblib"] = "hydra-joblib-launcher is not installed"
    return found


def inject(place: Place, *, short: bool, only: str, seed: int) -> list[dict[str, Any]]:
    """Try all faults; return the rows of the table."""
    found, lacks = [], lacking()
    for number, (fault, times, few, row) in enumerate(rows()):
        tries, rng = int(few if short else times), random.Random(f"{seed} {fault}")
        if not tries or only.lower() not in fault.lower():
            continue
        begun, lost = time.monotonic(), []
        skipped = next((f"skipped: {why}" for word, why in lacks.items() if word in fault), "")
        for turn in range(0 if skipped else tries):
            name = f"{number}_{turn}"
            try:
                row(place, name, rng)
                for path in place.folder.glob(f"{name}*"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except NotSurvived as error:
                lost.append(f"try {turn}: {error}")
            except Exception as error:  # a row that fails ends no other
                lost.append(f"try {turn}: {type(error).__name__}: {error}")
        entry = {
            "fault": fault,
            "tried": 0 if skipped else tries,
            "survived": 0 if skipped else tries - len(lost),
            "lost": skipped or "; ".join(lost) or "nothing",
            "seconds": round(time.monotonic() - begun, 1),
        }
        print(f"{fault}: {entry['survived']} of {entry['tried']} in {entry['seconds']} s", flush=True)
        found.append(entry)
    return found


def main() -> int:
    """Inject the faults that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("--only", default="", help="the faults whose name holds this")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, default=Path("runs/faults.json"), help="where the results go")
    parser.add_argument("--folder", type=Path, help="where the runs lie, which stay there if a fault was not survived")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spiketrain-faults-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder)
        print(f"a run takes {place.seconds:.1f} s, and took {place.compiling:.1f} s with compiling", flush=True)
        found = inject(place, short=options.short, only=options.only, seed=options.seed)
    seconds = time.monotonic() - begun
    table = Table("fault", "tried", "survived", "lost", "seconds")
    for entry in found:
        table.add_row(*(str(entry[key]) for key in ("fault", "tried", "survived", "lost", "seconds")))
    Console(width=160).print(table)
    results = {"faults": found, "seed": options.seed, "seconds": round(seconds), "command": command()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"cpu": cpu(), "provenance": provenance()}  # asks JAX, after the last fork
    options.json.write_text(json.dumps(results | made_by, indent=1) + "\n", encoding="utf-8")
    return int(any(entry["survived"] < entry["tried"] for entry in found))


def command() -> str:
    """Return what started this, as it can be typed in a clone."""
    return " ".join(["python tests/faults.py", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
