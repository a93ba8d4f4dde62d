"""Gaussian naive Bayes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import (
    CLASSIFICATION,
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
from automl_fuse_sklearn.common import ModelLearner, Scaler, limited

if TYPE_CHECKING:
    from automl_fuse.specs import Graph, Tensor
    from automl_fuse_sklearn.predictor import Predictor


@dataclass(frozen=True)
class GaussianScorer:
    """Logarithm of the joint density of features and class, up to a constant.

    Expanded into a quadratic form, so that scoring is two matrix products.
    """

    scaler: Scaler
    linear: Floats
    quadratic: Floats
    constant: Floats

    def scores(self, values: Floats) -> Floats:
        """Return log densities (n_rows, n_classes)."""
        scaled = self.scaler.transform(values)
        result: Floats = scaled @ self.linear + scaled**2 @ self.quadratic + self.constant
        return result

    def calibrated(self, scale: Floats, shift: Floats) -> GaussianScorer:
        """Return the classifier whose scores are scaled, shifted, and centred in each row.

        Probabilities depend on differences of scores only; small scores are exacter.
        """
        parts = (self.linear * scale, self.quadratic * scale, self.constant * scale + shift)
        centred = [part - part.mean(axis=-1, keepdims=True) for part in parts]
        return GaussianScorer(self.scaler, *centred)

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes)."""
        return linked(self.scores(values), Link.SOFTMAX)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the quadratic form and the softmax."""
        scaled = self.scaler.to_onnx(graph, features)
        squared = graph.node("Mul", [scaled, scaled])
        linear, quadratic, constant = (
            graph.constant(part) for part in (self.linear, self.quadratic, self.constant)
        )
        scores = graph.node("Gemm", [scaled, linear, constant])
        scores = graph.node("Gemm", [squared, quadratic, scores])
        return link_to_onnx(graph, scores, Link.SOFTMAX)


def fit_naive_bayes(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> Predictor:
    """Fit independent Gaussians for each class, then calibrate their overconfidence away."""
    with limited(context.n_threads):
        return fit_calibrated(partial(_fit_scorer, params), train, context)


def _fit_scorer(params: Params, rows: Rows) -> GaussianScorer:
    from sklearn.naive_bayes import GaussianNB

    scaler = Scaler.fitted(rows)
    scaled = scaler.transform(rows.X.values)
    # With nothing but constant features every variance, and so the smoothing, would be 0.
    smoothing = params["smoothing"] if scaled.var(axis=0).max() > 0.0 else 0.0
    model = GaussianNB(var_smoothing=smoothing)
    model.fit(scaled, rows.y, sample_weight=rows.weight)
    mean, variance = model.theta_, np.maximum(model.var_, 1e-9)
    constant = np.log(model.class_prior_) - 0.5 * np.sum(
        np.log(variance) + mean**2 / variance, axis=1
    )
    return GaussianScorer(
        scaler=scaler,
        linear=(mean / variance).T.copy(),
        quadratic=(-0.5 / variance).T.copy(),
        constant=constant,
    )


def cost(shape: Shape, _params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 1,000 … 16,000 rows, 20 … 80 features and 2 … 8 classes on one core
    of a 2-core cloud machine.
    """
    cells = shape.n_rows * (shape.n_features + 10.0 * shape.n_classes)
    bytes_ = 16.0 * shape.n_features * (shape.n_classes + 1) + 2000.0
    return Cost(seconds=0.02 + 8e-8 * cells, bytes=bytes_)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the share of the largest variance that is added to all variances."""
    return {"smoothing": suggest.real("smoothing", 1e-6, 0.3, log=True)}


NAIVE_BAYES = LearnerSpec(
    name="naive_bayes",
    api_version=1,
    tasks=CLASSIFICATION,
    encoders=("scaled_numbers", "target", "cyclic_calendar", "ngrams"),
    build=partial(ModelLearner, fit_naive_bayes),
    cost=cost,
    space=space,
    portfolio=(Configuration(params={"smoothing": 1e-2}, merit=0.10),),
    requires=("sklearn.naive_bayes",),
)
