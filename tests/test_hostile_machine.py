"""A full disk, a read-only one, no shared memory, a clock that jumps: our errors, or a pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings, load
from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.processes import HAS_PROC

CODE = """
import json
import sys

import numpy as np
import pandas as pd

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import AutoFuseError

rng = np.random.default_rng(0)
table = pd.DataFrame(rng.normal(size=(400, 4)), columns=list("abcd"))
table["y"] = np.where(table["a"] - table["b"] > 0, "yes", "no")
given = json.loads(sys.argv[1])
given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
told = {}
try:
    model = automl_fuse.fit(
        table, target="y", time_limit=90, settings=Settings(**given)
    )
    told = model.evaluate(table)
except AutoFuseError as error:
    told = {"error": type(error).__name__, "message": str(error)}
print(json.dumps(told))
"""
QUICK = {
    "compressors": (),
    "executor": "inline",
    "folds": 3,
    "learners": ["linear", "decision_tree"],
    "max_trials": 4,
    "progress": False,
}


def mounting() -> bool:
    """Return whether this process may mount file systems, in a namespace of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not mounting(), reason="may not mount file systems here")


def run(settings, mounts="true", after="true", **options):
    """Fit in a process that alone sees some mounts; return what it printed as JSON."""
    script = f'{mounts} && cd "$WORK" && "$@"; code=$?; {after}; exit $code'
    environment = {**os.environ, "WORK": str(Path.cwd()), **options}
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", sys.executable, "-c", CODE,
         json.dumps({**QUICK, **settings})],
        capture_output=True, text=True, check=False, env=environment, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def tmpfs(folder, size):
    folder.mkdir(exist_ok=True)
    return f'mount -t tmpfs -o size={size} tmpfs "{folder}"'


def check_files(folder):
    """Refuse files that are there and not whole, but for the last line of a log."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".onnx":
            load(path)
        elif path.suffix == ".npy":
            np.load(path)
        elif path.name == "log.jsonl":
            lines = path.read_text().split("\n")
            assert all(json.loads(line) for line in lines[:-1])


# --------------------------------------------------------------------------- disks


@needs_mounts
@pytest.mark.parametrize("executor", ["inline", "processes"])
@pytest.mark.parametrize("size", ["12k", "60k", "150k", "400k"])
def test_a_full_disk_gives_an_error_of_ours_or_a_pipeline(tmp_path, size, executor):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    told = run(
        {"output": str(disk / "run"), "executor": executor, "workers": 1, "compressors": None},
        mounts=tmpfs(disk, size),
        after=f'cp -r "{disk}" "{kept}"',
    )
    if "error" in told:
        assert told["error"] in {"DiskFullError", "RunError", "NothingFittedError", "ArtefactError"}
        assert "No space left" in told["message"]
    else:
        assert told["accuracy"] > 0.8
    check_files(kept)


@needs_mounts
def test_a_disk_of_some_size_is_enough(tmp_path):
    disk = tmp_path / "disk"
    told = run({"output": str(disk / "run")}, mounts=tmpfs(disk, "60m"))
    assert told["accuracy"] > 0.8


@needs_mounts
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_full_folder_of_temporary_files_is_told(tmp_path, executor):
    disk = tmp_path / "disk"
    mounts = tmpfs(disk, "20k")
    told = run({"executor": executor, "workers": 1}, mounts=mounts, TMPDIR=str(disk))
    assert told["error"] in {"DiskFullError", "RunError", "NothingFittedError"}
    assert "No space left" in told["message"]


def read_only(folder):
    folder.mkdir(exist_ok=True)
    return f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}"'


@needs_mounts
def test_a_read_only_run_directory_is_told(tmp_path):
    disk = tmp_path / "disk"
    told = run({"output": str(disk / "run")}, mounts=read_only(disk))
    assert told["error"] == "RunError"
    assert str(disk / "run") in told["message"]
    (disk / "run").mkdir()
    told = run({"output": str(disk / "run")}, mounts=read_only(disk))
    assert told["error"] == "RunError"


@needs_mounts
def test_nothing_is_written_into_the_home_or_the_working_directory(tmp_path):
    home = tmp_path / "home"
    settings = {
        "executor": "processes",
        "learners": ["linear", "lightgbm", "catboost", "xgboost"],
        "output": str(tmp_path / "run"),
        "workers": 1,
    }
    mounts = f"{read_only(home)} && export HOME={home} WORK={home}"
    told = run(settings, mounts=mounts, MPLCONFIGDIR="", XDG_CACHE_HOME="")
    assert told["accuracy"] > 0.8
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert not report["failures"]
    assert not list(home.iterdir())


@needs_mounts
@pytest.mark.skipif(not HAS_PROC, reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "mounts",
    [
        "mount -t tmpfs -o ro tmpfs /dev/shm",
        "mount -t tmpfs -o size=1m tmpfs /dev/shm",
    ],
)
def test_no_shared_memory_is_needed(tmp_path, mounts):
    told = run({"executor": "processes", "workers": 2}, mounts=mounts)
    assert told["accuracy"] > 0.8


# --------------------------------------------------------------------------- clocks


class Jumping:
    """A wall clock that goes a day back, and a day ahead, from one reading to the next."""

    def __init__(self):
        self._now, self._sign = time.time, 1

    def __call__(self):
        self._sign = -self._sign
        return self._now() + 86_400 * self._sign


def test_deadlines_do_not_heed_the_wall_clock(monkeypatch):
    deadline, watch = Deadline(50.0), Stopwatch()
    monkeypatch.setattr(time, "time", Jumping())
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    for _ in range(10):
        assert 40.0 < deadline.remaining() <= 50.0
        assert not deadline.expired()
        assert 0.0 <= watch.seconds() < 10.0


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_run_bears_a_clock_that_jumps(tmp_path, monkeypatch, executor):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    settings = Settings(
        **{**QUICK, "executor": executor, "learners": ("linear",), "workers": 1},
        output=str(tmp_path / "run"),
    )
    monkeypatch.setattr(time, "time", Jumping())
    model = automl_fuse.fit(
        table.assign(y=table["a"] > 0), target="y", time_limit=60, settings=settings
    )
    assert model.evaluate(table.assign(y=table["a"] > 0))["accuracy"] > 0.8
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert 0.0 <= seconds[0] <= seconds[-1] < 120.0
