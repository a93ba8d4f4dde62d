"""Folds fitted where the run directory is out of reach."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

import automl_fuse
from automl_fuse import Settings, hookimpl, remote, session
from automl_fuse.errors import RunError
from automl_fuse.folds import Fold
from automl_fuse.host import discover
from automl_fuse.lessons import Augmented, teacher_name, write_augmented
from automl_fuse.remote import RemoteFolds
from automl_fuse.run import RunDirectory, write_array
from automl_fuse.specs import (
    ALL_ROWS,
    Column,
    Columns,
    EncoderSpec,
    ExecutorSpec,
    Job,
    Kind,
    LearnerSpec,
    Matrix,
    Student,
    Task,
)
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.specs import ExecutorContext, JobResult

N = 60


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where processes make their folders."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> RunDirectory:
    root = tmp_path / "home"
    root.mkdir()
    return RunDirectory(root)


def data() -> TrialData:
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=N), "z": rng.normal(size=N)}
    columns = tuple(Column(name=name, kind=Kind.NUMERIC, reason="") for name in values)
    return TrialData(
        columns=Columns(columns=columns, values=values, n_rows=N),
        y=(values["x"] + rng.normal(size=N) > 0).astype(int),
        weight=None,
        folds=tuple(
            Fold(
                train=np.flatnonzero(np.arange(N) % 3 != k),
                valid=np.flatnonzero(np.arange(N) % 3 == k),
            )
            for k in range(3)
        ),
        task=Task.BINARY,
        n_classes=2,
        seed=0,
    )


def folds_of(run: RunDirectory) -> RemoteFolds:
    return RemoteFolds(FoldRunner(data(), run, PluginChoice(), 1))


def away(runner: RemoteFolds) -> RemoteFolds:
    """Return the runner as another process gets it."""
    return pickle.loads(pickle.dumps(runner))


def job(fold: int = 0, **changes: Any) -> Job:
    fields = {"member": "linear-0", "learner": "linear", "params": PARAMS, "seconds": 60.0}
    return Job(fold=fold, **{**fields, **changes})


PARAMS = {"penalty": 1.0, "features": "plain"}


def nothing(name: str) -> bytes:
    pytest.fail(f"{name} was asked for")


@pytest.mark.parametrize("fold", [0, 2, ALL_ROWS])
def test_a_job_gives_the_same_as_at_home(
    fold: int, home: RunDirectory, tmp_path: Path, temporary: Path
) -> None:
    local = RunDirectory(tmp_path / "local")
    expected = FoldRunner(data(), local, PluginChoice(), 1)(job(fold))
    runner = folds_of(home)
    result, files = away(runner).run(runner.errand(job(fold)), nothing)
    assert not list(home.root.iterdir())
    runner.keep(files)
    assert not result.error
    np.testing.assert_array_equal(result.predictions, expected.predictions)
    assert result.bytes == expected.bytes
    model = home.seals.load(home.fold_model("linear-0", fold))
    assert model.encoders == local.seals.load(local.fold_model("linear-0", fold)).encoders
    assert all(home.encoder(name, fold).exists() for name in model.encoders)


def test_an_encoder_is_sent_back_once(home: RunDirectory, temporary: Path) -> None:
    runner = folds_of(home)
    worker = away(runner)
    _, first = worker.run(runner.errand(job()), nothing)
    runner.keep(first)
    _, second = worker.run(runner.errand(job(member="linear-1")), nothing)
    assert {name.split("/")[0] for name in first} == {"members", "encoders"}
    assert [name for name, content in second.items() if content] == ["members/linear-1.fold-0.pkl"]
    assert second.keys() - first.keys() == {"members/linear-1.fold-0.pkl"}


def test_what_is_known_does_not_grow_with_the_run(home: RunDirectory) -> None:
    runner = folds_of(home)
    for number in range(3 * remote.MOST_KNOWN):
        runner.keep({f"encoders/{number:08d}/moody.fold-0.pkl": b"fitted"})
    known = runner.errand(job(0)).known
    assert len(known) == remote.MOST_KNOWN
    assert known[-1] == f"encoders/{3 * remote.MOST_KNOWN - 1:08d}/moody.fold-0.pkl"
    assert runner.errand(job(1)).known == ()
    runner.keep({"encoders/00000000/moody.fold-0.pkl": b"fitted"})
    assert runner.errand(job(0)).known == known


def test_a_worker_keeps_no_models(home: RunDirectory, temporary: Path) -> None:
    runner = folds_of(home)
    away(runner).run(runner.errand(job()), nothing)
    assert [*temporary.rglob("encoders/*.pkl")]
    assert not [*temporary.rglob("members/*")]


def test_a_failed_job_says_why_and_sends_no_model(home: RunDirectory, temporary: Path) -> None:
    runner = folds_of(home)
    result, files = away(runner).run(runner.errand(job(params={"penalty": "much"})), nothing)
    assert result.predictions is None
    assert "Traceback" in result.error
    assert not [name for name in files if name.startswith("members/")]


class Halved:
    """An edit that changes nothing but says it was there."""

    name = "halved"

    def edit(self, learner: Any, rows: Any) -> Any:
        return learner


def test_an_edit_is_sent_the_model_that_it_edits(home: RunDirectory, temporary: Path) -> None:
    runner = folds_of(home)
    worker = away(runner)
    plain, files = worker.run(runner.errand(job()), nothing)
    runner.keep(files)
    errand = runner.errand(job(member="edited-0", edit=Halved(), source="linear-0"))
    assert errand.reads == ("members/linear-0.fold-0.pkl",)
    edited, files = worker.run(errand, runner.content)
    np.testing.assert_array_equal(edited.predictions, plain.predictions)
    assert [name for name, content in files.items() if content] == ["members/edited-0.fold-0.pkl"]


def test_an_edit_without_its_source_fails_and_says_so(home: RunDirectory, temporary: Path) -> None:
    runner = folds_of(home)
    errand = runner.errand(job(member="edited-0", edit=Halved(), source="gone-0"))
    result, _ = away(runner).run(errand, nothing)
    assert "there is no model of 'gone-0' to edit" in result.error


def test_a_student_is_sent_its_lessons_once(home: RunDirectory, temporary: Path) -> None:
    student = Student(name="student", learner="linear", params=PARAMS, copies=1.0)
    table = data()
    labels = np.tile([0.3, 0.7], (4, N, 1))
    write_array(home.teacher("fusion"), labels[0])
    rows = Augmented(columns=table.columns, source=np.arange(N), labels=labels)
    write_augmented(home, teacher_name(()), rows)
    runner = folds_of(home)
    worker = away(runner)
    asked = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        return runner.content(name)

    for fold in (0, 1, ALL_ROWS):
        result, _ = worker.run(runner.errand(job(fold, student=student)), fetch)
        assert not result.error
    assert asked == ["augmented/fusion.joblib", "teachers/fusion.npy"]


@pytest.mark.parametrize(
    "name", ["../members/a.pkl", "members/../a.pkl", "/etc/a", "lock", "members/a/b.pkl"]
)
def test_files_go_nowhere_else(name: str, home: RunDirectory) -> None:
    with pytest.raises(RunError, match="no fold model and no encoder"):
        folds_of(home).keep({name: b""})
    assert not list(home.root.iterdir())


def test_folders_of_killed_processes_are_removed(temporary: Path, home: RunDirectory) -> None:
    code = "from automl_fuse.remote import _own_folder; import os; _own_folder(); os._exit(9)"
    environment = {"TMPDIR": str(temporary), "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    (left,) = temporary.iterdir()
    own = remote._own_folder()
    again = remote._own_folder()
    assert not left.exists()
    assert own.exists()
    assert own != again


# ------------------------------------------------------------- encoders that differ by worker


class Moody:
    """An encoder that makes other features in each process, as one that is short of time may."""

    made = 0

    def __init__(self) -> None:
        Moody.made += 1
        self.width = 1 + Moody.made % 3

    def fit_transform(self, columns: Columns, y: Any, weight: Any) -> Matrix:
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        numbers = [columns.values[column.name] for column in columns.columns][: self.width]
        names = [f"mood {k}" for k in range(len(numbers))]
        return Matrix.numbers(np.column_stack(numbers), names)

    def to_onnx(self, graph: Any, columns: Any) -> Any:
        return graph.node("Concat", [*columns.values()][: self.width], {"axis": 1})


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("moody_plugin")

    @hookimpl
    def automl_fuse_encoders() -> list[EncoderSpec]:
        kinds = frozenset({Kind.NUMERIC})
        return [
            EncoderSpec(name="moody", api_version=1, kinds=kinds, build=lambda context: Moody())
        ]

    @hookimpl
    def automl_fuse_learners() -> list[LearnerSpec]:
        plain = discover().learners["decision_tree"]
        return [replace(plain, name="moody_tree", encoders=("moody",))]

    module.automl_fuse_encoders = automl_fuse_encoders  # type: ignore[attr-defined]
    module.automl_fuse_learners = automl_fuse_learners  # type: ignore[attr-defined]
    Moody.__module__ = "moody_plugin"
    module.Moody = Moody  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moody_plugin", module)
    return "moody_plugin"


def moody_job(member: str, **changes: Any) -> Job:
    params = discover().learners["decision_tree"].portfolio[0].params
    return job(member=member, learner="moody_tree", params=params, **changes)


def test_models_keep_the_encoders_that_they_were_fitted_with(
    moody: str, home: RunDirectory, temporary: Path
) -> None:
    runner = RemoteFolds(FoldRunner(data(), home, PluginChoice(modules=(moody,)), 1))
    workers = [away(runner), away(runner)]
    for number in (0, 1, 2, 3):
        errand = runner.errand(moody_job(f"moody_tree-{number}"))
        result, files = workers[number % 2].run(errand, nothing)
        assert not result.error
        runner.keep(files)
        model = home.seals.load(home.fold_model(f"moody_tree-{number}", 0))
        (key,) = model.encoders
        assert (key == "moody") == (number % 2 == 0)
        columns = data().columns.take(data().folds[0].valid)
        features = home.seals.load(home.encoder(key, 0)).transform(columns)
        np.testing.assert_array_equal(model.predict(features), result.predictions)
    assert len([*home.root.glob("encoders/*.pkl")]) == 2


def test_an_edit_with_other_features_than_its_source_is_refused(
    moody: str, home: RunDirectory, temporary: Path
) -> None:
    runner = RemoteFolds(FoldRunner(data(), home, PluginChoice(modules=(moody,)), 1))
    workers = [away(runner), away(runner)]
    for number in (0, 1):
        _, files = workers[number].run(runner.errand(moody_job(f"moody_tree-{number}")), nothing)
        runner.keep(files)
    for number, fails in ((0, False), (1, True)):
        edit = moody_job(f"edited-{number}", edit=Halved(), source="moody_tree-0")
        result, files = workers[number].run(runner.errand(edit), runner.content)
        assert ("encoders that are not those of this process" in result.error) == fails
        assert bool(files) != fails
    edit = moody_job("edited-2", edit=Halved(), source="moody_tree-1")
    result, files = workers[1].run(runner.errand(edit), runner.content)
    assert not result.error
    runner.keep(files)
    source, edited = (
        home.seals.load(home.fold_model(name, 0)) for name in ("moody_tree-1", "edited-2")
    )
    assert source.encoders == edited.encoders != ("moody",)


# --------------------------------------------------------------------------- whole runs


class Away:
    """An executor of two workers that take turns, each with a runner that was pickled."""

    def __init__(self, context: ExecutorContext) -> None:
        self._home = context.remote
        self._workers = deque([away(context.remote), away(context.remote)])
        self._jobs: deque[Job] = deque()

    @property
    def idle(self) -> int:
        return 0 if self._jobs else 1

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def collect(self, timeout: float) -> list[JobResult]:
        if not self._jobs:
            return []
        errand = pickle.loads(pickle.dumps(self._home.errand(self._jobs.popleft())))
        self._workers.rotate()
        result, files = self._workers[0].run(errand, self._home.content)
        self._home.keep(files)
        return [result]

    def cancel(self, job: Job) -> None:
        self._jobs.remove(job)

    def close(self) -> None:
        self._jobs.clear()


class Unlucky(Away):
    """The same, on machines of which the first three are lost."""

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context)
        self._losses = 3

    def collect(self, timeout: float) -> list[JobResult]:
        results = super().collect(timeout)
        if results and self._losses:
            self._losses -= 1
            return [replace(each, predictions=None, error="lost", lost=True) for each in results]
        return results


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("away_plugin")

    @hookimpl
    def automl_fuse_executors() -> list[ExecutorSpec]:
        return [
            ExecutorSpec(name="away", api_version=1, build=Away, cores=lambda options: 3),
            ExecutorSpec(name="unlucky", api_version=1, build=Unlucky),
        ]

    module.automl_fuse_executors = automl_fuse_executors  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "away_plugin", module)
    return "away_plugin"


def test_a_whole_run_gives_the_same_members_and_compresses_them(
    executor: str, temporary: Path
) -> None:
    X, y = load_iris(return_X_y=True)
    boards = {}
    for name, compressors in (("away", None), ("inline", ())):
        settings = Settings(
            executor=name,
            plugins=(executor,),
            learners=("linear", "decision_tree"),
            compressors=compressors,
            max_trials=3,
        )
        report = automl_fuse.fit(X, y, time_limit=20, settings=settings).report
        assert not report["failures"]
        boards[name] = [(row["member"], row["score"]) for row in report["leaderboard"]]
        if name == "away":
            assert not report["compression"]["failures"]
            assert any(made.startswith("distil") for made in report["compression"]["made"])
    assert boards["away"] == boards["inline"]


def test_folds_fitted_together_away_are_those_fitted_at_home(
    executor: str, temporary: Path
) -> None:
    X, y = load_diabetes(return_X_y=True)
    boards = {}
    for place, plugin, compressors in (
        ("away", "together_plugin", ("refit",)),
        ("inline", "apart_plugin", ()),
    ):
        settings = Settings(
            executor=place,
            plugins=(executor, plugin),
            learners=("ridge_stack",),
            compressors=compressors,
            folds=5,
            max_trials=2,
        )
        report = automl_fuse.fit(X, y, time_limit=60, settings=settings).report
        assert not report["failures"]
        boards[place] = [(row["member"], row["score"]) for row in report["leaderboard"]]
    assert boards["away"] == boards["inline"]


def test_models_of_several_folds_keep_their_own_encoders(
    moody: str, home: RunDirectory, temporary: Path
) -> None:
    runner = RemoteFolds(FoldRunner(data(), home, PluginChoice(modules=(moody,)), 1))
    both = moody_job("moody_tree-0", beside=(moody_job("moody_tree-0", fold=1),))
    workers = [away(runner), away(runner)]
    _, files = workers[0].run(runner.errand(moody_job("moody_tree-9", fold=1)), nothing)
    runner.keep(files)
    result, files = workers[1].run(runner.errand(both), nothing)
    assert [not each.error for each in result.each] == [True, True], result.error
    assert len(files) == 4
    runner.keep(files)
    models = [home.seals.load(home.fold_model("moody_tree-0", fold)) for fold in (0, 1)]
    assert models[0].encoders == ("moody",)
    assert models[1].encoders != ("moody",)
    errand = runner.errand(moody_job("edited", edit=Halved(), source="moody_tree-0"))
    assert {name.rpartition(".fold-")[2] for name in errand.expects} == {"0.pkl"}


def test_lost_machines_are_not_held_against_a_learner(executor: str, temporary: Path) -> None:
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        executor="unlucky",
        plugins=(executor,),
        learners=("linear",),
        compressors=(),
        workers=1,
        max_trials=5,
    )
    report = automl_fuse.fit(X, y, time_limit=40, settings=settings).report
    assert [failure["error"] for failure in report["failures"]] == ["lost"] * 3
    assert report["leaderboard"]


def test_workers_follow_the_cores_of_the_executor(executor: str, temporary: Path) -> None:
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        executor="away", plugins=(executor,), learners=("linear",), compressors=(), max_trials=1
    )
    report = automl_fuse.fit(X, y, time_limit=40, settings=settings).report
    assert report["seconds"]["workers"] == 3


def test_a_run_survives_encoders_that_differ(
    executor: str, moody: str, temporary: Path, tmp_path: Path
) -> None:
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        executor="away",
        plugins=(executor, moody),
        learners=("moody_tree",),
        max_trials=3,
        folds=3,
    )
    model = automl_fuse.fit(X, y, time_limit=20, settings=settings)
    assert not model.report["failures"]
    assert (model.named("all members").predict(X) == y).mean() > 0.8
    model.named("all members").save(tmp_path / "model.onnx")


@pytest.mark.parametrize(("workers", "expected"), [(None, (200, 2)), (4, (4, 16))])
def test_a_fold_gets_no_more_threads_than_this_machine_has_cores(monkeypatch, workers, expected):
    monkeypatch.setattr(session, "usable_cores", lambda: 16)
    cluster = types.SimpleNamespace(cores=lambda _options: 400)
    plugins = types.SimpleNamespace(executors={"ray": cluster})
    settings = Settings(executor="ray", workers=workers)
    assert session.workers_of(settings, plugins, session.ONE_WORKER_ROWS + 1) == expected
