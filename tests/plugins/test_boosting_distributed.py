"""LightGBM over several processes of this machine."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from crews import LocalCluster, NoRoom
from sklearn.metrics import log_loss

from automl_fuse.budget import Deadline
from automl_fuse.eligibility import eligible_learners
from automl_fuse.errors import NothingFittedError, PluginError
from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.run import RunDirectory
from automl_fuse.specs import ALL_ROWS, Column, Columns, FitContext, Job, Kind, Matrix, Rows, Task
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData
from automl_fuse_boosting import lightgbm_distributed, lightgbm_learner

pytest.importorskip("lightgbm", reason="LightGBM is not installed")

PARAMS = {**lightgbm_learner.POINTS[0][1], "features": "plain", "learning_rate": 0.15}
N_TRAIN, N_VALID, N_ROWS = 4_000, 6_000, 8_000


def table(task: Task) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.normal(size=(N_ROWS, 6))
    X[:, 0] = random.integers(0, 12, N_ROWS)
    X[::7, 3] = np.nan
    score = X[:, 1] + np.sin(2 * X[:, 2]) + (X[:, 0] % 3) + random.normal(size=N_ROWS)
    if task is Task.REGRESSION:
        return X, (score - score.mean()) / score.std()
    return X, np.digitize(score, [1.0] if task is Task.BINARY else [0.0, 2.0])


def rows(task: Task, start: int, end: int) -> Rows:
    X, y = table(task)
    names = tuple(f"f{k}" for k in range(X.shape[1]))
    matrix = Matrix(values=X[start:end], names=names, cardinalities=(12, 0, 0, 0, 0, 0))
    weight = np.where(np.arange(N_ROWS) % 5 == 0, 2.0, 1.0)[start:end]
    return Rows(X=matrix, y=y[start:end], weight=weight)


def fitted(task: Task, cluster: Any, deadline: Any = None, **params: Any) -> Any:
    context = FitContext(
        task=task,
        n_classes={Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 1}[task],
        seed=5,
        n_threads=1,
        deadline=deadline or Deadline(3_600.0),
        cluster=cluster,
    )
    model = lightgbm_distributed.SPEC.build({**PARAMS, **params}, context)
    model.fit(rows(task, 0, N_TRAIN), rows(task, N_TRAIN, N_VALID))
    return model


def loss(model: Any, task: Task) -> float:
    rest = rows(task, N_VALID, N_ROWS)
    predicted = model.predict(rest.X)
    if task is Task.REGRESSION:
        return float(np.sqrt(np.average((predicted[:, 0] - rest.y) ** 2)))
    return float(log_loss(rest.y, predicted))


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS, Task.REGRESSION])
def test_two_processes_make_one_model_as_good_as_that_of_one(task: Task) -> None:
    cluster = LocalCluster()
    alone, spread = fitted(task, None), fitted(task, cluster)
    assert cluster.mustered == 1
    assert loss(spread, task) == pytest.approx(loss(alone, task), rel=0.03)
    assert loss(spread, task) != loss(alone, task)
    rest = rows(task, N_VALID, N_ROWS).X
    expected = spread.predict(rest)
    np.testing.assert_allclose(spread.form().predict(rest.values), expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(spread)).predict(rest), expected)
    assert 5 < spread.tuned()["trees"] < 1_000


def test_the_same_processes_make_the_same_model_again() -> None:
    one, other = (fitted(Task.BINARY, LocalCluster()) for _ in range(2))
    assert pickle.dumps(one) == pickle.dumps(other)
    assert b"127.0.0.1" not in pickle.dumps(one)


class Ticking:
    """A deadline that comes nearer whenever it is looked at."""

    def __init__(self) -> None:
        self._left = 60.0

    def remaining(self) -> float:
        self._left -= 1.0
        return self._left

    def expired(self) -> bool:
        return self._left < 0


def test_no_time_for_all_trees_makes_the_rate_rise() -> None:
    model = fitted(Task.BINARY, LocalCluster(), Ticking(), learning_rate=0.005, trees=1_000)
    tuned = model.tuned()
    assert 10 < tuned["trees"] < 60
    assert 0.005 < tuned["learning_rate"] <= 0.2


def test_where_machines_have_no_room_it_is_fitted_here() -> None:
    task = Task.REGRESSION
    expected, found = fitted(task, None), fitted(task, NoRoom())
    assert pickle.dumps(found) == pickle.dumps(expected)


def test_machines_that_disagree_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = LocalCluster().muster(lightgbm_distributed.Rank, 1.0)
    assert crew is not None
    monkeypatch.setattr(crew, "call", lambda *_: ["one", "other"])
    boosting = object.__new__(lightgbm_distributed._SpreadBoosting)
    boosting._crew = crew
    with pytest.raises(PluginError, match="the machines ended with different models"):
        boosting.text(1)
    crew.close()


def test_rows_are_shared_by_threads() -> None:
    assert lightgbm_distributed.shares(10, [1, 3, 1]) == [slice(0, 2), slice(2, 8), slice(8, 10)]


# --------------------------------------------------------------------------- where it is tried


def trial_data(n_rows: int = 90) -> TrialData:
    y = np.arange(n_rows) % 2
    columns = (Column(name="a", kind=Kind.NUMERIC, reason=""),)
    values = {"a": np.arange(n_rows, dtype=np.float64)}
    return TrialData(
        columns=Columns(columns=columns, values=values, n_rows=n_rows),
        y=y,
        weight=None,
        folds=make_folds(y, Task.BINARY, 0, folds=3),
        task=Task.BINARY,
        n_classes=2,
        seed=0,
    )


def test_it_is_tried_on_large_tables_or_where_it_is_named() -> None:
    plugins, name = discover(), lightgbm_distributed.SPEC.name

    def reason(spreads_from: int | None, *names: str) -> str | None:
        _, skipped = eligible_learners(plugins, trial_data(), names or None, spreads_from)
        return next((each["reason"] for each in skipped if each["learner"] == name), None)

    assert reason(60) is None
    assert reason(61) == "it is for 61 training rows and more, and a fold has 60"
    assert reason(61, name, "linear") is None
    assert "needs an executor" in str(reason(None, name, "linear"))
    with pytest.raises(NothingFittedError, match=f"{name}: it needs an executor"):
        reason(None, name)


def test_a_job_tells_how_many_rows_it_could_spread(tmp_path: Any) -> None:
    runner = FoldRunner(trial_data(), RunDirectory(tmp_path / "run"), PluginChoice(), 1)
    job = Job(
        member="m", learner=lightgbm_distributed.SPEC.name, params=PARAMS, fold=0, seconds=60.0
    )
    assert runner.spread_rows(job) == 60
    assert runner.spread_rows(replace(job, fold=ALL_ROWS)) == 90
    assert runner.spread_rows(replace(job, max_rows=20)) == 20
    assert runner.spread_rows(replace(job, learner="lightgbm")) == 0


def test_a_runner_hands_the_cluster_to_the_learner(tmp_path: Any) -> None:
    runner = FoldRunner(trial_data(900), RunDirectory(tmp_path / "run"), PluginChoice(), 1)
    job = Job(
        member="m", learner=lightgbm_distributed.SPEC.name, params=PARAMS, fold=0, seconds=120.0
    )
    cluster = LocalCluster()
    result = runner(job, cluster)
    assert not result.error
    assert cluster.mustered == 1
    assert result.predictions is not None
