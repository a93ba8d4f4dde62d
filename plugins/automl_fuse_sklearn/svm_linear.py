"""Linear support vector machines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    Floats,
    LearnerSpec,
    NetworkModel,
    Params,
    Rows,
    Shape,
    Suggest,
)
from automl_fuse_sklearn.calibration import fit_calibrated
from automl_fuse_sklearn.common import (
    ModelLearner,
    Scaler,
    affordable,
    outputs,
    straight_line,
    unfinished_allowed,
    weights_of,
)
from automl_fuse_sklearn.linear import ENCODERS

if TYPE_CHECKING:
    from automl_fuse_sklearn.predictor import Predictor

_SECONDS_PER_VALUE = 6e-9
"""Of one pass of liblinear over one value of one output."""


@dataclass(frozen=True)
class LinearScorer:
    """Margins of linear classifiers, one against the rest; of two classes, one margin."""

    scaler: Scaler
    coefficients: Floats
    intercept: Floats

    def scores(self, values: Floats) -> Floats:
        """Return margins (n_rows, n_classes)."""
        margins: Floats = self.scaler.transform(values) @ self.coefficients + self.intercept
        return np.hstack([-margins, margins]) if margins.shape[1] == 1 else margins

    def calibrated(self, scale: Floats, shift: Floats) -> NetworkModel:
        """Return the line of the scaled and shifted margins; of two, of their difference."""
        if self.coefficients.shape[1] == 1:
            scale, shift = scale.sum(keepdims=True), np.diff(shift)
        return straight_line(
            self.scaler,
            self.coefficients * scale,
            self.intercept * scale + shift,
            is_classification=True,
        )


def fit_svm_linear(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> Predictor:
    """Fit a calibrated linear SVM, or a support vector regression."""
    from sklearn.svm import LinearSVR

    if context.task.is_classification:
        return fit_calibrated(partial(_fit_scorer, params, context), train, context)
    scaler = Scaler.fitted(train)
    model = LinearSVR(
        C=params["C"],
        epsilon=0.1,
        max_iter=_passes(context, train, 1),
        random_state=context.seed,
        intercept_scaling=10.0,
    )
    with unfinished_allowed():
        model.fit(scaler.transform(train.X.values), train.y, sample_weight=weights_of(train))
    coefficients, intercept = np.reshape(model.coef_, (-1, 1)), np.atleast_1d(model.intercept_)
    return straight_line(scaler, coefficients, intercept, is_classification=False)


def _fit_scorer(params: Params, context: FitContext, rows: Rows) -> LinearScorer:
    from sklearn.svm import LinearSVC

    scaler = Scaler.fitted(rows)
    n_rows, n_features = rows.X.values.shape
    model = LinearSVC(
        C=params["C"],
        dual=n_rows < n_features,
        max_iter=_passes(context, rows, context.n_classes),
        random_state=context.seed,
        intercept_scaling=10.0,
    )
    with unfinished_allowed():
        model.fit(scaler.transform(rows.X.values), rows.y, sample_weight=rows.weight)
    return LinearScorer(scaler, model.coef_.T, model.intercept_)


def _passes(context: FitContext, rows: Rows, n_outputs: int) -> int:
    """Return iterations that the time allows: liblinear cannot be interrupted."""
    seconds = _SECONDS_PER_VALUE * rows.X.values.size * n_outputs
    return affordable(context, seconds, 3, 200)


def cost(shape: Shape, _params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows, 20 … 400 features and 2 … 20 classes on one
    core of a 2-core cloud machine.
    """
    columns = outputs(shape)
    cells = shape.n_rows * shape.n_dense * columns
    each = 1.5e-7 if shape.task.is_classification else 3e-7
    bytes_ = 8.0 * shape.n_dense * (columns + 2) + 1500.0
    return Cost(seconds=0.02 + each * cells, bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the weight of the loss against the penalty."""
    return {"C": suggest.real("C", 1e-3, 1e1, log=True)}


SVM_LINEAR = LearnerSpec(
    name="svm_linear",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=ENCODERS,
    build=partial(ModelLearner, fit_svm_linear),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"C": 0.1}, merit=0.08),
        Configuration(params={"C": 2.0}, merit=0.03),
    ),
    requires=("sklearn.svm",),
)
