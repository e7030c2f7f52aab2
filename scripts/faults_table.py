"""Write the table of docs/faults.json, which `python tests/faults.py --json docs/faults.json` wrote, to docs/unattended.md."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "faults.json"
PAGE = RESULTS.with_name("unattended.md")


def table(results: dict[str, Any]) -> str:
    """Return a results file as Markdown."""
    found = results["faults"]
    tried, survived = (sum(row[key] for row in found) for key in ("tried", "survived"))
    rows = ["| fault | tried | survived | lost |", "|---|---|---|---|"]
    rows += [f"| {row['fault']} | {row['tried']} | {row['survived']} | {cell(row['lost'])} |" for row in found]
    head = f"{survived} of {tried} tries were survived, in {results['seconds'] / 60:.0f} minutes."
    return "\n".join([head, "", *rows])


def cell(text: str) -> str:
    """Return a text as a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    from readme import origin, put_table

    found = json.loads(RESULTS.read_text())
    put_table(PAGE, table(found) + "\n\n" + origin(found), by="python scripts/faults_table.py", name="faults")
