"""The tables of the benchmarks' page come from the results files, and the workers run."""

import json

import pytest

from benchmarks import circuits
from benchmarks.__main__ import HERE, TABLES
from scripts.readme import origin, put_table


@pytest.mark.parametrize("name", sorted(TABLES))
def test_the_page_shows_the_results_file(name, tmp_path):
    results = json.loads((HERE / "results" / f"{name}.json").read_text())
    page = tmp_path / "README.md"
    page.write_text((HERE / "README.md").read_text())
    put_table(page, TABLES[name](results) + "\n\n" + origin(results), by="python -m benchmarks", name=name)
    assert page.read_text() == (HERE / "README.md").read_text(), f"run `{results['command']}`"


def test_ratios_are_taken_within_rounds():
    worker = {"build_s": 0.1, "first_run_s": 1.0, "versions": {"other": "1.0"}}
    ours, theirs = ([{"seconds": s, "rate_hz": 18.0} for s in times] for times in ((1.0, 2.0, 4.0), (3.0, 4.0, 12.0)))
    table = circuits.coba_table(
        {
            "seconds": 2.0,
            "rounds": {"spiketrain": ours, "other": theirs},
            "workers": {"spiketrain": worker, "other": worker},
        }
    )
    assert "| spiketrain | 1.00 | 0.50 to 2.00 | 1.00 | 18.0 Hz | 0.1 s | 1.0 s |" in table
    assert "| other 1.0 | 2.00 | 1.50 to 6.00 | 3.00 | 18.0 Hz | 0.1 s | 1.0 s |" in table


def test_a_worker_runs_by_itself():
    results = circuits.alone("long", 0.02)
    assert results["steps"] == 200 and results["rate_hz"] > 0
    large = circuits.alone("large", 1000, 100, 0.01)
    assert 90_000 < large["connections"] < 110_000 and large["peak_memory_gb"] > 0
