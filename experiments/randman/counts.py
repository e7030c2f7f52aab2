"""Read random manifolds without a network, by least squares, and write what that gives into README.md.

python experiments/randman/counts.py --seeds 0 1 2
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "scripts"))

import numpy as np
from readme import put_table

from spiketrain.data.dataset import Split
from spiketrain.data.randman import load_randman

READS = {
    "spike counts": lambda x: x.sum(1),
    "spike times": lambda x: x.argmax(1),
    "all spikes, a weight for each unit and step": lambda x: x.reshape(len(x), -1),
}


def main() -> None:
    """Print the table and put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    table = tabled(parser.parse_args().seeds)
    print(table)
    put_table(HERE / "README.md", table, by="experiments/randman/counts.py", name="counts")


def tabled(seeds: list[int]) -> str:
    """Return the accuracy of every linear readout, over manifolds of these seeds, as Markdown."""
    datasets = [load_randman(dimension=2, seed=seed) for seed in seeds]
    lines = ["| linear readout of | test accuracy |", "|---|---|"]
    for name, read in READS.items():
        accuracies = [100 * accuracy(read(d.train.x), d.train, read(d.test.x), d.test) for d in datasets]
        spread = np.std(accuracies, ddof=1) if len(seeds) > 1 else 0.0
        lines.append(f"| {name} | {np.mean(accuracies):.1f} % ± {spread:.1f} |")
    return "\n".join(lines)


def accuracy(x: np.ndarray, train: Split, x_test: np.ndarray, test: Split) -> float:
    """Return the accuracy on the test trials of a least-squares fit of the class indicators, with a constant."""
    with_constant = [np.column_stack([part, np.ones(len(part))]) for part in (x, x_test)]
    weights = np.linalg.lstsq(with_constant[0], np.eye(train.y.max() + 1)[train.y], rcond=None)[0]
    return float((np.argmax(with_constant[1] @ weights, axis=1) == test.y).mean())


if __name__ == "__main__":
    main()
