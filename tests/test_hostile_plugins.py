"""Plugins that do harm: each costs its own trial, with its cause, and nothing else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings, processes
from automl_fuse.errors import MetricError, NothingFittedError, PluginError
from automl_fuse.folds import Fold
from automl_fuse.processes import HAS_PROC
from automl_fuse.run import RunDirectory
from automl_fuse.specs import Column, Columns, ExecutorContext, Job, Kind, Task
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData
from automl_fuse.workers import InlineExecutor, ProcessExecutor
from automl_fuse.workers.output import KEPT_BYTES

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="needs Linux's /proc")

HARMFUL = (
    "at_import", "closes", "endless", "exits", "floods", "forks", "hangs_at_import", "in_hooks",
    "in_specs", "leaks", "not_finite", "pickles", "segfault", "shapes", "writes",
)  # fmt: skip
MODULES = tuple(
    f"hostile_plugins.{name}" for name in HARMFUL if name not in {"at_import", "in_hooks"}
)
N = 90


def data() -> TrialData:
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=N), "z": rng.normal(size=N)}
    rows = np.arange(N)
    return TrialData(
        columns=Columns(
            columns=tuple(Column(name=n, kind=Kind.NUMERIC, reason="") for n in values),
            values=values,
            n_rows=N,
        ),
        y=(values["x"] > 0).astype(int),
        weight=None,
        folds=tuple(Fold(train=rows[rows % 3 != k], valid=rows[rows % 3 == k]) for k in range(3)),
        task=Task.BINARY,
        n_classes=2,
        seed=0,
    )


def job(learner: str, fold: int = 0, seconds: float = 60.0) -> Job:
    return Job(member=f"{learner}-0", learner=learner, params={}, fold=fold, seconds=seconds)


GOOD = {"penalty": 1.0, "features": "plain"}


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    """One worker process that knows all hostile plugins."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    runner = FoldRunner(data(), run, PluginChoice(modules=MODULES), 1)
    made = ProcessExecutor(ExecutorContext(runner=runner, n_workers=1, n_threads=1), run)
    made.root = run.root
    yield made
    made.close()


def result_of(executor, asked):
    executor.submit(asked)
    for _ in range(300):
        results = executor.collect(0.2)
        if results:
            return results[0]
    pytest.fail("no result after a minute")


def family_of(executor):
    """Return the processes that carry the mark of the executor's workers."""
    return processes.marked(executor._mark)


FAILING = {
    "closes": ("The worker process ended with",),
    "executes": ("exit code 7",),
    "exits": ("exit code 3", "last words"),
    "infinite": ("'infinite' predicted values that are not finite",),
    "no_build": ("RuntimeError: not today",),
    "no_encoder": ("RuntimeError: not today",),
    "not_finite": ("'not_finite' predicted values that are not finite",),
    "segfault": ("signal 11", "Segmentation fault", "segfault.py"),
    "shapes": ("'shapes' predicted an array of shape", "(30, 3) instead of (30, 2)"),
    "sys_exits": ("SystemExit: enough",),
    "unpicklable": ("fit.<locals>.<lambda>",),
    "unreadable": ("no number",),
    "writes_copies": ("read-only",),
    "writes_features": ("read-only",),
    "writes_later": ("read-only",),
    "cheats": ("read-only",),
}


@pytest.mark.parametrize("learner", FAILING)
def test_it_costs_its_trial_which_says_why(executor, learner):
    result = result_of(executor, job(learner))
    assert result.predictions is None
    for words in FAILING[learner]:
        assert words in result.error
    good = result_of(executor, Job(**{**vars(job("linear", 1)), "params": GOOD}))
    assert not good.error
    assert len(family_of(executor)) == 1


@pytest.mark.parametrize("learner", ["writes_target", "writes_columns"])
def test_what_it_may_write_into_is_its_own(executor, learner):
    results = [result_of(executor, job(learner, fold)) for fold in (0, 1, 0)]
    assert not any(result.error for result in results)
    np.testing.assert_array_equal(results[0].predictions, results[2].predictions)
    good = result_of(executor, Job(**{**vars(job("linear")), "params": GOOD}))
    again = InlineExecutor(FoldRunner(data(), RunDirectory(executor.root / "fresh"),
                                      PluginChoice(), 1))  # fmt: skip
    expected = result_of(again, Job(**{**vars(job("linear")), "params": GOOD}))
    np.testing.assert_array_equal(good.predictions, expected.predictions)


@pytest.mark.parametrize("learner", ["endless", "stops", "hangs_at_import"])
def test_what_does_not_end_is_killed_and_told_where_it_was(executor, learner):
    asked = job(learner, seconds=0.0)
    executor.submit(asked)
    told = ""
    for _ in range(150):
        assert not executor.collect(0.2)
        told = executor.output(asked)
        if "Timeout" in told or (learner == "stops" and executor._workers[0].pid in stopped()):
            break
    executor.cancel(asked)
    if learner != "stops":
        assert {"endless": "endless.py", "hangs_at_import": "_library.py"}[learner] in told
    good = result_of(executor, Job(**{**vars(job("linear", 1)), "params": GOOD}))
    assert not good.error
    assert len(family_of(executor)) == 1


def stopped():
    return [pid for pid in processes._all() if (processes._stat(pid) or " ")[0] == "T"]


def test_a_flood_is_cut_and_its_end_is_told(executor):
    result = result_of(executor, job("floods"))
    assert "the last line" in result.error
    assert "exit code 1" in result.error
    assert len(result.error) < 10_000
    log = executor.root / "workers" / "0.log"
    assert KEPT_BYTES / 2 < log.stat().st_size < 2.2 * KEPT_BYTES
    assert "the last line" in log.read_text()


def test_children_end_with_their_worker(executor):
    assert not result_of(executor, job("forks")).error
    assert eventually(lambda: len(family_of(executor)) == 3)
    family = family_of(executor)
    assert eventually(lambda: len({os.getsid(pid) for pid in family}) == 2)
    result_of(executor, job("segfault"))
    result_of(executor, Job(**{**vars(job("linear", 1)), "params": GOOD}))
    assert not [pid for pid in family if processes._stat(pid) and processes._stat(pid)[0] != "Z"]


def test_leaving_what_a_killed_worker_was_writing(executor):
    folder = executor.root / "encoders"
    folder.mkdir(exist_ok=True)
    pid = executor._workers[0].pid
    half = folder / f".numbers.fold-0.pkl.{pid}.abc"
    other = folder / f".numbers.fold-0.pkl.{pid + 1}.abc"
    half.write_bytes(b"half")
    other.write_bytes(b"of another process")
    result_of(executor, job("exits"))
    assert not half.exists()
    assert other.exists()
    other.unlink()


# --------------------------------------------------------------------------- through ``fit``


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install all hostile plugins, as one distribution of a stranger."""
    site = tmp_path / "site"
    info = site / "harm-6.6.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: harm\nVersion: 6.6\n")
    points = [f"harm_{name} = hostile_plugins.{name}" for name in HARMFUL]
    (info / "entry_points.txt").write_text("\n".join(["[automl_fuse]", *points]))
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield
    for name in HARMFUL:
        sys.modules.pop(f"hostile_plugins.{name}", None)


def table(n_rows: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 3)), columns=["a", "b", "c"])
    return frame.assign(y=np.where(frame["a"] - frame["b"] > 0, "yes", "no"))


LEARNERS = (
    *FAILING, "endless", "floods", "forks", "hangs_at_import", "leaks", "no_cost", "no_space",
    "odd_cost", "stops", "writes_columns", "writes_target", "extra_trees", "linear",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_survives_them_all(installed, tmp_path):
    settings = Settings(
        output=str(tmp_path / "run"), memory_limit="1500MB", workers=2, folds=3, progress=False,
        learners=LEARNERS, stop_after_no_gain=0.0, max_trials=len(LEARNERS) + 10,
        compressors=("no_proposal", "no_proposal_space"),
    )  # fmt: skip
    frame = table()
    limit = 600.0  # a worker takes long to start where much else is going on
    before = set(processes._all())
    model = automl_fuse.fit(frame, target="y", time_limit=limit, settings=settings)
    report = model.report
    assert report["seconds"]["wall"] < 1.2 * limit
    assert model.evaluate(table(80))["accuracy"] > 0.9
    assert (tmp_path / "run" / "model.onnx").is_file()
    failed = {failure["learner"]: failure["error"] for failure in report["failures"]}
    for learner, words in FAILING.items():
        assert all(each in failed.get(learner, "") for each in words[:1]), learner
    assert "was killed" in failed["endless"]
    assert "endless.py" in failed["endless"]
    assert "was killed" in failed["hangs_at_import"]
    assert "memory_limit=1.5GB" in failed["leaks"]
    assert "the last line" in failed["floods"]
    assert "its search space raised" in failed["no_space"]
    skipped = {each["learner"]: each["reason"] for each in report["skipped"]}
    assert "not today" in skipped["no_cost"]
    assert "-1.0 seconds" in skipped["odd_cost"]
    broken = {(each["name"], each["distribution"]) for each in report["plugins"]["failures"]}
    assert broken == {("harm_at_import", "harm"), ("harm_in_hooks", "harm")}
    assert len([e for e in report["plugins"]["failures"] if e["name"] == "harm_in_hooks"]) == 7
    fusions = " ".join(each["fusion"] for each in report["fusion"]["failures"])
    assert "no_fusion" in fusions
    assert any("no_observer" in each for each in report["observer_failures"])
    assert any("Deaf" in each for each in report["observer_failures"])
    squeezed = {each["member"] for each in report["compression"]["failures"]}
    assert squeezed == {"no_proposal", "no_proposal_space"}
    assert not remaining(before)


def remaining(before):
    """Return processes that began since and carry a mark of ours."""
    return [
        pid
        for pid in set(processes._all()) - before
        if processes.MARK in processes._read(Path(f"/proc/{pid}/environ"))
    ]


QUICK = Settings(
    executor="inline", learners=("linear",), folds=3, max_trials=1, compressors=(),
    plugins=("hostile_plugins.in_specs",), progress=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "options", "error", "words"),
    [
        ({}, {"metric": "unscored"}, MetricError, "Metric 'unscored' cannot score"),
        ({"executor": "no_executor"}, {}, PluginError, "'no_executor' cannot be started"),
        ({"fusions": ("no_fusion",)}, {}, NothingFittedError, "not today"),
        ({"learners": ("no_build",)}, {}, NothingFittedError, "not today"),
        ({"learners": ("no_cost",)}, {}, NothingFittedError, "its cost cannot be told"),
        ({"learners": ("no_size",)}, {}, NothingFittedError, "its cost cannot be told"),
        ({"learners": ("no_space",)}, {}, NothingFittedError, "its search space raised"),
        ({"learners": ("sys_exits",), "plugins": ("hostile_plugins.exits",)}, {},
         NothingFittedError, "SystemExit"),
    ],
)  # fmt: skip
def test_what_alone_is_asked_for_and_fails_is_an_error_that_says_so(changes, options, error, words):
    settings = Settings(**{**vars(QUICK), **changes})
    with pytest.raises(error, match=words):
        automl_fuse.fit(table(), target="y", time_limit=30, settings=settings, **options)


@pytest.mark.parametrize("compressor", ["no_proposal", "no_proposal_space"])
def test_a_compressor_that_raises_is_told_in_the_report(compressor):
    settings = Settings(**{**vars(QUICK), "compressors": (compressor,), "max_trials": None})
    settings = Settings(**{**vars(settings), "stop_after_no_gain": 0.0})
    model = automl_fuse.fit(table(), target="y", time_limit=15, settings=settings)
    failures = model.report["compression"]["failures"]
    assert {failure["member"] for failure in failures} == {compressor}
    assert all("not today" in failure["error"] for failure in failures)


KILLED = """
import sys
import time

import numpy as np

import automl_fuse
from automl_fuse import Settings

settings = Settings(
    plugins=("hostile_plugins.endless",), learners=(sys.argv[1],), workers=1, output=sys.argv[2]
)
X = np.random.default_rng(0).normal(size=(60, 2))
automl_fuse.fit(X, X[:, 0] > 0, time_limit=3_600, settings=settings)
"""


@pytest.mark.parametrize("learner", ["endless_with_children", "holds"])
def test_nothing_outlives_a_killed_main_process(tmp_path, learner):
    run = tmp_path / "run"
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    main = subprocess.Popen([sys.executable, "-c", KILLED, learner, str(run)], env=environment)
    log = run / "workers" / "0.log"
    try:
        assert eventually(lambda: log.exists() and "on and on" in log.read_text())
        children = [pid for pid in processes._all() if parent_of(pid) == main.pid]
        told = "".join(processes._environment(pid) for pid in children).split("\0")
        (mark,) = [each[len(processes.MARK) + 1 :] for each in told if processes.MARK in each]
    finally:
        main.kill()
        main.wait()
    assert eventually(lambda: not processes.marked(mark))


def parent_of(pid):
    return int((processes._stat(pid) or ["", "0"])[1])


def eventually(what):
    for _ in range(300):
        if what():
            return True
        time.sleep(0.2)
    return False
