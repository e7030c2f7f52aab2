"""The part of a README that a command writes."""

from pathlib import Path

END = "<!-- end of results -->"


def begin(by: str) -> str:
    """Return the line above what the command `by` writes."""
    return f"<!-- results: written by {by} -->"


def put_table(path: Path, text: str, *, by: str) -> None:
    """Replace what stands between the markers of a README."""
    before, found, rest = path.read_text().partition(begin(by))
    _, end, after = rest.partition(END)
    if not found or not end:
        raise SystemExit(f"{path} has no lines {begin(by)} and {END}")
    path.write_text(f"{before}{begin(by)}\n{text}\n{END}{after}")
