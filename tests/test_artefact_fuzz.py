"""Thousands of harmed portable files: each is refused, or predicts what the whole one does.

Half of them carry a valid digest, so that the audit and onnxruntime see what was changed. They
are opened in processes of their own: a crash of native code must fail the test, not end it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from handmade import handmade
from mutations import harmed

from automl_fuse.artefact.digest import check
from automl_fuse.errors import ArtefactError

HERE = Path(__file__).parent
CASES = 10_000
IN_DEFAULT_SUITE = 1_000
PART = 500


def outcomes(first: int, last: int) -> Counter[str]:
    """Return how often each outcome was had, or fail with the case that ended the process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_worker.py"), str(first), str(last)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"case {lines[-1]} ended with {done.returncode}: {done.stderr}"
    bad = [line for line in lines if line.split()[1] not in {"refused", "right"}]
    assert not bad
    return Counter(line.split()[1] for line in lines)


@pytest.mark.parametrize("first", range(0, IN_DEFAULT_SUITE, PART))
def test_harmed_files_are_refused_or_right(first: int) -> None:
    found = outcomes(first, first + PART)
    assert found.total() == PART
    assert found["refused"] > PART / 2
    assert found["right"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("first", range(IN_DEFAULT_SUITE, CASES, PART))
def test_many_more_harmed_files_are_refused_or_right(first: int) -> None:
    assert outcomes(first, first + PART).total() == PART


def test_every_case_differs_and_half_of_them_are_signed_again() -> None:
    content, other = handmade("binary").content(), handmade("multiclass").content()
    files = [harmed(content, other, case) for case in range(400)]
    assert files == [harmed(content, other, case) for case in range(400)]
    assert len(set(files)) > 380
    signed = [_is_signed(file) for file in files]
    assert sum(signed[1::2]) > 100
    assert sum(signed[0::2]) < 20


def _is_signed(content: bytes) -> bool:
    try:
        check(content)
    except ArtefactError:
        return False
    return True
