"""The examples of other programs that read a portable file give the numbers that Python gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import ROWS, Handmade, handmade

EXAMPLES = Path(__file__).parents[1] / "examples"
JAVASCRIPT = EXAMPLES / "javascript"
PYTHON_PROGRAM = [sys.executable, str(EXAMPLES / "predict_onnxruntime.py")]
TASKS = [("binary", "str"), ("binary", "int"), ("multiclass", "str"), ("regression", "str")]


def write(folder: Path, made: Handmade) -> list[str]:
    (folder / "model.onnx").write_bytes(made.content())
    rows = [dict(zip(ROWS, cells, strict=True)) for cells in zip(*ROWS.values(), strict=True)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return [str(folder / "model.onnx"), str(folder / "rows.json")]


def compare(printed: str, made: Handmade) -> None:
    told: dict[str, Any] = json.loads(printed)
    golden = made.manifest["golden"]
    assert told.keys() == golden.keys() - {"columns"}
    for name, values in told.items():
        if name == "label":
            assert values == golden[name]
        else:
            assert np.allclose(values, golden[name], rtol=0, atol=1e-12)


@pytest.fixture
def node_program() -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: install Node.js 18 or newer")
    if not (JAVASCRIPT / "node_modules").is_dir():
        pytest.skip("onnxruntime-node is not installed: npm ci --prefix examples/javascript")
    return [node, str(JAVASCRIPT / "predict.mjs")]


def run(program: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)


def gives_golden_numbers(program: list[str], folder: Path, task: str, dtype: str) -> None:
    made = handmade(task, dtype, plain=True)
    done = run(program, write(folder, made))
    assert done.returncode == 0, done.stderr
    compare(done.stdout, made)


def says_what_must_be_prepared(program: list[str], folder: Path) -> None:
    done = run(program, write(folder, handmade()))
    assert done.returncode == 1
    assert "words.term_weights1 must be prepared" in done.stderr


@pytest.mark.parametrize(("task", "dtype"), TASKS)
def test_plain_onnxruntime_in_python(tmp_path: Path, task: str, dtype: str) -> None:
    gives_golden_numbers(PYTHON_PROGRAM, tmp_path, task, dtype)


def test_plain_onnxruntime_says_what_must_be_prepared(tmp_path: Path) -> None:
    says_what_must_be_prepared(PYTHON_PROGRAM, tmp_path)


@pytest.mark.parametrize(("task", "dtype"), TASKS)
def test_node(node_program: list[str], tmp_path: Path, task: str, dtype: str) -> None:
    gives_golden_numbers(node_program, tmp_path, task, dtype)


def test_node_says_what_must_be_prepared(node_program: list[str], tmp_path: Path) -> None:
    says_what_must_be_prepared(node_program, tmp_path)


def test_the_lock_file_names_no_registry() -> None:
    """Packages are known by their hashes, wherever they come from."""
    lock = json.loads((JAVASCRIPT / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert "node_modules/onnxruntime-node" in packages
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert not any("resolved" in each for each in packages.values())
