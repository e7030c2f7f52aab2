"""Every model equals a float64 reference that was derived from its equation, over 1,000 or 2,000 irregular steps."""

import brainunit as u
import numpy as np
import pytest

from spiketrain import environ

from helpers import active, bare, record
from models_table import ROWS

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("batch", [(), (2,)], ids=["single", "batched"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_model_equals_its_reference(row, batch):
    arrays = row.draw(np.random.default_rng(3), (row.steps, *batch))
    expected = row.reference(*arrays, dt=row.dt)

    with environ.context(dt=row.dt * u.ms):
        out, trains = record(row.make(), *row.feed(*arrays))

    active(row, out)
    assert u.get_unit(out) == row.out
    compared = {"out": out} | {name: train for name, train in trains.items() if name in expected}
    assert len(compared) > 1 or not row.spiking, f"no State was compared; there are {sorted(trains)}"
    for name, train in compared.items():
        assert bare(train).dtype == np.float64
        np.testing.assert_allclose(bare(train), expected[name], rtol=row.rtol, atol=row.rtol, err_msg=name)
