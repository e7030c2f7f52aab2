"""Every Python snippet of the README and the docs runs, file by file, as a reader would paste it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_snippets_run(page, tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    assert code
    script = tmp_path / f"{page.stem}.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("runs"))


def test_the_circuit_example_is_about_sixty_lines():
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "ei-circuit.md").read_text(), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 70
