"""Folds and configurations that are fitted at the same time."""

from __future__ import annotations

import json
import os
import sys
import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import together_plugin
from sklearn.datasets import load_diabetes
from sklearn.model_selection import PredefinedSplit
from together_plugin import SHARED, TOGETHER, TROUBLE

import automl_fuse
from automl_fuse import Settings, hookimpl
from automl_fuse.budget import Stopwatch
from automl_fuse.errors import NothingFittedError
from automl_fuse.folds import make_folds
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.search import MemberSearch, SearchLimits, members, times
from automl_fuse.search.arms import Allowance, Arm, Candidate, choose
from automl_fuse.search.ledger import Ledger
from automl_fuse.search.studies import Storage, Study
from automl_fuse.search.together import MOST_CONFIGURATIONS, stretch
from automl_fuse.specs import Column, Columns, JobResult, Kind, ObserverSpec, Shape, Task
from automl_fuse.testing import check_learner
from automl_fuse.trial import TrialData

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Event, Job

X, Y = load_diabetes(return_X_y=True)


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave busy machines time, and forget what other tests have done."""
    monkeypatch.setattr(times, "OVERRUN", (1.25, 200.0))
    monkeypatch.setattr(times, "START", (0.5, 200.0, 200.0))
    before = dict(TROUBLE)
    TOGETHER.clear()
    SHARED.clear()
    yield
    TROUBLE.update(before)


def fit(plugin: str = "together_plugin", **changes: Any) -> Pipeline:
    chosen: dict[str, Any] = {
        "plugins": (plugin,),
        "learners": ("ridge_stack",),
        "executor": "inline",
        "folds": 5,
        "max_trials": 2,
        "compressors": (),
        "progress": False,
    }
    others = {name: changes.pop(name) for name in ("resume",) if name in changes}
    settings = Settings(**{**chosen, **changes})
    return automl_fuse.fit(X, Y, time_limit=600, prefer="quality", settings=settings, **others)


@pytest.fixture(scope="module")
def apart() -> Pipeline:
    """Return what comes of fitting one fold after the other."""
    return fit("apart_plugin")


def board(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    rows = pipeline.report["leaderboard"]
    return [(row["member"], row["params"], row["score"], row["weight"]) for row in rows]


def same(one: Pipeline, other: Pipeline) -> None:
    assert board(one) == board(other)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


# --------------------------------------------------------------------------- through fit


def test_the_learner_conforms() -> None:
    check_learner(together_plugin.SPEC)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_folds_fitted_together_are_those_fitted_apart(executor: str, apart: Pipeline) -> None:
    same(fit(executor=executor, workers=2), apart)
    if executor == "inline":
        assert [len(models) for models in TOGETHER] == [5, 5]


def test_as_many_are_fitted_together_as_pay(
    apart: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 2)
    same(fit(), apart)
    assert [len(models) for models in TOGETHER] == [2, 2, 2, 2]


def test_nothing_is_fitted_together_where_that_does_not_pay(
    apart: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 1)
    same(fit(), apart)
    assert TOGETHER == []


def test_configurations_of_one_shape_are_fitted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 20)
    model = fit(max_trials=6)
    assert [len(models) for models in TOGETHER] == [20, 10]
    assert [len({penalty for _, penalty in models}) for models in TOGETHER] == [4, 2]
    assert SHARED == [5, 5], "configurations of a fold read one copy of its rows"
    degrees = {row["member"]: row["params"]["degree"] for row in model.report["leaderboard"]}
    assert [degrees[f"ridge_stack-{number}"] for number in range(6)] == [1, 1, 1, 1, 2, 2]
    report = model.report
    assert report["trials"]["finished"] == 6
    assert not report["failures"]


def test_a_holdout_is_fitted_together_with_that_of_other_configurations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 40)
    holdout = PredefinedSplit(np.where(np.arange(len(Y)) % 5, -1, 0))
    fit(folds=holdout, max_trials=MOST_CONFIGURATIONS + 2)
    assert [len(models) for models in TOGETHER] == [MOST_CONFIGURATIONS, 2]


def test_seconds_are_shared_and_none_is_counted_twice() -> None:
    report = fit().report["seconds"]
    assert 0.0 < report["fitting"] <= report["wall"]


# --------------------------------------------------------------------------- failures


def test_what_cannot_be_fitted_together_is_fitted_apart(
    apart: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    TROUBLE["together"] = True
    same(fit(), apart)
    assert "too much at once" in caplog.text


def test_a_fold_that_fails_fails_its_member_and_says_why() -> None:
    parts = np.arange(len(Y)) % 5
    parts[:10] = 2
    TROUBLE["rows"] = int((parts != 2).sum())
    with pytest.raises(NothingFittedError, match="the poisoned one"):
        fit(folds=PredefinedSplit(parts))
    model = fit(folds=PredefinedSplit(parts), learners=("ridge_stack", "linear"), max_trials=4)
    assert {row["learner"] for row in model.report["leaderboard"]} == {"linear"}
    failures = [each["learner"] for each in model.report["failures"]]
    assert failures == ["ridge_stack"] * 2


def test_a_configuration_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 20)
    TROUBLE["penalty"] = 1.0
    model = fit(max_trials=4)
    assert [each["member"] for each in model.report["failures"]] == ["ridge_stack-0"]
    found = {row["member"] for row in model.report["leaderboard"]}
    assert found == {f"ridge_stack-{number}" for number in (1, 2, 3)}


# --------------------------------------------------------------------------- resumed


class Impatient:
    """Interrupts the run when its second member has finished."""

    finished = 0

    def notify(self, event: Event) -> None:
        if event.name == "trial_finished":
            type(self).finished += 1
            if self.finished == 2:
                os.kill(os.getpid(), 2)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("impatient_plugin")

    @hookimpl
    def automl_fuse_observers() -> list[ObserverSpec]:
        return [ObserverSpec(name="impatient", api_version=1, build=lambda run: Impatient())]

    module.automl_fuse_observers = automl_fuse_observers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "impatient_plugin", module)
    monkeypatch.setattr(Impatient, "finished", 0)
    return "impatient_plugin"


def test_a_run_that_is_interrupted_in_a_joint_job_ends_as_it_would_have(
    tmp_path: Path, impatient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 15)
    plugins = ("together_plugin", impatient)
    monkeypatch.setattr(Impatient, "finished", 99)
    whole = fit(plugins=plugins, max_trials=8)
    monkeypatch.setattr(Impatient, "finished", 0)
    run = tmp_path / "run"
    cut = fit(plugins=plugins, max_trials=8, output=str(run))
    assert len(cut.report["leaderboard"]) == 2
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines[:3]] == ["opened"] * 3
    resumed = automl_fuse.fit(X, Y, resume=run, settings=None)
    same(resumed, whole)


# --------------------------------------------------------------------------- the search alone


SHAPE = Shape(n_rows=300, n_features=10, n_classes=1, task=Task.REGRESSION)


class Slow:
    """An executor whose jobs never end, or end as a whole with an error."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.jobs: list[Job] = []
        self.waiting: list[Job] = []
        self.cancelled: list[Job] = []

    @property
    def idle(self) -> int:
        return 0 if self.waiting else 1

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.waiting.append(job)

    def collect(self, timeout: float) -> list[JobResult]:
        if not self.error or not self.waiting:
            return []
        nothing = {"predictions": None, "fit_seconds": 1.5, "predict_seconds": 0.0, "bytes": 0}
        return [JobResult(job=self.waiting.pop(0), error=self.error, **nothing)]  # type: ignore[arg-type]

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job)
        self.waiting = [each for each in self.waiting if each != job]

    def close(self) -> None:
        self.waiting.clear()


def searched(executor: Slow, **limits: Any) -> Any:
    y = np.random.default_rng(0).normal(size=200)
    column = Column(name="x", kind=Kind.NUMERIC, reason="")
    data = TrialData(
        columns=Columns(columns=(column,), values={"x": y}, n_rows=200),
        y=y,
        weight=None,
        folds=make_folds(y, Task.REGRESSION, 0, folds=5),
        task=Task.REGRESSION,
        n_classes=1,
        seed=0,
    )
    bounds = {"seconds": 600.0, "max_trials": None, "slots": 2, **limits}
    return MemberSearch(
        [together_plugin.SPEC],
        data,
        loss_of(METRICS["rmse"], Task.REGRESSION),
        executor,
        Storage(None),
        SearchLimits(**bounds),
        lambda event, details: None,
        Ledger(None, Stopwatch()),
    ).run()


@pytest.mark.parametrize("size", [2, 5, 15])
def test_a_job_that_does_not_stop_is_killed_with_all_that_it_fits(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", size)
    monkeypatch.setattr(times, "OVERRUN", (0.0, 0.0))
    executor = Slow()
    outcome = searched(executor)
    assert outcome.members == ()
    assert len(executor.jobs[0].each) == size
    assert executor.cancelled == executor.jobs[:1]
    assert [each.member for each in outcome.failures] == [
        f"ridge_stack-{number}" for number in range(max(1, size // 5))
    ]
    for failure in outcome.failures:
        assert "a job of the folds 0, 1" in failure.error
        assert "was killed" in failure.error


def test_a_worker_that_dies_fails_every_member_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 15)
    outcome = searched(Slow("it died"))
    assert [each.member for each in outcome.failures] == [f"ridge_stack-{n}" for n in range(3)]
    assert {each.error for each in outcome.failures} == {"it died"}
    assert outcome.busy_seconds == 1.5


def test_a_job_may_take_as_long_as_its_folds_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = []
    for size in (1, 5):
        monkeypatch.setattr(together_plugin, "SIZE", size)
        executor = Slow("it broke")
        searched(executor, max_trials=1)
        seconds.append(executor.jobs[0].seconds)
    assert seconds[1] == pytest.approx(3 * seconds[0])


def test_the_first_member_of_a_large_table_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_plugin, "SIZE", 15)
    monkeypatch.setattr(members, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(times, "FIRST_SECONDS", (1.0, 2.0))
    executor = Slow("it broke")
    searched(executor)
    assert [len(job.each) for job in executor.jobs] == [5, 5]
    assert executor.jobs[0].seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("n_folds", "n", "slots", "expected"),
    [(5, 1, 2, 1.0), (5, 5, 2, 1 / 3), (5, 5, 8, 1.0), (5, 2, 2, 2 / 3), (1, 1, 4, 1.0)],
)
def test_waves_of_joint_jobs_are_fewer(n_folds: int, n: int, slots: int, expected: float) -> None:
    assert stretch(n_folds, n, slots) == pytest.approx(expected)


@pytest.mark.parametrize(("slots", "is_tried"), [(1, True), (5, False)])
def test_a_joint_job_is_planned_by_what_all_of_its_folds_take(slots: int, is_tried: bool) -> None:
    how = replace(together_plugin.HOW, seconds=lambda shape, params, n: 5.0)
    spec = replace(together_plugin.SPEC, together=how)
    portfolio = [Candidate(params=c.params, merit=c.merit) for c in spec.portfolio]
    arm = Arm(spec=spec, study=Study("ridge", Storage(None), 0), portfolio=portfolio)
    allowance = Allowance(given=0.6, left=0.8, n_folds=5, slots=slots)
    assert (choose([arm], SHAPE, allowance) is not None) == is_tried
