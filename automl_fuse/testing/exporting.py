"""Export rules of learners, encoders and fusions: a graph gives what Python gives.

They are tried on training rows and on rows chosen to bring out differences. A part without
``to_onnx`` keeps them all: it can only be a teacher, and the checks are skipped saying so.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import (
    Columns,
    ExportableEncoder,
    ExportableFusion,
    ExportableLearner,
    ForestModel,
    Kind,
    Split,
    Task,
    Tensor,
)
from automl_fuse.testing._base import TickingDeadline, draw, require, through_pickle
from automl_fuse.testing._data import (
    all_missing,
    first_feature,
    odd_columns,
    with_missing,
)
from automl_fuse.testing._exported import (
    Exported,
    feed_of,
    inputs_of,
    quietly,
    require_exportable,
    require_same,
    require_same_predictions,
)

if TYPE_CHECKING:
    from automl_fuse.specs import Encoder, Floats, Fusion, Learner, Matrix, Rows
    from automl_fuse.testing.encoders import EncoderCase
    from automl_fuse.testing.fusions import FusionCase
    from automl_fuse.testing.learners import LearnerCase

_MOST_ROWS: Final = 400


# --------------------------------------------------------------------------- learners


class _ExportedLearner:
    """A fitted learner in Python and in a graph."""

    def __init__(self, learner: Learner, X: Matrix) -> None:
        require_exportable(learner, "it can only be a teacher")
        self.learner = learner
        # Pipelines keep their parts pickled.
        stored: Any = through_pickle(learner)
        inputs = {"X": ("double", X.values.shape[1])}
        self._graph = Exported(inputs, lambda graph: stored.to_onnx(graph, Tensor("X")))

    def compare(self, X: Matrix, what: str) -> Floats:
        """Require equal predictions; return them."""
        expected = self.learner.predict(X)
        require_same_predictions(self._graph.run({"X": X.values}), expected, what)
        return expected

    def compare_where_defined(self, X: Matrix, what: str) -> None:
        """Require equal predictions of the rows that Python predicts, one by one."""
        for row in range(len(X.values)):
            alone = replace(X, values=X.values[row : row + 1])
            try:
                expected = quietly(partial(self.learner.predict, alone))
            except Exception:  # noqa: BLE001, S112 - a learner may refuse what no encoder gives it
                continue
            if np.isfinite(expected).all():
                got = self._graph.run({"X": alone.values})
                require_same_predictions(got, expected, f"{what}, {alone.values[0]}")


def exports_what_it_predicts(case: LearnerCase) -> None:
    """Require that a graph predicts the same, also for single-precision rows and one alone."""
    exported = _ExportedLearner(case.model, case.train.X)
    require(isinstance(case.model, ExportableLearner), "to_onnx is no method")
    exported.compare(case.train.X, "training rows")
    exported.compare(case.test.X, "other rows")
    exported.compare(_single(case.test.X), "rows rounded to single precision")
    for row in (0, 7, len(case.test.X.values) - 1):
        alone = replace(case.test.X, values=case.test.X.values[row : row + 1])
        exported.compare(alone, f"row {row} alone")


def exports_values_on_splits(case: LearnerCase) -> None:
    """Require that a graph predicts the same for values on a split, and a bit beside it."""
    train, valid = (_on_grid(rows, 4) for rows in (case.train, case.valid))
    model = case.fit(train, valid)
    exported = _ExportedLearner(model, train.X)
    # Rows on a grid are split half-way between its points: where a finer grid has points.
    finer = _on_grid(case.test, 8).X
    for X in (finer, _at_thresholds(model, finer)):
        exported.compare(X, "values on splits")
        for side in (-np.inf, np.inf):
            exported.compare(_numbers(X, np.nextafter(X.values, side)), "values beside splits")
            single = np.nextafter(X.values.astype(np.float32), np.float32(side))
            exported.compare(_numbers(X, single.astype(np.float64)), "values beside splits")


def exports_missing_values(case: LearnerCase) -> None:
    """Require that a graph predicts the same for missing values, where its encoders keep them."""
    require_exportable(case.model, "it can only be a teacher")
    if not case.keeps_missing:
        return
    gone = with_missing(case.test.X)
    nothing = replace(gone, values=np.full_like(gone.values, np.nan))
    learned = case.fit(replace(case.train, X=with_missing(case.train.X)), case.valid)
    for model in (case.model, learned):
        exported = _ExportedLearner(model, gone)
        exported.compare(gone, "rows with missing values")
        exported.compare(nothing, "rows of missing values only")


def exports_extreme_values(case: LearnerCase) -> None:
    """Require that a graph predicts the same for numbers far outside of the training range."""
    exported = _ExportedLearner(case.model, case.train.X)
    X = case.test.X
    exported.compare(_numbers(X, X.values * 1e6), "numbers a million times as large")
    few = replace(X, values=X.values[:12])
    for size in (1e30, 1e300, np.inf):
        huge = _numbers(few, np.copysign(size, few.values))
        exported.compare_where_defined(huge, "huge numbers")


def exports_absent_categories(case: LearnerCase) -> None:
    """Require that a graph predicts the same for categories that no training row holds."""
    require_exportable(case.model, "it can only be a teacher")
    if not case.train.X.categorical:
        return
    train, valid = (_few_categories(rows) for rows in (case.train, case.valid))
    _ExportedLearner(case.fit(train, valid), train.X).compare(case.test.X, "absent categories")


def exports_odd_fits(case: LearnerCase) -> None:
    """Require that graphs of fits on few rows, one feature or two classes predict the same."""
    require_exportable(case.model, "it can only be a teacher")
    train, valid, test = (first_feature(rows) for rows in (case.train, case.valid, case.test))
    constant = replace(train, X=replace(train.X, values=np.ones_like(train.X.values)))
    few = case.few(2)
    fits = [
        (case.fit(train, valid), test.X, "one feature"),
        (case.fit(constant, valid), test.X, "a constant feature"),
        (case.fit(few, None), case.test.X, "few rows"),
    ]
    if case.task is Task.MULTICLASS:
        two = type(case)(case.spec, case.task, n_classes=2)
        fits.append((two.model, two.test.X, "two of the classes"))
    for model, X, what in fits:
        _ExportedLearner(model, X).compare(X, what)


def exports_every_configuration(case: LearnerCase) -> None:
    """Require that graphs predict the same for each configuration, and random ones."""
    require_exportable(case.model, "it can only be a teacher")
    drawn = [draw(case.spec.space, seed) for seed in range(2)]
    for params in [*(dict(point.params) for point in case.spec.portfolio), *drawn]:
        train, valid, test = (case.rows(60, seed, params) for seed in (1, 2, 3))
        model = case.fit(train, valid, params=params, deadline=TickingDeadline(seconds=60.0))
        exported = _ExportedLearner(model, train.X)
        exported.compare(train.X, f"training rows with {params}")
        exported.compare(test.X, f"other rows with {params}")


LEARNER_RULES = (
    exports_what_it_predicts,
    exports_values_on_splits,
    exports_missing_values,
    exports_extreme_values,
    exports_absent_categories,
    exports_odd_fits,
    exports_every_configuration,
)


def _numbers(X: Matrix, values: Floats) -> Matrix:
    """Return the matrix with other numbers; its category codes stay."""
    numeric = np.array(X.cardinalities) == 0
    return replace(X, values=np.where(numeric, values, X.values))


def _single(X: Matrix) -> Matrix:
    return _numbers(X, X.values.astype(np.float32).astype(np.float64))


def _on_grid(rows: Rows, per_unit: int) -> Rows:
    return replace(rows, X=_numbers(rows.X, np.round(rows.X.values * per_unit) / per_unit))


def _few_categories(rows: Rows) -> Rows:
    numeric = np.array(rows.X.cardinalities) == 0
    values = np.where(numeric, rows.X.values, np.minimum(rows.X.values, 1.0))
    return replace(rows, X=replace(rows.X, values=values))


def _at_thresholds(model: Any, X: Matrix) -> Matrix:
    """Return rows whose numbers are thresholds of the model's trees, if it has any."""
    form = model.form() if hasattr(model, "form") else None
    if not isinstance(form, ForestModel) or not len(form.forest.feature):
        return X
    forest = form.forest
    n_rows = min(_MOST_ROWS, len(forest.feature))
    values = np.resize(X.values, (n_rows, X.values.shape[1]))
    for feature in range(X.values.shape[1]):
        here = (forest.feature == feature) & (forest.split != Split.MEMBER)
        found = np.unique(forest.threshold[here & np.isfinite(forest.threshold)])
        if len(found) and not X.cardinalities[feature]:
            values[:, feature] = np.random.default_rng(feature).choice(found, size=n_rows)
    return replace(X, values=values)


# --------------------------------------------------------------------------- encoders


class _ExportedEncoder:
    """A fitted encoder in Python and in a graph; without features there is nothing to write."""

    def __init__(self, encoder: Encoder, columns: Columns) -> None:
        require_exportable(encoder, "learners that read it can only be teachers")
        self._encoder = encoder
        stored: Any = through_pickle(encoder)
        inputs = inputs_of(columns)
        tensors = {name: Tensor(name) for name in inputs}
        has_features = bool(encoder.transform(columns).names)
        self._graph = (
            Exported(inputs, lambda graph: stored.to_onnx(graph, tensors)) if has_features else None
        )

    def compare(self, columns: Columns, what: str) -> None:
        """Require equal features."""
        if self._graph is not None:
            expected = self._encoder.transform(columns).values
            require_same(self._graph.run(feed_of(columns, self._graph.steps)), expected, what)

    def compare_where_defined(self, columns: Columns, what: str) -> None:
        """Require equal features of odd columns, where Python has no infinite ones."""
        if self._graph is not None:
            expected = quietly(lambda: self._encoder.transform(columns).values)
            got = self._graph.run(feed_of(columns, self._graph.steps))
            require_same(np.where(np.isinf(expected), expected, got), expected, what)


def exports_what_it_encodes(case: EncoderCase) -> None:
    """Require that a graph gives the same features, also for one row alone."""
    encoder, _ = case.fitted
    exported = _ExportedEncoder(encoder, case.train)
    require(isinstance(encoder, ExportableEncoder), "to_onnx is no method")
    exported.compare(case.train, "training rows")
    exported.compare(case.other, "other rows")
    exported.compare(all_missing(case.other), "missing values")
    for row in (0, 5, case.other.n_rows - 1):
        exported.compare(case.other.take(np.array([row])), f"row {row} alone")


def exports_odd_values(case: EncoderCase) -> None:
    """Require that a graph gives the same features for unseen categories and extreme values."""
    encoder, _ = case.fitted
    odd = odd_columns(case.train)
    _ExportedEncoder(encoder, odd).compare_where_defined(odd, "odd values")


def exports_odd_encoders(case: EncoderCase) -> None:
    """Require that graphs of fits on few rows, one kind or no values give the same features."""
    require_exportable(case.fitted[0], "learners that read it can only be teachers")
    tables = [case.train.take(np.arange(6)), all_missing(case.train)]
    tables += [case.train.select(frozenset({kind})) for kind in sorted(case.spec.kinds)]
    for table in tables:
        if table.columns:
            encoder, _ = case.fit(table)
            exported = _ExportedEncoder(encoder, table)
            kinds = frozenset(column.kind for column in table.columns)
            exported.compare(case.other.select(kinds), f"fit on {table.n_rows} rows of {kinds}")
            exported.compare_where_defined(odd_columns(case.train.select(kinds)), "odd values")


def exports_absent_codes(case: EncoderCase) -> None:
    """Require that a graph gives the same for categories that no training row holds."""
    require_exportable(case.fitted[0], "learners that read it can only be teachers")
    values = {
        c.name: np.minimum(case.train.values[c.name], 2)
        if c.kind is Kind.CATEGORY
        else case.train.values[c.name]
        for c in case.train.columns
    }
    encoder, _ = case.fit(replace(case.train, values=values))
    _ExportedEncoder(encoder, case.other).compare(case.other, "categories absent from training")


ENCODER_RULES = (
    exports_what_it_encodes,
    exports_odd_values,
    exports_odd_encoders,
    exports_absent_codes,
)


# --------------------------------------------------------------------------- fusions


class _ExportedFusion:
    """A fitted fusion in Python and in a graph."""

    def __init__(self, fusion: Fusion, n_members: int, n_outputs: int) -> None:
        require_exportable(fusion, "pipelines that it fuses cannot be exported")
        self._fusion = fusion
        stored: Any = through_pickle(fusion)
        names = [f"member {position}" for position in range(n_members)]
        tensors = [Tensor(name) for name in names]
        self._names = names
        self._graph = Exported(
            dict.fromkeys(names, ("double", n_outputs)),
            lambda graph: stored.to_onnx(graph, tensors),
        )

    def compare(self, predictions: Floats, what: str) -> None:
        """Require an equal combination, also where the graph's members differ in the last bit."""
        expected = self._fusion.combine(predictions)
        # Up for one class and down for the next, so that ties are broken either way.
        toward = np.where(np.arange(predictions.shape[2]) % 2, np.inf, -np.inf)
        beside = (np.nextafter(predictions, way) for way in (toward, -toward))
        for given in (predictions, *beside):
            got = self._graph.run(dict(zip(self._names, given, strict=True)))
            require_same_predictions(got, expected, what)


def exports_what_it_combines(case: FusionCase) -> None:
    """Require that a graph combines the same, also where members agree, tie or are certain."""
    exported = _ExportedFusion(case.fitted, len(case.oof), case.oof.shape[2])
    require(isinstance(case.fitted, ExportableFusion), "to_onnx is no method")
    exported.compare(case.oof, "rows that it was fitted on")
    exported.compare(case.other, "other rows")
    exported.compare(_odd_predictions(case), "odd predictions")
    for row in (0, 5, case.other.shape[1] - 1):
        exported.compare(case.other[:, row : row + 1], f"row {row} alone")


def exports_odd_fusions(case: FusionCase) -> None:
    """Require that graphs of fits on one, on equal and on certain members combine the same."""
    require_exportable(case.fitted, "pipelines that it fuses cannot be exported")
    for oof in (case.oof[:1], np.repeat(case.oof[:1], 3, axis=0), _odd_predictions(case)):
        fusion = case.fit(oof)
        exported = _ExportedFusion(fusion, len(oof), oof.shape[2])
        exported.compare(oof, "rows that it was fitted on")
        exported.compare(case.other[: len(oof)], "other rows")


def exports_every_fusion(case: FusionCase) -> None:
    """Require that graphs combine the same for each configuration, and random ones."""
    require_exportable(case.fitted, "pipelines that it fuses cannot be exported")
    drawn = [draw(case.spec.space, seed) for seed in range(3)]
    for params in [*(dict(point.params) for point in case.spec.portfolio), *drawn]:
        fusion = case.fit(case.oof, params=params)
        exported = _ExportedFusion(fusion, len(case.oof), case.oof.shape[2])
        exported.compare(case.other, f"other rows with {params}")


FUSION_RULES = (exports_what_it_combines, exports_odd_fusions, exports_every_fusion)


def _odd_predictions(case: FusionCase) -> Floats:
    """Return predictions of equal probabilities, of 0 and 1, of round numbers, of all alike."""
    predictions = case.other.copy()
    predictions[:, 3] = predictions[0, 3]
    if not case.task.is_classification:
        predictions[:, :3] = np.round(predictions[:, :3])
        return predictions
    n_classes = predictions.shape[2]
    predictions[:, :2] = 1 / n_classes
    predictions[:, 4] = np.eye(n_classes)[0]
    predictions[:, 5] = np.eye(n_classes)[-1]
    predictions[0, 6:9] = np.eye(n_classes)[np.arange(3) % n_classes]
    shares = np.round(predictions[:, 10:, 1:] * 4) / 4 / max(1, n_classes - 1)
    predictions[:, 10:, 1:] = shares
    predictions[:, 10:, 0] = 1 - shares.sum(axis=2)
    return predictions
