"""The examples of other programs that read a portable file give the numbers that Python gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import ROWS, Handmade, handmade

EXAMPLES = Path(__file__).parents[1] / "examples"


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


@pytest.mark.parametrize(
    ("task", "dtype"), [("binary", "str"), ("binary", "int"), ("multiclass", "str"),
                        ("regression", "str")]
)  # fmt: skip
def test_plain_onnxruntime_in_python(tmp_path: Path, task: str, dtype: str) -> None:
    made = handmade(task, dtype, plain=True)
    program = [sys.executable, str(EXAMPLES / "predict_onnxruntime.py")]
    done = subprocess.run(
        [*program, *write(tmp_path, made)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    compare(done.stdout, made)


def test_plain_onnxruntime_says_what_must_be_prepared(tmp_path: Path) -> None:
    program = [sys.executable, str(EXAMPLES / "predict_onnxruntime.py")]
    done = subprocess.run(
        [*program, *write(tmp_path, handmade())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "words.term_weights1 must be prepared" in done.stderr


@pytest.mark.slow
def test_node(tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES / "javascript", folder, dirs_exist_ok=True)
        # The scripts of onnxruntime-node fetch libraries for graphics cards.
        install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install onnxruntime-node: {done.stderr.strip()[-200:]}")
        for task, dtype in (("binary", "str"), ("binary", "int"), ("regression", "str")):
            made = handmade(task, dtype, plain=True)
            program = [node, str(Path(folder) / "predict.mjs")]
            done = subprocess.run(
                [*program, *write(tmp_path, made)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            compare(done.stdout, made)
        done = subprocess.run(
            [*program, *write(tmp_path, handmade())], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "words.term_weights1 must be prepared" in done.stderr
