"""A linear model on Nyström features of the Gaussian kernel.

Williams and Seeger, "Using the Nyström method to speed up kernel machines", NIPS 2000: a
kernel matrix is approximated through its columns at a random sample of rows, the landmarks.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    FitContext,
    LearnerSpec,
    Link,
    Params,
    Rows,
    Shape,
    Suggest,
    link_to_onnx,
)

if TYPE_CHECKING:
    from automl_fuse.specs import Floats, Graph, Matrix, Tensor

_HURRIED_LANDMARKS = 16


class KernelMap:
    """Gaussian kernel values at landmarks, then ridge or logistic regression.

    Parameters
    ----------
    params : mapping
        ``landmarks``: rows that the kernel is evaluated at. ``width``: kernel width, relative
        to the square root of the number of features. ``penalty``: of the linear model.
    context : FitContext
        Task, seed and deadline.
    """

    def __init__(self, params: Params, context: FitContext) -> None:
        self._width = float(params["width"])
        self._penalty = float(params["penalty"])
        self._seed = context.seed
        self._classifies = context.task.is_classification
        # Neither step can be interrupted, so a fit that begins late is made a small one.
        late = context.deadline.expired()
        self._landmarks = _HURRIED_LANDMARKS if late else int(params["landmarks"])

    def fit(self, train: Rows, valid: Rows | None) -> None:  # noqa: ARG002 - it never stops early
        """Choose landmarks among the training rows, and fit the linear model."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.kernel_approximation import Nystroem

        n_rows, n_features = train.X.values.shape
        self._kernel = Nystroem(
            gamma=1 / (2 * n_features * self._width**2),
            n_components=min(self._landmarks, n_rows),
            random_state=self._seed,
        )
        features = self._kernel.fit_transform(train.X.values)
        self._model = self._linear_model()
        with warnings.catch_warnings():
            # Coefficients short of the optimum predict almost as well: they are kept.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(features, train.y, sample_weight=train.weight)

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        features = self._kernel.transform(X.values)
        if self._classifies:
            probabilities: Floats = self._model.predict_proba(features)
            return probabilities
        values: Floats = self._model.predict(features)[:, None]
        return values

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write ``predict`` into a graph: pipelines with this learner can then be exported."""
        landmarks, gamma = self._kernel.components_, self._kernel.gamma
        # The exponents, -gamma * |x - landmark|², as three terms of which one is a product.
        axis = graph.constant(np.array([1]))
        squares = graph.node("ReduceSumSquare", [features, axis])
        lengths = graph.node("Mul", [squares, graph.constant(np.array(gamma))])
        products = graph.node(
            "Gemm",
            [
                features,
                graph.constant(2 * gamma * landmarks.T),
                graph.constant(-gamma * (landmarks**2).sum(axis=1)),
            ],
        )
        exponents = graph.node("Sub", [products, lengths])
        kernel = graph.node("Exp", [graph.node("Min", [exponents, graph.constant(np.array(0.0))])])
        # The map to kernel features and the linear model are one matrix.
        slopes = self._kernel.normalization_.T @ np.atleast_2d(self._model.coef_).T
        intercepts = np.atleast_1d(self._model.intercept_)
        scores = graph.node("Gemm", [kernel, graph.constant(slopes), graph.constant(intercepts)])
        if not self._classifies:
            return scores
        return link_to_onnx(graph, scores, Link.SOFTMAX if slopes.shape[1] > 1 else Link.LOGISTIC)

    def _linear_model(self) -> Any:
        from sklearn.linear_model import LogisticRegression, Ridge

        if self._classifies:
            return LogisticRegression(C=1 / self._penalty, max_iter=200)
        return Ridge(alpha=self._penalty)


def space(suggest: Suggest) -> dict[str, Any]:
    """Return where to search."""
    return {
        "landmarks": suggest.integer("landmarks", 50, 600, log=True),
        "width": suggest.real("width", 0.2, 5.0, log=True),
        "penalty": suggest.real("penalty", 1e-3, 10.0, log=True),
    }


def cost(shape: Shape, params: Params) -> Cost:
    """Predict the cost of a fold: kernel values, and about 30 passes over them."""
    landmarks = params["landmarks"]
    values = shape.n_rows * landmarks
    seconds = 5e-3 + values * (2e-9 * shape.n_features + 3e-8 * shape.n_classes)
    size = 8.0 * landmarks * (landmarks + shape.n_features + shape.n_classes)
    return Cost(seconds=seconds + 2e-9 * landmarks**3, bytes=2000.0 + size)


SPEC = LearnerSpec(
    name="kernel_map",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("scaled_numbers", "onehot", "cyclic_calendar"),
    build=KernelMap,
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"landmarks": 200, "width": 1.0, "penalty": 0.1}, merit=0.45),
        Configuration(params={"landmarks": 500, "width": 0.5, "penalty": 0.3}, merit=0.25),
    ),
    requires=("sklearn",),
    extra="scikit-learn",
)
