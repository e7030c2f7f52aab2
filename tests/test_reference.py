"""Every model equals a float64 reference that was derived from its equation, over 1,000 irregular steps."""

import brainunit as u
import numpy as np
import pytest
from helpers import active, bare, record
from models_table import ROWS

from spiketrain import environ

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("batch", [(), (2,)], ids=["single", "batched"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_model_equals_its_reference(row, batch):
    arrays = row.draw(np.random.default_rng(3), (1000, *batch))
    expected = row.reference(*arrays, dt=0.7)

    with environ.context(dt=0.7 * u.ms):
        out, trains = record(row.make(), *row.feed(*arrays))

    active(row, out)
    assert u.get_unit(out) == row.out
    compared = {"out": out} | {name: train for name, train in trains.items() if name in expected}
    assert len(compared) > 1 or not row.spiking, f"no State was compared; there are {sorted(trains)}"
    for name, train in compared.items():
        assert bare(train).dtype == np.float64
        np.testing.assert_allclose(bare(train), expected[name], rtol=1e-10, atol=1e-10, err_msg=name)
