"""Predicting where nothing but NumPy and onnxruntime is installed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from handmade import ROWS, handmade

from automl_fuse.artefact.loading import open_bytes

ROOT = Path(__file__).parents[1]

BLOCKER = """
import sys

class Blocker:
    allowed = {"automl_fuse", "numpy", "onnxruntime", *sys.stdlib_module_names}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Blocker())
"""

SEARCH = ("search", "host", "engine", "hookspecs", "pipeline", "emission", "run", "compression")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(handmade().content())
    rows = [dict(zip(ROWS, cells, strict=True)) for cells in zip(*ROWS.values(), strict=True)]
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*ROWS, "bought"])
        writer.writeheader()
        writer.writerows({**row, "bought": "no"} for row in rows)
    return tmp_path


def expected() -> list[str]:
    return open_bytes(handmade().content()).predict(ROWS).tolist()


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_loading_and_predicting_need_numpy_and_onnxruntime_alone(folder: Path) -> None:
    code = """
import json, automl_fuse
model = automl_fuse.load("model.onnx")
row = {"age": 30.5, "vip": True, "joined": "2024-01-31", "colour": "red",
       "words": "good good bad", "title": "Dr"}
print(json.dumps({
    "one": model.predict(row).tolist(),
    "file": model.predict("rows.csv").tolist(),
    "proba": model.predict_proba("rows.csv").shape,
    "scores": sorted(model.evaluate("rows.csv")),
    "modules": [name for name in sys.modules if name.startswith("automl_fuse.")],
}))
"""
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    told = json.loads(done.stdout)
    assert told["one"] == expected()[:1]
    assert told["file"] == expected()
    assert told["proba"] == [6, 2]
    assert "accuracy" in told["scores"]
    assert not [name for name in told["modules"] if name.split(".")[1] in SEARCH]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["predict", "model.onnx", "rows.csv"], "bought\n" + "\n".join(expected())),
        (["predict", "model.onnx", "rows.csv", "--proba"], "no,yes\n"),
        (["evaluate", "model.onnx", "rows.csv"], "accuracy"),
        (["leaderboard", "model.onnx"], "t-0"),
        (["inspect", "model.onnx"], "TreeEnsemble"),
        (["benchmark", "model.onnx", "--rows", "1"], "rows/s"),
        (["--help"], "exit codes"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else "",
)
def test_commands_that_predict_need_no_more(folder: Path, command: list[str], words: str) -> None:
    code = f"from automl_fuse.cli import main\nsys.exit(main({command!r}))"
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


@pytest.mark.parametrize(
    "command", [["fit", "rows.csv", "--target", "bought", "--output", "run"], ["plugins"]]
)
def test_commands_that_need_more_say_so(folder: Path, command: list[str]) -> None:
    done = run(f"from automl_fuse.cli import main\nsys.exit(main({command!r}))", folder)
    assert done.returncode == 2
    assert "pip install automl-fuse" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_it_works_in_an_environment_of_its_own(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT]
    for arguments in (
        [*pip, *build],
        [*pip, "--python", python, "install", "numpy", "onnxruntime>=1.24"],
        [*pip, "--python", python, "install", "--no-deps", "--no-index", "--find-links", tmp_path,
         "automl-fuse"],
    ):  # fmt: skip
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot do {arguments[-1]}: {done.stderr.strip()[-200:]}")
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    names = {each["name"].lower() for each in json.loads(listed.stdout)}
    assert not names & {"pandas", "onnx", "optuna", "pluggy", "scipy", "scikit-learn", "narwhals"}
    code = "import automl_fuse; print(automl_fuse.load('model.onnx').predict('rows.csv').tolist())"
    commands = (
        [python, "-c", code],
        [home / "bin" / "automl-fuse", "predict", "model.onnx", "rows.csv"],
        [home / "bin" / "automl-fuse", "inspect", "model.onnx"],
        [home / "bin" / "automl-fuse", "benchmark", "model.onnx", "--rows", "1,10"],
        [home / "bin" / "automl-fuse", "--help"],
    )
    told = [
        subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        for command in commands
    ]
    assert [(each.returncode, each.stderr) for each in told] == [(0, "")] * len(commands)
    assert told[0].stdout.strip() == str(expected())
    assert told[1].stdout.split() == ["bought", *expected()]
