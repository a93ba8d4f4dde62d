"""Support vector machines with a Gaussian kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    Floats,
    LearnerSpec,
    Link,
    Params,
    Rows,
    Shape,
    Suggest,
    link_to_onnx,
    linked,
)
from automl_fuse_sklearn.calibration import fit_calibrated
from automl_fuse_sklearn.common import (
    ModelLearner,
    Scaler,
    affordable,
    limited,
    unfinished_allowed,
    weights_of,
)

if TYPE_CHECKING:
    from automl_fuse.specs import Graph, Tensor
    from automl_fuse_sklearn.predictor import Predictor

MAX_ROWS = 8_000
_SECONDS_PER_STEP_AND_VALUE = 1.5e-9
"""Of one step of libsvm, by value of the training table."""
_CACHE_MB = 200
_CHUNK = 1_000
"""Rows whose kernel values are held at once."""


@dataclass(frozen=True)
class KernelModel:
    """A weighted sum of Gaussian bumps on the support vectors.

    Attributes
    ----------
    scaler : Scaler
        Applied to the features first.
    vectors : array of shape (n_vectors, n_features)
        Support vectors, scaled.
    gamma : float
        Inverse width of the bumps.
    coefficients : array of shape (n_vectors, n_outputs)
        Height of each bump in each output.
    intercept : array of shape (n_outputs,)
        Added.
    link : Link
        From the sums to predictions.
    """

    scaler: Scaler
    vectors: Floats
    gamma: float
    coefficients: Floats
    intercept: Floats
    link: Link = Link.IDENTITY

    def scores(self, values: Floats) -> Floats:
        """Return (n_rows, n_outputs) sums."""
        scaled = self.scaler.transform(values)
        sizes = np.sum(self.vectors**2, axis=1)
        parts = []
        for start in range(0, len(scaled), _CHUNK):
            block = scaled[start : start + _CHUNK]
            square = np.sum(block**2, axis=1)[:, None] + sizes - 2.0 * block @ self.vectors.T
            parts.append(np.exp(-self.gamma * square) @ self.coefficients + self.intercept)
        return np.vstack(parts)

    def calibrated(self, scale: Floats, shift: Floats) -> KernelModel:
        """Return the classifier whose scores are scaled and shifted."""
        return replace(
            self,
            coefficients=self.coefficients * scale,
            intercept=self.intercept * scale + shift,
            link=Link.SOFTMAX,
        )

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        return linked(self.scores(values), self.link)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the sums, -gamma · |x - v|² taken apart as in ``scores``."""
        scaled = self.scaler.to_onnx(graph, features)
        own = graph.node("ReduceSumSquare", [scaled, graph.constant(np.array([1]))])
        own = graph.node("Mul", [own, graph.constant(np.array(self.gamma))])
        slope = graph.constant(2.0 * self.gamma * self.vectors.T)
        sizes = graph.constant(-self.gamma * np.sum(self.vectors**2, axis=1))
        power = graph.node("Sub", [graph.node("Gemm", [scaled, slope, sizes]), own])
        bumps = graph.node("Exp", [power])
        parts = [graph.constant(part) for part in (self.coefficients, self.intercept)]
        return link_to_onnx(graph, graph.node("Gemm", [bumps, *parts]), self.link)


def fit_svm_rbf(params: Params, context: FitContext, train: Rows, _valid: Rows | None) -> Predictor:
    """Fit a calibrated SVM, or a support vector regression."""
    with limited(context.n_threads):
        if context.task.is_classification:
            return fit_calibrated(partial(_fit_scorer, params, context), train, context)
        return _fit_regression(params, context, train)


def _fit_regression(params: Params, context: FitContext, train: Rows) -> KernelModel:
    from sklearn.svm import SVR

    scaler = Scaler.fitted(train)
    scaled = scaler.transform(train.X.values)
    gamma = _gamma(scaled, params)
    steps = _steps(context, scaled)
    model = SVR(C=params["C"], gamma=gamma, epsilon=0.05, max_iter=steps, cache_size=_CACHE_MB)
    with unfinished_allowed():
        model.fit(scaled, train.y, sample_weight=weights_of(train))
    return KernelModel(
        scaler, model.support_vectors_, gamma, model.dual_coef_.T.copy(), model.intercept_
    )


def _fit_scorer(params: Params, context: FitContext, rows: Rows) -> KernelModel:
    from sklearn.svm import SVC

    scaler = Scaler.fitted(rows)
    scaled = scaler.transform(rows.X.values)
    gamma = _gamma(scaled, params)
    steps = _steps(context, scaled)
    model = SVC(C=params["C"], gamma=gamma, max_iter=steps, cache_size=_CACHE_MB)
    with unfinished_allowed():
        model.fit(scaled, rows.y, sample_weight=weights_of(rows))
    coefficients, intercept = _sums_of_margins(model)
    return KernelModel(scaler, model.support_vectors_, gamma, coefficients, intercept)


def _sums_of_margins(model: Any) -> tuple[Floats, Floats]:
    """Return coefficients and intercept of each class's mean margin against the others.

    libsvm trains one machine for each pair of classes i < j, positive for i; for row i of
    ``dual_coef_`` and a vector of class c it holds the coefficient of c's machine against
    the i-th of the other classes. scikit-learn turns the sign round for two classes. The sum
    over the machines of a class is linear in the kernel, so one column a class is enough.
    """
    counts = model.n_support_
    n_classes = len(counts)
    dual, intercepts = model.dual_coef_, model.intercept_
    if n_classes == 2:
        return np.column_stack([-dual[0], dual[0]]), np.array([-intercepts[0], intercepts[0]])
    ends = np.cumsum(counts)
    spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    coefficients = np.zeros((dual.shape[1], n_classes))
    intercept = np.zeros(n_classes)
    for pair, (i, j) in enumerate(combinations(range(n_classes), 2)):
        for span, row in ((spans[i], j - 1), (spans[j], i)):
            coefficients[span, i] += dual[row, span]
            coefficients[span, j] -= dual[row, span]
        intercept[i] += intercepts[pair]
        intercept[j] -= intercepts[pair]
    return coefficients / (n_classes - 1), intercept / (n_classes - 1)


def _gamma(scaled: Floats, params: Params) -> float:
    """Return the inverse width: a multiple of one over the total variance."""
    return float(params["gamma"] / max(float(scaled.var(axis=0).sum()), 1e-6))


def _steps(context: FitContext, scaled: Floats) -> int:
    """Return steps that the time allows: libsvm cannot be interrupted."""
    seconds = _SECONDS_PER_STEP_AND_VALUE * len(scaled) * (scaled.shape[1] + 10)
    return affordable(context, seconds, 50, 1_000_000)


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 4,000 rows and 20 … 80 features on one core of a 2-core
    cloud machine, raised by half for noisier tables; two thirds of the rows are taken to
    become support vectors.
    """
    pairs = float(shape.n_rows) ** 2
    harder = 1.3 if shape.task.is_classification else 2.0
    effort = harder * max(1.0, params["C"] / 3.0) ** 0.3
    seconds = 0.05 + pairs * (2.5e-8 + 9e-10 * shape.n_features) * effort
    bytes_ = 0.67 * 8.0 * shape.n_rows * (shape.n_features + shape.n_classes) + 3000.0
    return Cost(seconds=seconds, bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the weight of the loss, and the kernel's inverse width in units of 1/variance."""
    return {
        "C": suggest.real("C", 0.1, 100.0, log=True),
        "gamma": suggest.real("gamma", 0.05, 5.0, log=True),
    }


SVM_RBF = LearnerSpec(
    name="svm_rbf",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("scaled_numbers", "onehot", "cyclic_calendar", "ngrams", "scaled_summaries"),
    build=partial(ModelLearner, fit_svm_rbf),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"C": 20.0, "gamma": 1.5}, merit=0.66),
        Configuration(params={"C": 3.0, "gamma": 0.7}, merit=0.23),
        Configuration(params={"C": 1.0, "gamma": 0.25}, merit=0.13),
    ),
    requires=("sklearn.svm",),
    max_rows=MAX_ROWS,
)
