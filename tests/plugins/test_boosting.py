"""Gradient boosting: the three learners on every task, and the pace that stops them."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import automl_fuse_boosting
from automl_fuse.specs import (
    Deadline,
    FitContext,
    LearnerSpec,
    Matrix,
    Params,
    Rows,
    Shape,
    Task,
)
from automl_fuse_boosting.stopping import Pace, expected_iterations, patience, travel

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECS = {
    spec.name: spec
    for spec in automl_fuse_boosting.automl_fuse_learners()
    if not spec.distributed  # on one machine it is lightgbm; see test_boosting_distributed.py
}
CODES = 3
"""Position of the feature that holds category codes."""

every_learner = pytest.mark.parametrize("name", sorted(SPECS))
every_task = pytest.mark.parametrize("task", list(Task))


class NoDeadline:
    """A moment that never comes."""

    def remaining(self) -> float:
        return math.inf

    def expired(self) -> bool:
        return False


@dataclass
class WallClock:
    """A deadline so many seconds from now."""

    end: float

    def remaining(self) -> float:
        return self.end - time.monotonic()

    def expired(self) -> bool:
        return self.remaining() <= 0


@dataclass
class Countdown:
    """A deadline that comes nearer by a fixed step each time it is asked."""

    left: float
    step: float

    def remaining(self) -> float:
        self.left -= self.step
        return self.left

    def expired(self) -> bool:
        return self.left <= 0


def table(task: Task, n: int = 300, seed: int = 0, *, native: bool = True) -> Rows:
    """Rows with two useful numbers, one of noise, and a category that matters."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 4))
    codes = rng.integers(0, 6, n)
    values[:, CODES] = codes
    signal = 2 * values[:, 0] - values[:, 1] + 2.5 * np.isin(codes, (0, 3, 5))
    signal = signal + 0.3 * rng.normal(size=n)
    y: Any
    if task is Task.REGRESSION:
        y = (signal - signal.mean()) / signal.std()
    else:
        cuts = np.quantile(signal, (0.5,) if task is Task.BINARY else (0.33, 0.67))
        y = np.digitize(signal, cuts)
    values[rng.random(n) < 0.05, 2] = np.nan
    return Rows(X=matrix(values, native=native), y=y)


def matrix(values: Any, *, native: bool = True) -> Matrix:
    cardinalities = (0, 0, 0, 6 if native else 0)[: values.shape[1]]
    names = tuple("abcd"[: values.shape[1]])
    return Matrix(values=values, names=names, cardinalities=cardinalities)


def n_classes(task: Task) -> int:
    return {Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 1}[task]


def context(task: Task, deadline: Deadline | None = None, seed: int = 1) -> FitContext:
    return FitContext(
        task=task,
        n_classes=n_classes(task),
        seed=seed,
        n_threads=1,
        deadline=deadline or NoDeadline(),
    )


def quick(name: str) -> dict[str, Any]:
    """Return a configuration with a high rate, so that tests are fast."""
    return {**SPECS[name].portfolio[0].params, "learning_rate": 0.15}


def fitted(
    name: str,
    train: Rows,
    valid: Rows | None,
    *,
    task: Task,
    deadline: Deadline | None = None,
    seed: int = 1,
    params: Params | None = None,
) -> Any:
    learner = SPECS[name].build(params or quick(name), context(task, deadline, seed))
    learner.fit(train, valid)
    return learner


def loss(rows: Rows, prediction: Any, task: Task) -> float:
    if task is Task.REGRESSION:
        return float(np.sqrt(np.mean((rows.y - prediction[:, 0]) ** 2)))
    chosen = prediction[np.arange(len(rows.y)), rows.y]
    return float(-np.mean(np.log(np.clip(chosen, 1e-12, 1))))


# --------------------------------------------------------------------------- contract


@every_learner
@every_task
def test_it_learns_and_keeps_the_shape_of_the_contract(name: str, task: Task) -> None:
    train, valid = table(task), table(task, seed=1)
    prediction = fitted(name, train, valid, task=task).predict(valid.X)
    assert prediction.dtype == np.float64
    assert prediction.shape == (300, n_classes(task))
    constant = 1.0 if task is Task.REGRESSION else math.log(n_classes(task))
    assert loss(valid, prediction, task) < 0.6 * constant
    if task is not Task.REGRESSION:
        np.testing.assert_allclose(prediction.sum(axis=1), 1.0, rtol=0, atol=1e-12)


@every_learner
@every_task
def test_a_fit_without_validation_rows_learns_too(name: str, task: Task) -> None:
    test = table(task, seed=1)
    prediction = fitted(name, table(task), None, task=task).predict(test.X)
    constant = 1.0 if task is Task.REGRESSION else math.log(n_classes(task))
    assert loss(test, prediction, task) < 0.7 * constant


@every_learner
@every_task
def test_the_same_seed_gives_the_same_model_and_another_does_not(name: str, task: Task) -> None:
    train, valid = table(task), table(task, seed=1)
    first, again, other = (
        fitted(name, train, valid, task=task, seed=seed).predict(valid.X) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@every_learner
@every_task
def test_a_pickled_model_predicts_the_same_and_is_compact(name: str, task: Task) -> None:
    train, valid = table(task), table(task, seed=1)
    learner = fitted(name, train, valid, task=task, deadline=WallClock(time.monotonic() + 1e6))
    content = pickle.dumps(learner)
    restored = pickle.loads(content)
    np.testing.assert_array_equal(restored.predict(valid.X), learner.predict(valid.X))
    # After a prediction the library's own object must not be carried along a second time.
    assert len(pickle.dumps(learner)) < 1.1 * len(content)


@every_learner
@every_task
def test_one_row_is_predicted_as_in_a_batch(name: str, task: Task) -> None:
    train, valid = table(task), table(task, n=1_200, seed=1)
    learner = fitted(name, train, valid, task=task)
    batch = learner.predict(valid.X)
    for i in range(0, 1_200, 60):
        one = learner.predict(matrix(valid.X.values[i : i + 1]))
        np.testing.assert_array_equal(one, batch[i : i + 1])


@every_learner
@every_task
def test_weights_matter(name: str, task: Task) -> None:
    plain = table(task)
    valid = table(task, seed=1)
    heavy = plain.X.values[:, 0] > 0
    weight = np.where(heavy, 1.9, 0.1)
    # The light half contradicts the heavy one.
    y = np.where(heavy, plain.y, plain.y.max() + plain.y.min() - plain.y)
    contradictory = Rows(X=plain.X, y=y, weight=weight / weight.mean())
    unweighted = Rows(X=plain.X, y=y)
    with_weights = fitted(name, contradictory, None, task=task).predict(valid.X)
    without = fitted(name, unweighted, None, task=task).predict(valid.X)
    assert np.abs(with_weights - without).mean() > 0.01


@every_learner
def test_validation_weights_decide_when_to_stop(name: str) -> None:
    task = Task.REGRESSION
    train, valid = table(task), table(task, seed=1)
    noisy = Rows(X=valid.X, y=valid.y.copy())
    noisy.y[::2] = -noisy.y[::2]
    weight = np.where(np.arange(300) % 2, 1.999, 0.001)
    plain = fitted(name, train, noisy, task=task).predict(valid.X)
    weighted = fitted(name, train, Rows(X=noisy.X, y=noisy.y, weight=weight), task=task)
    # Where the contradicting half hardly counts, boosting goes on for longer and fits better.
    assert loss(valid, weighted.predict(valid.X), task) < loss(valid, plain, task)


# --------------------------------------------------------------------------- values


@every_learner
@every_task
def test_missing_values_and_unseen_codes_are_predicted(name: str, task: Task) -> None:
    train, valid = table(task), table(task, seed=1)
    learner = fitted(name, train, valid, task=task)
    hard = valid.X.values[:20].copy()
    hard[:10] = np.nan
    hard[10:, CODES] = np.nan
    prediction = learner.predict(matrix(hard))
    assert np.isfinite(prediction).all()
    assert np.ptp(prediction[:10], axis=0).max() == 0


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_categories_are_split_as_sets(name: str) -> None:
    # A target that alternates with the code: one tree of two leaves separates it only if the
    # split is between sets of codes, not at a threshold.
    codes = np.arange(400) % 20
    y = (codes % 2).astype(np.int64)
    params = {**quick(name), "learning_rate": 0.2}
    params |= {"num_leaves": 4} if name == "lightgbm" else {"max_depth": 3}
    losses = {}
    for native in (True, False):
        X = Matrix(
            values=codes[:, None].astype(np.float64),
            names=("code",),
            cardinalities=(20 if native else 0,),
        )
        rows = Rows(X=X, y=y)
        # Ten iterations are all that the pace allows: each takes a tenth of the time.
        deadline = Countdown(left=11.0, step=1.0)
        learner = fitted(name, rows, rows, task=Task.BINARY, deadline=deadline, params=params)
        losses[native] = loss(rows, learner.predict(X), Task.BINARY)
    assert losses[True] < 0.8 * losses[False]


@every_learner
@every_task
@pytest.mark.parametrize("n", [8, 40])
def test_few_rows_and_one_column(name: str, task: Task, n: int) -> None:
    whole = table(task, n=n)
    y = np.arange(n) % n_classes(task) if task is not Task.REGRESSION else whole.y
    train = Rows(X=matrix(np.ascontiguousarray(whole.X.values[:, :1])), y=y)
    valid = Rows(X=matrix(train.X.values + 0.1), y=y)
    params = {**quick(name), "learning_rate": 0.2}
    prediction = fitted(name, train, valid, task=task, params=params).predict(train.X)
    assert prediction.shape == (n, n_classes(task))
    assert np.isfinite(prediction).all()


@every_learner
@every_task
@pytest.mark.parametrize("n_columns", [0, 2])
def test_features_that_never_vary_give_the_weighted_prior(
    name: str, task: Task, n_columns: int
) -> None:
    values = np.full((30, n_columns), np.nan)
    values[:, 1:] = 3.0
    y = np.arange(30) % n_classes(task) if task is not Task.REGRESSION else np.arange(30) / 30
    weight = np.where(np.arange(30) < 15, 1.5, 0.5)
    train = Rows(X=matrix(values), y=y, weight=weight)
    learner = pickle.loads(pickle.dumps(fitted(name, train, train, task=task)))
    if task is Task.REGRESSION:
        expected = np.array([np.average(y, weights=weight)])
    else:
        expected = np.bincount(y, weights=weight) / 30
    prediction = learner.predict(matrix(values[:4]))
    np.testing.assert_allclose(prediction, np.tile(expected, (4, 1)), rtol=1e-12)


@every_learner
def test_nothing_is_printed_and_no_file_is_left(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    train = table(Task.MULTICLASS)
    valid = table(Task.MULTICLASS, seed=1)
    learner = fitted(name, train, valid, task=Task.MULTICLASS)
    pickle.loads(pickle.dumps(learner)).predict(train.X)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------- time


@every_learner
@every_task
def test_a_near_deadline_is_kept_with_a_useful_model(name: str, task: Task) -> None:
    train, valid = table(task, n=4_000), table(task, n=1_000, seed=1)
    # A rate that would take far longer than the time given.
    slow = {**quick(name), **_slow(name)}
    fitted(name, table(task), None, task=task)  # the library is imported before the clock runs
    deadline = WallClock(time.monotonic() + 0.5)
    learner = fitted(name, train, valid, task=task, deadline=deadline, params=slow)
    constant = 1.0 if task is Task.REGRESSION else math.log(n_classes(task))
    assert loss(valid, learner.predict(valid.X), task) < 0.7 * constant


def _slow(name: str) -> dict[str, Any]:
    rate = {"lightgbm": 0.005, "xgboost": 0.02, "catboost": 0.03}[name]
    return {"learning_rate": rate}


@every_learner
def test_a_passed_deadline_still_gives_a_model(name: str) -> None:
    train = table(Task.BINARY)
    late = WallClock(time.monotonic() - 5)
    prediction = fitted(name, train, train, task=Task.BINARY, deadline=late).predict(train.X)
    assert np.isfinite(prediction).all()
    assert np.ptp(prediction[:, 1]) > 0


@every_learner
def test_time_pressure_is_no_matter_of_chance_with_a_far_deadline(name: str) -> None:
    train, valid = table(Task.BINARY), table(Task.BINARY, seed=1)
    endless = fitted(name, train, valid, task=Task.BINARY)
    far = fitted(name, train, valid, task=Task.BINARY, deadline=WallClock(time.monotonic() + 1e5))
    np.testing.assert_array_equal(endless.predict(valid.X), far.predict(valid.X))


@every_learner
def test_short_time_raises_the_learning_rate(name: str) -> None:
    train, valid = table(Task.REGRESSION, n=1_000), table(Task.REGRESSION, seed=1)
    params = {**quick(name), **_slow(name)}
    # Time for 60 iterations: at the configured rate they would go 0.3 to 1.8 of about 8.
    pressed = fitted(
        name,
        train,
        valid,
        task=Task.REGRESSION,
        deadline=Countdown(left=60.0, step=1.0),
        params=params,
    )
    assert loss(valid, pressed.predict(valid.X), Task.REGRESSION) < 0.4


# --------------------------------------------------------------------------- pace


def _run(pace: Pace, losses: Sequence[float | None]) -> int:
    for i, value in enumerate(losses):
        if not pace.after(value):
            return i + 1
    return len(losses)


def test_patience_falls_with_rows_and_rate() -> None:
    assert patience(1_000, 0.05) == 300
    assert patience(30_000, 0.05) == 100
    assert patience(10**7, 0.05) == 20
    assert patience(1_000, 0.1) == 150
    assert patience(1_000, 0.01) == 300


def test_travel_grows_with_rows_within_bounds() -> None:
    assert travel(1) == 4.0
    assert travel(1_000) == 8.0
    assert travel(10**9) == 60.0
    assert expected_iterations(0.001, 60.0, 100) == 10_000


def test_it_stops_when_the_loss_no_longer_falls_and_knows_the_best() -> None:
    pace = Pace(rate=0.1, n_rows=100_000, distance=8.0, deadline=NoDeadline())
    assert _run(pace, [3.0, 2.0, 1.0] + [1.5] * 1_000) == 3 + patience(100_000, 0.1)
    assert pace.best == 3


def test_losses_that_are_not_numbers_are_never_the_best() -> None:
    pace = Pace(rate=0.1, n_rows=100_000, distance=8.0, deadline=NoDeadline())
    _run(pace, [2.0, math.nan, math.inf, 1.0, math.nan])
    assert pace.best == 4


def test_without_losses_it_runs_exactly_the_distance() -> None:
    pace = Pace(rate=0.1, n_rows=1_000, distance=8.0, deadline=NoDeadline())
    assert _run(pace, [None] * 1_000) == 80
    assert pace.best == 80
    assert pace.rate == 0.1


def test_it_stops_before_the_deadline() -> None:
    deadline = Countdown(left=20.0, step=1.0)
    pace = Pace(rate=0.2, n_rows=1_000, distance=8.0, deadline=deadline)
    ran = _run(pace, [1.0 / (i + 1) for i in range(100)])
    assert 15 <= ran <= 20
    assert deadline.left > 0


def test_pressure_raises_the_rate_to_what_the_time_can_hold() -> None:
    pace = Pace(rate=0.01, n_rows=1_000, distance=8.0, deadline=Countdown(left=100.0, step=1.0))
    rates = []
    for i in range(1_000):
        if not pace.after(1.0 / (i + 1)):
            break
        rates.append(pace.rate)
    assert rates[0] == 0.01
    assert 0.07 < rates[-1] <= 0.2
    assert rates == sorted(rates)
    assert sum(rates) == pytest.approx(8.0, rel=0.25)


def test_pressure_never_raises_the_rate_above_the_top() -> None:
    pace = Pace(
        rate=0.1, n_rows=1_000, distance=8.0, deadline=Countdown(left=30.0, step=1.0), top=0.1
    )
    _run(pace, [1.0 / (i + 1) for i in range(100)])
    assert pace.rate == 0.1


# --------------------------------------------------------------------------- specs


@dataclass
class Inside:
    """A ``Suggest`` that answers from a configuration, and checks its bounds."""

    params: Params
    asked: set[str]

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        value = self._value(name)
        assert isinstance(value, int)
        assert low <= value <= high
        assert low > 0 or not log
        return value

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._value(name)
        assert low <= value <= high
        assert low > 0 or not log
        return float(value)

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        value = self._value(name)
        assert value in options
        return value

    def _value(self, name: str) -> Any:
        assert name not in self.asked
        self.asked.add(name)
        return self.params[name]


def _configurations() -> list[Any]:
    return [
        pytest.param(spec, c.params, id=f"{spec.name}-{i}")
        for spec in SPECS.values()
        for i, c in enumerate(spec.portfolio)
    ]


@pytest.mark.parametrize(("spec", "params"), _configurations())
def test_a_configuration_is_a_point_of_the_space_that_fits(
    spec: LearnerSpec, params: Params
) -> None:
    suggest = Inside(params, set())
    assert spec.space(suggest) == params
    assert suggest.asked == set(params)
    task = Task.MULTICLASS
    rows = table(task, n=60)
    learner = fitted(
        spec.name, rows, rows, task=task, params=params, deadline=Countdown(left=60, step=1)
    )
    assert loss(rows, learner.predict(rows.X), task) < 1.09


@every_learner
def test_the_portfolio_is_in_falling_order_of_merit(name: str) -> None:
    merits = [c.merit for c in SPECS[name].portfolio]
    assert merits == sorted(merits, reverse=True)
    assert merits[0] > 0.7


@every_learner
def test_costs_grow_with_rows_columns_and_classes(name: str) -> None:
    spec = SPECS[name]
    params = spec.portfolio[0].params

    def seconds(n_rows: int, n_features: int, classes: int) -> float:
        task = Task.BINARY if classes == 2 else Task.MULTICLASS
        shape = Shape(n_rows=n_rows, n_features=n_features, n_classes=classes, task=task)
        cost = spec.cost(shape, params)
        assert cost.bytes > 0
        return cost.seconds

    assert 0 < seconds(800, 10, 2) < 10
    assert seconds(800, 10, 2) < seconds(24_000, 10, 2) < seconds(24_000, 30, 2)
    assert seconds(8_000, 10, 2) < seconds(8_000, 10, 10)


def test_target_encoding_replaces_native_categories() -> None:
    for name in ("lightgbm", "xgboost"):
        spec = SPECS[name]
        native = spec.encoders_for({"categories": "native"})
        target = spec.encoders_for({"categories": "target"})
        assert "codes" in native
        assert "codes" not in target
        assert "target" in target
        assert {c.params["categories"] for c in spec.portfolio} == {"native", "target"}
    assert "codes" not in SPECS["catboost"].encoders_for({})


def test_listing_the_learners_imports_none_of_the_libraries() -> None:
    code = (
        "import sys, automl_fuse_boosting as b\n"
        "specs = b.automl_fuse_learners()\n"
        "assert len(specs) == 4\n"
        "print([m for m in ('lightgbm', 'xgboost', 'catboost', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(  # the module search path of this process, for a checkout
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
