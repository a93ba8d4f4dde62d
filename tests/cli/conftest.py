"""A table, the options of a quick run, and a plugin that does what a test asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

ROOT = Path(__file__).parents[2]

PLUGIN = """
import os
import time

import numpy as np

from automl_fuse import hookimpl
from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec, ObserverSpec

LEAKED = []


class Leak:
    def fit(self, train, valid):
        while True:
            LEAKED.append(np.ones(20_000_000, dtype=np.uint8))
            time.sleep(0.02)

    def predict(self, X):
        raise AssertionError("it never comes to that")


class Endless(Leak):
    def fit(self, train, valid):
        while True:
            time.sleep(600)


class Prior:
    def fit(self, train, valid):
        self.shares = np.bincount(train.y) / len(train.y)

    def predict(self, X):
        return np.tile(self.shares, (len(X.values), 1))


def spec(name, learner):
    return LearnerSpec(
        name=name,
        api_version=1,
        tasks=ALL_TASKS,
        encoders=("numbers",),
        build=lambda params, context: learner(),
        cost=lambda shape, params: Cost(seconds=20.0, bytes=10),
        portfolio=(Configuration(merit=1.0),),
    )


@hookimpl
def automl_fuse_learners():
    return [spec("leak", Leak), spec("endless", Endless), spec("prior", Prior)]


class Signaller:
    def __init__(self, folder):
        self.moment, self.number = os.environ.get("SIGNAL_AT", "never:0").split(":")

    def notify(self, event):
        if self.moment in (event.name, event.details.get("stage")):
            os.kill(os.getpid(), int(self.number))


@hookimpl
def automl_fuse_observers():
    return [ObserverSpec(name="signaller", api_version=1, build=Signaller)]
"""


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """Return a CSV file with a target column ``diagnosis``."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(diagnosis=data.target.map({0: "malignant", 1: "benign"}))
    path = tmp_path_factory.mktemp("table") / "train.csv"
    table.iloc[:300, -12:].to_csv(path, index=False)
    return path


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Make the module ``asked`` importable, here and in other processes."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "asked.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(folder)
    paths = [str(folder), str(ROOT), str(ROOT / "plugins")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    yield "asked"
    sys.modules.pop("asked", None)


@pytest.fixture
def start(tmp_path):
    """Start the command line in a process of its own."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "automl_fuse.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def wait_for():
    """Wait until the log of a run has an event."""

    def wait_for(run, event):
        log = Path(run) / "log.jsonl"
        for _ in range(600):
            lines = log.read_text().splitlines() if log.exists() else []
            if any(json.loads(line)["event"] == event for line in lines):
                return
            time.sleep(0.1)
        pytest.fail(f"no {event} in {log} after a minute")

    return wait_for


@pytest.fixture
def events():
    """Return what the log of a run holds."""

    def events(run):
        return [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]

    return events
