"""Scores of experiments in settings that take seconds: each above a bound, which is far from their best.

Where the files of a data set are missing its experiments are skipped, and say where to get them.
"""

import brainunit as u
import numpy as np
import pytest
from test_config import checked
from test_idx import idx_bytes

from spiketrain import environ
from spiketrain.data.catalogue import CATALOGUE, locate
from spiketrain.data.idx import read_idx
from spiketrain.errors import DataError
from spiketrain.training.run import make_trainer

IMAGES = 5000, 1000  # for training and validation, the last ones of the training file; the test images have no part

BOUNDS = {
    "smnist_short": ({"trainer": {"epochs": 4}, "data": {"pool": 4}}, 0.36),
    "psmnist_short": ({"trainer": {"epochs": 4}, "data": {"pool": 4}}, 0.82),
    "fashion_rows": ({"trainer": {"epochs": 2}}, 0.72),
    "spoken_digits": ({"trainer": {"epochs": 2, "validation_fraction": 0.1}}, 0.78),
}


def test_vowels_reaches_its_floor():
    """The whole recipe, on the test set: nothing is chosen by it."""
    assert trained("vowels", {})["test"]["accuracy"] >= 0.975


@pytest.mark.parametrize("experiment", BOUNDS)
def test_a_short_setting_reaches_its_bound(experiment, tmp_path):
    changes, bound = BOUNDS[experiment]
    config = checked(f"experiment={experiment}")
    try:
        path = {"idx": part_of_images}.get(config["data"]["name"], there)(config["data"], tmp_path)
    except DataError as missing:
        pytest.skip(str(missing))
    sections = {name: config[name] | changes.get(name, {}) for name in ("trainer", "data")}
    sections["data"] = sections["data"] | path
    result = trained(experiment, sections)
    assert result["validation"]["accuracy"] >= bound, result["validation"]


def trained(experiment, changes):
    config = checked(f"experiment={experiment}", "logger=quiet") | changes
    with environ.context(dt=config["dt_ms"] * u.ms):
        return make_trainer(config, None).fit()


def there(data, folder):
    """Return no change of the data, where its files are there."""
    locate(CATALOGUE[data["name"]], None)
    return {}


def part_of_images(data, folder):
    """Write a part of the training images in files of their layout, and return their folder."""
    images, labels, *_ = locate(CATALOGUE[data["source"]], None)
    x, y = read_idx(images), read_idx(labels)
    train, last = IMAGES
    for side, rows in (("train", slice(-train - last, -last)), ("t10k", slice(-last, None))):
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            (folder / f"{side}-{kind}-ubyte").write_bytes(idx_bytes(np.ascontiguousarray(array[rows])))
    return {"path": str(folder)}
