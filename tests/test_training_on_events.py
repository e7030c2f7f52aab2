"""Training on events: the same numbers as on the dense trials, and never the dense array of the whole data set."""

import jax
import numpy as np
import pytest
from event_files import write_hdf5

from spiketrain.config import build
from spiketrain.data.dataset import Dataset
from spiketrain.training import run

from runs import small

pytestmark = pytest.mark.usefixtures("one_ms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Spoken digits of three speakers in the layout of SHD: two classes, told apart by which bands fire."""
    pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")
    folder, rng = tmp_path_factory.mktemp("digits"), np.random.default_rng(0)
    for side, n in (("train", 90), ("test", 12)):
        labels = np.arange(n) % 2
        trials = [(np.sort(rng.uniform(0, 0.79, 60)), rng.integers(0, 32, 60) + 32 * y) for y in labels]
        write_hdf5(folder / f"fsdd_{side}.h5", trials, labels, speakers=np.arange(n) // 2 % 3, keys=["zero", "one"])
    return folder


def trained(monkeypatch, folder, kind):
    """Return the result of a run, and the bytes of the arrays that were on the device after its last step."""
    config = small(None, data={"name": "spoken_digits", "path": str(folder), "validation_speaker": 1, "bin_ms": 20.0})
    config["trainer"] |= {"epochs": 6, "batch_size": 10}
    config["model"]["input_scale"] = 20.0
    config["encoder"]["noise"] = 0.0
    config["optimizer"]["learning_rate"] = 0.05
    make = build.build

    def as_asked(kind_of, section, *rest, **more):
        made = make(kind_of, section, *rest, **more)
        if kind_of == "data" and kind == "dense":
            splits = [made.train.dense(), made.test.dense()]
            return Dataset(made.name, *splits, made.classes, made.validation.dense())
        return made

    monkeypatch.setattr(build, "build", as_asked)
    trainer = run.make_trainer(config, None)
    before = {id(array) for array in jax.live_arrays()}
    result = trainer.fit()
    held = [array for array in jax.live_arrays() if id(array) not in before]
    return trainer, result, max(array.nbytes for array in held)


def test_training_on_events_is_training_on_the_dense_trials(monkeypatch, folder):
    trainer, result, largest = trained(monkeypatch, folder, "events")
    theirs, expected, largest_dense = trained(monkeypatch, folder, "dense")
    assert result["test"] == expected["test"] and result["validation"] == expected["validation"]
    for ours, other in zip(trainer.leaves, theirs.leaves, strict=True):
        if not jax.dtypes.issubdtype(ours.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(ours, other)
    assert expected["test"]["accuracy"] > 0.9 and len(trainer.splits["validation"]) == 30
    dense = 4 * 60 * 40 * 64
    assert largest_dense == dense and largest <= 4 * 60 * 60, (largest, dense)
