"""The part of a page that a command writes, and the line that says what produced it."""

from pathlib import Path
from typing import Any


def put_table(path: Path, text: str, *, by: str, name: str = "results") -> None:
    """Replace what stands between the markers of a page."""
    begin, end = f"<!-- {name}: written by {by} -->", f"<!-- end of {name} -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no lines {begin} and {end}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def origin(results: dict[str, Any]) -> str:
    """Return command, date, hardware and versions of a results file."""
    made, versions = results["provenance"], results["provenance"]["versions"]
    return (
        f"Printed by `{results['command']}` on {made['time'][:10]}: {results['cpu']}, Python {made['python']}, jax "
        f"{versions['jax']}, flax {versions['flax']}."
    )
