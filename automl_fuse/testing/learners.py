"""The conformance suite of learners."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.hyperparameters import KEPT
from automl_fuse.specs import (
    Earlier,
    FitContext,
    Learner,
    LearnerSpec,
    Params,
    Rows,
    Shape,
    Task,
)
from automl_fuse.testing._base import (
    SEED,
    Check,
    TickingDeadline,
    checks_of,
    draw,
    far,
    frozen_copies,
    passed,
    require,
    require_close,
    require_points_of,
    require_valid,
    run_all,
    sound_spec,
    through_pickle,
)
from automl_fuse.testing._data import (
    KEEP_MISSING,
    first_feature,
    n_classes_of,
    sample_rows,
    take,
    take_matrix,
    with_missing,
)
from automl_fuse.testing.exporting import LEARNER_RULES
from automl_fuse.testing.starting import STARTING_RULES
from automl_fuse.testing.teaching import TEACHING_RULES
from automl_fuse.testing.together import TOGETHER_RULES

if TYPE_CHECKING:
    from automl_fuse.specs import Floats, Matrix

_N_TRAIN = 90
_BATCH_TOLERANCE = 1e-5
"""Networks in single precision differ by that much between batch sizes, and no more."""


class LearnerCase:
    """A learner on one task: its cheapest configuration, and fits that checks share."""

    def __init__(self, spec: LearnerSpec, task: Task, n_classes: int | None = None) -> None:
        self.spec = spec
        self.task = task
        self.n_classes = n_classes or n_classes_of(task)
        shape = Shape(n_rows=_N_TRAIN, n_features=5, n_classes=self.n_classes, task=task)
        points = [point.params for point in spec.portfolio]
        self.params: Params = min(points, key=lambda p: spec.cost(shape, p).seconds)

    def rows(self, n_rows: int, seed: int, params: Params | None = None) -> Rows:
        """Return rows as the encoders of a configuration would make them."""
        encoders = self.spec.encoders_for(self.params if params is None else params)
        task = Task.BINARY if self.n_classes == 2 else self.task
        return sample_rows(task, encoders, n_rows=n_rows, seed=seed)

    @cached_property
    def train(self) -> Rows:
        """Rows to learn from."""
        return self.rows(_N_TRAIN, seed=1)

    @cached_property
    def valid(self) -> Rows:
        """Rows to stop early by."""
        return self.rows(30, seed=2)

    @cached_property
    def test(self) -> Rows:
        """Rows to predict."""
        return self.rows(60, seed=3)

    @cached_property
    def model(self) -> Learner:
        """The fit that most checks look at."""
        return self.fit(self.train, self.valid)

    @cached_property
    def keeps_missing(self) -> bool:
        """Whether the engine would hand missing values to this learner."""
        return bool(KEEP_MISSING.intersection(self.spec.encoders_for(self.params)))

    def fit(
        self,
        train: Rows,
        valid: Rows | None,
        *,
        deadline: TickingDeadline | None = None,
        params: Params | None = None,
        earlier: Earlier | None = None,
    ) -> Learner:
        """Build a learner and fit it."""
        context = FitContext(
            task=self.task,
            n_classes=self.n_classes,
            seed=SEED,
            n_threads=1,
            deadline=deadline or far(),
            earlier=earlier,
        )
        learner = self.spec.build(self.params if params is None else params, context)
        learner.fit(train, valid)
        return learner

    def predict(self, learner: Learner, X: Matrix) -> Floats:
        """Predict, and require a valid prediction."""
        predictions = learner.predict(X)
        require_valid(predictions, self.task, len(X.values), self.n_classes)
        return predictions

    def few(self, per_class: int) -> Rows:
        """Return that many rows of each class; in regression, twice as many rows."""
        rows = self.train
        if not self.task.is_classification:
            return take(rows, np.arange(2 * per_class))
        chosen = [np.flatnonzero(rows.y == k)[:per_class] for k in range(self.n_classes)]
        return take(rows, np.concatenate(chosen))


def predicts_validly(case: LearnerCase) -> None:
    """Require that predictions have the right shape and are finite, or probabilities."""
    case.predict(case.model, case.test.X)
    case.predict(case.model, case.train.X)


def learns(case: LearnerCase) -> None:
    """Require that on easy rows it predicts better than the mean target does."""
    predictions = case.predict(case.model, case.test.X)
    y = case.test.y
    if case.task.is_classification:
        reached = float(predictions[np.arange(len(y)), y].mean())
        chance = 1 / case.n_classes
        require(reached > chance + 0.02, f"mean probability of the true class is {reached:.3f}")
    else:
        error = float(np.mean((predictions[:, 0] - y) ** 2))
        trivial = float(np.mean((np.mean(case.train.y) - y) ** 2))
        require(error < 0.95 * trivial, f"squared error {error:.3f}, of the mean {trivial:.3f}")


def repeats_with_its_seed(case: LearnerCase) -> None:
    """Require that two fits with one seed predict the same."""
    again = case.fit(case.train, case.valid)
    left, right = again.predict(case.test.X), case.model.predict(case.test.X)
    require_close(left, right, 1e-9, "two fits")


def pickles(case: LearnerCase) -> None:
    """Require that a fitted learner survives pickle, and predicts the same."""
    copy = through_pickle(case.model)
    left, right = copy.predict(case.test.X), case.model.predict(case.test.X)
    require_close(left, right, 1e-12, "before and after pickle")


def predicts_rows_alone(case: LearnerCase) -> None:
    """Require that the prediction of a row does not depend on the other rows."""
    X = case.test.X
    batch = case.predict(case.model, X)
    for row in (0, 7, len(batch) - 1):
        alone = case.predict(case.model, take_matrix(X, np.array([row])))
        require_close(alone, batch[row : row + 1], _BATCH_TOLERANCE, f"row {row} alone")
    backwards = np.arange(len(batch))[::-1]
    reversed_batch = case.predict(case.model, take_matrix(X, backwards))
    require_close(reversed_batch[backwards], batch, _BATCH_TOLERANCE, "rows in reverse order")


def fits_without_validation_rows(case: LearnerCase) -> None:
    """Require that it fits where there are no rows to stop early by."""
    deadline = TickingDeadline(seconds=50.0)
    case.predict(case.fit(case.train, None, deadline=deadline), case.test.X)


def stops_on_partial_validation_rows(case: LearnerCase) -> None:
    """Require that it fits where the validation rows hold one class only."""
    valid = case.valid
    if case.task.is_classification:
        valid = take(valid, np.flatnonzero(valid.y == 0))
    else:
        valid = take(valid, np.arange(1))
    case.predict(case.fit(case.train, valid), case.test.X)


def honours_a_passed_deadline(case: LearnerCase) -> None:
    """Require that a fit whose deadline has passed, or passes soon, keeps what it has."""
    for deadline in (passed(), TickingDeadline(seconds=3.0)):
        model = case.fit(case.train, case.valid, deadline=deadline)
        case.predict(model, case.test.X)


def uses_weights(case: LearnerCase) -> None:
    """Require that rows of small weight matter less."""
    # Rows that share a feature value and differ in their target: there weights matter to every
    # method, to trees grown until each leaf is pure as well.
    train, valid, test = (_rounded(rows) for rows in (case.train, case.valid, case.test))
    light = (train.y == 0) if case.task.is_classification else (train.y < 0)
    weight = np.where(light, 0.05, 1.0)
    weighted = case.fit(replace(train, weight=weight / weight.mean()), valid)
    plain = case.fit(train, valid)
    shift = case.predict(weighted, test.X) - case.predict(plain, test.X)
    moved = -shift[:, 0].mean() if case.task.is_classification else shift.mean()
    require(moved > 1e-3, f"predictions moved by {moved:.5f} away from the light rows")


def _rounded(rows: Rows) -> Rows:
    only = first_feature(rows)
    return replace(only, X=replace(only.X, values=np.round(only.X.values)))


def accepts_weights(case: LearnerCase) -> None:
    """Require that it fits weighted rows, whether it uses the weights or not."""
    random = np.random.default_rng(5)
    weighted = [
        replace(rows, weight=w / w.mean())
        for rows in (case.train, case.valid)
        for w in [random.uniform(0.1, 2.0, size=len(rows.y))]
    ]
    case.predict(case.fit(weighted[0], weighted[1]), case.test.X)


def leaves_its_input_alone(case: LearnerCase) -> None:
    """Require that neither fitting nor predicting changes the arrays it is given."""
    # Made anew: an earlier check may have left its marks on what checks share.
    train, valid, test = (case.rows(_N_TRAIN, seed) for seed in (1, 2, 3))
    train = replace(train, weight=np.ones(_N_TRAIN))
    inputs = [rows.X.values for rows in (train, valid, test)]
    pairs = list(frozen_copies([*inputs, train.y, valid.y, train.weight]))
    case.predict(case.fit(train, valid), test.X)
    for array, copy in pairs:
        require(np.array_equal(array, copy), "an array was changed in place")


def fits_one_feature(case: LearnerCase) -> None:
    """Require that it fits a table of one column."""
    train, valid = first_feature(case.train), first_feature(case.valid)
    case.predict(case.fit(train, valid), first_feature(case.test).X)


def fits_a_constant_feature(case: LearnerCase) -> None:
    """Require that it fits a table whose only column never varies."""
    train, valid = first_feature(case.train), first_feature(case.valid)
    train = replace(train, X=replace(train.X, values=np.ones_like(train.X.values)))
    case.predict(case.fit(train, valid), first_feature(case.test).X)


def fits_few_rows(case: LearnerCase) -> None:
    """Require that it fits two rows of each class."""
    few = case.few(2)
    case.predict(case.fit(few, None), case.test.X)
    case.predict(case.fit(few, case.few(1)), case.test.X)


def fits_a_fold_that_lacks_a_class(case: LearnerCase) -> None:
    """Require that a task of several classes can be learned from a fold that holds two of them."""
    if case.task is Task.MULTICLASS:
        two = LearnerCase(case.spec, case.task, n_classes=2)
        two.predict(two.model, two.test.X)
        two.predict(through_pickle(two.model), two.test.X)


def survives_missing_values(case: LearnerCase) -> None:
    """Require that missing values are learned and predicted, where its encoders keep them."""
    if not case.keeps_missing:
        return
    gone = with_missing(case.test.X)
    case.predict(case.model, gone)
    model = case.fit(replace(case.train, X=with_missing(case.train.X)), case.valid)
    case.predict(model, gone)
    case.predict(model, replace(gone, values=np.full_like(gone.values, np.nan)))


def survives_a_missing_feature(case: LearnerCase) -> None:
    """Require that a feature may be missing throughout, where its encoders keep missing values."""
    if not case.keeps_missing:
        return
    values = case.train.X.values.copy()
    values[:, 1] = np.nan
    model = case.fit(replace(case.train, X=replace(case.train.X, values=values)), case.valid)
    case.predict(model, case.test.X)


def survives_extreme_values(case: LearnerCase) -> None:
    """Require that predictions stay finite for numbers far outside of the training range."""
    X = case.test.X
    numeric = np.array(X.cardinalities) == 0
    case.predict(case.model, replace(X, values=np.where(numeric, X.values * 1e6, X.values)))


def has_a_sound_portfolio(case: LearnerCase) -> None:
    """Require that each configuration is a point of the space, builds, and names its encoders.

    None names a hyperparameter that the engine keeps to itself.
    """
    require_points_of(case.spec.space, case.spec.portfolio)
    taken = KEPT & {name for point in case.spec.portfolio for name in point.params}
    require(not taken, f"the engine keeps {sorted(taken)} to itself: name them otherwise")
    for point in case.spec.portfolio:
        names = case.spec.encoders_for(point.params)
        sound = isinstance(names, tuple) and names and all(isinstance(n, str) for n in names)
        require(sound, f"encoders of {dict(point.params)} are {names!r}")
        context = FitContext(
            task=case.task, n_classes=case.n_classes, seed=0, n_threads=1, deadline=far()
        )
        built = case.spec.build(point.params, context)
        require(isinstance(built, Learner), f"build returned {built!r}, which is no Learner")


def fits_what_its_space_draws(case: LearnerCase) -> None:
    """Require that params drawn at random from the space fit and predict."""
    for seed in range(2):
        params = draw(case.spec.space, seed)
        train, valid = case.rows(60, 1, params), case.rows(30, 2, params)
        deadline = TickingDeadline(seconds=60.0)
        model = case.fit(train, valid, params=params, deadline=deadline)
        case.predict(model, case.rows(20, 3, params).X)


def estimates_its_cost(case: LearnerCase) -> None:
    """Require that the predicted cost is finite, positive, and does not fall with more rows."""
    drawn = [draw(case.spec.space, seed) for seed in range(5)]
    for params in [*(point.params for point in case.spec.portfolio), *drawn]:
        before = 0.0
        for n_rows in (50, 1_000, 20_000, 1_000_000):
            shape = Shape(n_rows=n_rows, n_features=20, n_classes=case.n_classes, task=case.task)
            cost = case.spec.cost(shape, params)
            sound = all(np.isfinite(c) and c > 0 for c in (cost.seconds, cost.bytes))
            require(sound, f"{cost} for {shape}")
            require(cost.seconds >= before, f"{cost.seconds} s for {n_rows} rows, less than before")
            before = cost.seconds


_RULES = (
    predicts_validly,
    learns,
    repeats_with_its_seed,
    pickles,
    predicts_rows_alone,
    fits_without_validation_rows,
    stops_on_partial_validation_rows,
    honours_a_passed_deadline,
    uses_weights,
    accepts_weights,
    leaves_its_input_alone,
    fits_one_feature,
    fits_a_constant_feature,
    fits_few_rows,
    fits_a_fold_that_lacks_a_class,
    survives_missing_values,
    survives_a_missing_feature,
    survives_extreme_values,
    has_a_sound_portfolio,
    fits_what_its_space_draws,
    estimates_its_cost,
    *STARTING_RULES,
    *TOGETHER_RULES,
    *TEACHING_RULES,
    *LEARNER_RULES,
)


def learner_checks(spec: LearnerSpec) -> list[Check]:
    """Return the checks of a learner: every rule on each of its tasks."""
    checks = [sound_spec(spec, "learner")]
    for task in sorted(spec.tasks):
        case = LearnerCase(spec, task)
        checks += checks_of(_RULES, case, kind="learner", spec=spec.name, label=str(task))
    return checks


def check_learner(spec: LearnerSpec) -> None:
    """Apply every check of a learner; raise ``AssertionError`` listing all that are broken."""
    run_all(learner_checks(spec))
