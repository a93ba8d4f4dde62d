"""A stranger's plugin: built, installed and used as its author would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "third_party_plugin"


def run(*arguments: str, path: Path | None = None, folder: Path | None = None) -> str:
    """Run Python with these arguments; ``path`` is where the plugin is installed."""
    environment = {**os.environ, "AUTOML_FUSE_BLOCK": ""}
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, and install it into a folder of its own."""
    work = tmp_path_factory.mktemp("third_party")
    source = shutil.copytree(EXAMPLE, work / "source")
    wheels = work / "wheels"
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    site = work / "site"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", str(site), str(wheel))
    return site


def test_it_is_found_by_its_distribution_and_version(installed: Path) -> None:
    code = (
        "import json; from automl_fuse.host import discover; "
        "print(json.dumps(discover(require=['example']).as_dict()))"
    )
    told = json.loads(run("-c", code, path=installed))
    (info,) = [info for info in told["found"] if info["name"] == "example"]
    assert info["distribution"] == "automl-fuse-example"
    assert info["version"] == "0.3.0"
    assert info["provides"] == ["learner:kernel_map", "fusion:median"]
    assert "kernel_map" in told["learners"]
    assert "median" in told["fusions"]


def test_it_can_be_blocked(installed: Path) -> None:
    code = (
        "from automl_fuse.host import discover; p = discover(block=['example']); "
        "print('kernel_map' in p.learners, p.blocked)"
    )
    assert run("-c", code, path=installed).strip() == "False ('example',)"


def test_its_own_tests_pass(installed: Path) -> None:
    told = run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("-c", str(EXAMPLE / "pyproject.toml"), "--rootdir", str(EXAMPLE)),
        str(EXAMPLE / "tests"),
        path=installed,
    )
    assert " passed" in told


def test_the_search_uses_it(installed: Path, tmp_path: Path) -> None:
    code = """
import numpy as np
import pandas as pd
import automl_fuse
from automl_fuse import Settings

random = np.random.default_rng(0)
table = pd.DataFrame(random.normal(size=(120, 3)), columns=["a", "b", "c"])
table["y"] = np.where(table["a"] + table["b"] ** 2 > 0.5, "yes", "no")
settings = Settings(
    learners=("kernel_map",), fusions=("median",), max_trials=1, executor="inline", progress=False
)
model = automl_fuse.fit(table, target="y", time_limit=30, settings=settings)
board = model.leaderboard()
assert set(board["learner"]) == {"kernel_map"}, board
assert set(model.predict(table)) <= {"yes", "no"}
print(len(board))
"""
    assert run("-c", code, path=installed, folder=tmp_path).strip().endswith("1")
