"""Orders carried out on an executor, and the study over mixtures of what they made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automl_fuse.budget import Deadline
from automl_fuse.compression import Form
from automl_fuse.folds import cross_fitting, make_folds
from automl_fuse.host import discover
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.search import MixtureStudy, Order, Workshop, medians
from automl_fuse.search.studies import Storage
from automl_fuse.specs import (
    ALL_ROWS,
    Columns,
    Edit,
    FusionContext,
    Job,
    JobResult,
    Student,
    Task,
)
from automl_fuse.trial import TrialData
from automl_fuse.workers import InlineExecutor

N_ROWS, N_FOLDS = 60, 3
Y = np.random.default_rng(0).normal(size=N_ROWS)
STUDENT = Student(name="s", learner="linear", params={})


@pytest.fixture
def data() -> TrialData:
    return TrialData(
        columns=Columns(columns=(), values={}, n_rows=N_ROWS),
        y=Y,
        weight=None,
        folds=make_folds(Y, Task.REGRESSION, 0, folds=N_FOLDS),
        task=Task.REGRESSION,
        n_classes=1,
        seed=0,
    )


class Runner:
    """Predicts the target, and fails where it is told to."""

    def __init__(self, data: TrialData, fails: frozenset[tuple[str, int]] = frozenset()) -> None:
        self.data = data
        self.fails = fails
        self.jobs: list[Job] = []

    def __call__(self, job: Job) -> JobResult:
        self.jobs.append(job)
        rows = np.arange(0) if job.fold == ALL_ROWS else self.data.folds[job.fold].valid
        failed = (job.member, job.fold) in self.fails
        return JobResult(
            job=job,
            predictions=None if failed else self.data.y[rows][:, None],
            fit_seconds=0.1,
            predict_seconds=0.0,
            bytes=7,
            error="ValueError: no" if failed else "",
        )


def workshop(data: TrialData, runner: Runner, seconds: float = 30.0, **others: Any) -> Workshop:
    def loss_of_rows(prediction: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean((prediction[:, 0] - data.y[rows]) ** 2))

    settings: dict[str, Any] = {
        "tuned": lambda _name, _folds: {},
        "has_model": lambda _name, _fold: True,
        **others,
    }
    return Workshop(
        data, InlineExecutor(runner), 1, loss_of_rows, deadline=Deadline(seconds), **settings
    )


def order(name: str, **others: Any) -> Order:
    known: dict[str, Any] = {"learner": "linear", "params": {"a": 1}, "folds": (0, 1, 2)}
    return Order(name=name, **{**known, **others})


def test_a_student_is_fitted_in_each_fold_then_on_all_rows(data: TrialData) -> None:
    runner, heard = Runner(data), []
    shop = workshop(data, runner, tuned=lambda _name, folds: {"trees": len(folds)})
    shop.carry_out(iter([order("s", student=STUDENT)]), heard.append)
    assert [job.fold for job in runner.jobs] == [0, 1, 2, ALL_ROWS]
    assert [dict(job.params) for job in runner.jobs] == [{"a": 1}] * 3 + [{"a": 1, "trees": 3}]
    assert all(job.student is STUDENT for job in runner.jobs)
    (made,) = heard
    assert made.member.loss == 0
    assert made.member.folds == (0, 1, 2)
    np.testing.assert_array_equal(made.member.oof[:, 0], data.y)
    assert made.single_bytes == 7


def test_a_refit_has_no_folds(data: TrialData) -> None:
    runner = Runner(data)
    shop = workshop(data, runner, tuned=lambda name, folds: {name: len(folds)})
    shop.carry_out(iter([order("m", folds=())]))
    assert [(job.fold, dict(job.params)) for job in runner.jobs] == [(ALL_ROWS, {"a": 1, "m": 3})]
    assert shop.made[0].member is None
    assert shop.made[0].single_bytes == 7


@pytest.mark.parametrize("there", [True, False])
def test_an_edit_of_all_rows_needs_its_source_there(data: TrialData, there: bool) -> None:
    runner = Runner(data)
    edit = Edit(name="e", member=0, edit=lambda learner, _train: learner)
    shop = workshop(data, runner, has_model=lambda _name, _fold: there)
    shop.carry_out(iter([order("e", edit=edit, source="m")]))
    assert [job.fold for job in runner.jobs] == [0, 1, 2, *([ALL_ROWS] if there else [])]
    assert all(job.source == "m" and dict(job.params) == {"a": 1} for job in runner.jobs)
    assert shop.made[0].member is not None


def test_what_fails_is_recorded_and_the_rest_goes_on(data: TrialData) -> None:
    shop = workshop(data, Runner(data, frozenset({("bad", 1)})))
    shop.carry_out(iter([order("bad"), order("good")]))
    assert [made.order.name for made in shop.made] == ["good"]
    (failure,) = shop.failures
    assert (failure.member, failure.error) == ("bad", "ValueError: no")


def test_what_cannot_be_afforded_is_not_begun(data: TrialData) -> None:
    runner = Runner(data)
    workshop(data, runner, seconds=5.0).carry_out(
        iter([order("dear", seconds=10.0), order("cheap", seconds=0.1)])
    )
    assert {job.member for job in runner.jobs} == {"cheap"}


def test_nothing_is_begun_after_the_deadline(data: TrialData) -> None:
    runner = Runner(data)
    workshop(data, runner, seconds=-1.0).carry_out(iter([order("late")]))
    assert runner.jobs == []


def test_medians_keep_integers_whole() -> None:
    points = [{"trees": 10, "rate": 0.1}, {"trees": 13, "rate": 0.3}, {"trees": 30, "rate": 0.2}]
    assert medians(points) == {"trees": 13, "rate": 0.2}
    assert medians([]) == {}


def forms() -> list[Form]:
    """Return a good dear form, a form nearly as good and cheap, and a bad cheap one."""
    rng = np.random.default_rng(1)
    found = []
    for name, noise, cost in (("dear", 0.30, 10.0), ("near", 0.31, 1.0), ("poor", 2.0, 0.9)):
        noisy = Y + noise * rng.normal(size=N_ROWS)
        fresh = rng.normal(size=(50, 1))
        found.append(
            Form(
                member=name,
                learner="linear",
                params={},
                folds=(0, 1, 2),
                oof=noisy[:, None],
                latency_ms=cost,
                size_mb=cost,
                one=fresh + 0.2 * rng.normal(size=fresh.shape),
                other=fresh + 0.2 * rng.normal(size=fresh.shape),
            )
        )
    return found


def study(found: list[Form], seconds: float = 60.0) -> MixtureStudy:
    context = FusionContext(
        task=Task.REGRESSION,
        n_classes=1,
        loss=loss_of(METRICS["rmse"], Task.REGRESSION),
        seed=0,
        deadline=Deadline(seconds),
    )
    spec = discover().fusions["average"]
    splits = cross_fitting(Y, 3, 0)
    return MixtureStudy(found, spec, {"k": 0}, (Y, None), splits, N_FOLDS, context, Storage(None))


def test_the_front_of_mixtures_holds_the_cheap_and_the_good() -> None:
    mixtures = study(forms()).run([(0, 1)])
    names = [mixture.point.name for mixture in mixtures]
    losses = [mixture.point.loss for mixture in mixtures]
    assert losses == sorted(losses)
    assert names[0] == "dear + near"
    assert "near" in names
    assert "poor" in names
    assert all(name != "dear + poor" for name in names)
    assert all(0 < mixture.gain < 0.1 for mixture in mixtures)


def test_one_model_gains_nothing_from_averaging() -> None:
    found = [Form(**{**vars(form), "folds": (ALL_ROWS,), "other": form.one}) for form in forms()]
    assert {mixture.gain for mixture in study(found).run([])} == {0.0}


def test_after_the_deadline_one_form_is_still_scored() -> None:
    (mixture,) = study(forms(), seconds=-1.0).run([])
    assert mixture.point.name == "dear"
