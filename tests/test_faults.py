"""The fault-injection suite in short. `python tests/faults.py` tries everything, many times."""

import json
import subprocess
import sys

import pytest

from runs import ROOT


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
    rows = json.loads((tmp_path / "faults.json").read_text())
    assert all(row["survived"] == row["tried"] for row in rows)
    tried = {row["fault"] for row in rows if row["tried"]}
    for word in ("random moment", "commit", "clean-up", "SIGTERM while saving", "second process"):
        assert any(word in fault for fault in tried), done.stdout
    assert all("skipped" in row["lost"] for row in rows if not row["tried"])
