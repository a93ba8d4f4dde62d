"""The Python blocks of the documentation run, in order, as a reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```(?P<language>\w*)(?P<rest>[^`]*)")


def python_blocks(page: str) -> str:
    """Return the code of the blocks marked ``python``, each line at its number in the page.

    Blocks marked ``python no-run`` are left out.
    """
    runs = False
    inside = False
    lines = []
    for line in page.splitlines():
        fence = FENCE.fullmatch(line)
        if fence is not None:
            inside = not inside
            runs = inside and fence["language"] == "python" and "no-run" not in fence["rest"]
            lines.append("")
        else:
            lines.append(line if runs else "")
    assert not inside, "a block is not closed"
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_run(page: Path, tmp_path: Path) -> None:
    code = python_blocks(page.read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-"],
        input=code,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])},
    )
    assert done.returncode == 0, f"{page.name} (lines are those of the page):\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    absent = [target for target in targets if not (page.parent / target).exists()]
    assert not absent


def test_blocks_keep_their_line_numbers_and_marks() -> None:
    page = "text\n```python\na = 1\n```\n```python no-run\nb\n```\n```console\n$ c\n```\n"
    assert python_blocks(page).split("\n") == ["", "", "a = 1", *[""] * 7]
