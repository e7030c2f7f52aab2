"""The fault-injection suite in short. `python tests/faults.py` tries everything, many times."""

import json
import subprocess
import sys

import pytest

from scripts.faults_table import PAGE, RESULTS, table
from scripts.readme import origin, put_table

from runs import ROOT


@pytest.mark.skipif(not RESULTS.exists(), reason="nothing has been tried yet")
def test_the_manual_shows_the_results_file_and_all_was_survived(tmp_path):
    results, manual = json.loads(RESULTS.read_text()), tmp_path / "page.md"
    manual.write_text(PAGE.read_text())
    text = table(results) + "\n\n" + origin(results)
    put_table(manual, text, by="python scripts/faults_table.py", name="faults")
    assert manual.read_text() == PAGE.read_text(), "run `python scripts/faults_table.py`"
    assert all(row["survived"] == row["tried"] for row in results["faults"])


def test_the_table_says_what_was_lost():
    rows = [{"fault": "a", "tried": 2, "survived": 1, "lost": "try 1: b | c\nd"}]
    rows += [{"fault": "e", "tried": 0, "survived": 0, "lost": "skipped: f"}]
    text = table({"faults": rows, "seconds": 90})
    assert "1 of 2 tries were survived" in text and "| a | 2 | 1 | try 1: b \\| c d |" in text
    assert "| e | 0 | 0 | skipped: f |" in text


@pytest.mark.slow
def test_a_few_of_each_fault_are_survived(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "faults.py", "--short", "--json", tmp_path / "faults.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "faults.json").read_text())
    rows = results["faults"]
    assert results["provenance"]["versions"]["jax"] and results["cpu"] and results["seed"] == 0
    assert all(row["survived"] == row["tried"] for row in rows)
    tried = {row["fault"] for row in rows if row["tried"]}
    for word in (
        "random moment",
        "commit",
        "clean-up",
        "SIGTERM while saving",
        "second process",
        "roll_back, then SIGKILL",
    ):
        assert any(word in fault for fault in tried), done.stdout
    assert all("skipped" in row["lost"] for row in rows if not row["tried"])
