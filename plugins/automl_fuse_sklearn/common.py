"""What all learners here share: the face towards the engine, scaling, links and limits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import (
    Array,
    FitContext,
    Floats,
    Forest,
    ForestModel,
    Layer,
    Link,
    Matrix,
    NetworkModel,
    Params,
    Rows,
    Shape,
)
from automl_fuse_sklearn.predictor import Plain, Predictor, Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Graph, Tensor
    from automl_fuse_sklearn.predictor import Form

FitModel: TypeAlias = Callable[[Params, FitContext, Rows, Rows | None], Predictor]
"""Fits a model: ``fit_model(params, context, train, valid)``."""

FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "plain": (),
    "arithmetic": ("arithmetic",),
    "unsupervised": ("pca", "clusters", "isolation"),
}
"""Encoders added to a learner's own, by the value of the parameter ``features``."""

_CHUNK_ROWS, _CHUNK_COLUMNS = 4096, 16
_NOISE = 1e-12
"""Intercepts below this are 0."""


class ModelLearner:
    """A learner that is nothing but a function which fits a model.

    Only the fitted model is pickled, without the function and what it was told.

    Parameters
    ----------
    fit_model : callable
        Fits a model on at least one feature and, in classification, at least two classes.
    params : mapping
        Hyperparameters, handed to ``fit_model``.
    context : FitContext
        Handed to ``fit_model``.
    """

    def __init__(self, fit_model: FitModel, params: Params, context: FitContext) -> None:
        self._fit_model: FitModel | None = fit_model
        self._params = params
        self._context: FitContext | None = context
        self._n_outputs = context.n_classes
        self._is_classification = context.task.is_classification
        self._model: Predictor | None = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit on ``train``; ``valid`` only decides when to stop, where the method iterates.

        Raises
        ------
        PluginError
            If this learner was already fitted and unpickled: it cannot be fitted again.
        """
        if self._fit_model is None or self._context is None:
            raise PluginError("an unpickled learner only predicts: build a new one to fit again")
        one_class = self._is_classification and self._n_outputs == 1
        if train.X.values.shape[1] == 0 or one_class:
            self._model = constant(mean_target(train, self._context))
        else:
            self._model = self._fit_model(self._params, self._context, train, valid)

    @property
    def model(self) -> Predictor:
        """The fitted model.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        if self._model is None:
            raise PluginError("this learner is not fitted: call fit first")
        return self._model

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression.

        Raises
        ------
        PluginError
            Before ``fit``, or if the model gives numbers that are not finite.
        """
        if X.values.shape[0] == 0:
            return np.empty((0, self._n_outputs))
        predictions = self.model.predict(X.values)
        if not np.isfinite(predictions).all():
            raise PluginError(
                f"{type(self.model).__name__} predicted numbers that are not finite: "
                "look for extreme values in the features"
            )
        if self._is_classification:
            predictions = np.clip(predictions, 0.0, 1.0)
            predictions /= predictions.sum(axis=1, keepdims=True)
        return predictions

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the fitted model into a graph: see ``specs.ExportableLearner``.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        return self.model.to_onnx(graph, features)

    def form(self) -> Form | None:
        """Return the trees, or the dense layers, that predict the same; None if there are none.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        model = self.model
        if isinstance(model, ForestModel | NetworkModel):
            return model
        return model.form() if isinstance(model, Plain) else None

    def tuned(self) -> Mapping[str, Any]:
        """Return params with which a fit without ``valid`` stops where this one did.

        Empty where ``valid`` did not decide that.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        return self.model.tuned if isinstance(self.model, Stopped) else {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_fit_model": None, "_context": None}


def constant(mean: Floats) -> ForestModel:
    """Return a model that predicts ``mean``, (n_outputs,): what is left to do without features."""
    nothing = np.empty(0, dtype=np.int64)
    forest = Forest(
        roots=nothing,
        feature=nothing,
        threshold=np.empty(0),
        split=nothing.astype(np.uint8),
        missing_true=nothing.astype(bool),
        true=nothing,
        false=nothing,
        leaf=np.empty((0, len(mean))),
        target=None,
        base=mean,
    )
    return ForestModel(forest=forest, link=Link.IDENTITY)


def straight_line(
    scaler: Scaler, coefficients: Floats, intercept: Floats, *, is_classification: bool
) -> NetworkModel:
    """Return a linear model, of class scores or of a value.

    Parameters
    ----------
    scaler : Scaler
        Applied to the features first.
    coefficients : array of shape (n_features, n_columns)
        For two classes, one column: the log-odds of the second.
    intercept : array of shape (n_columns,)
        Added.
    is_classification : bool
        Whether the columns are scores of classes.
    """
    link = Link.IDENTITY
    if is_classification:
        link = Link.LOGISTIC if coefficients.shape[1] == 1 else Link.SOFTMAX
    # Where all else is 0, noise of a solver must not decide between classes that tie.
    intercept = np.where(np.abs(intercept) < _NOISE, 0.0, intercept)
    line = Layer(weight=np.ascontiguousarray(coefficients), bias=intercept)
    return NetworkModel(mean=scaler.mean, scale=scaler.scale, layers=(line,), link=link)


# --------------------------------------------------------------------------- targets


def weights_of(rows: Rows) -> Floats:
    """Return the sample weights, ones where there are none, of shape (n_rows,)."""
    return np.ones(len(rows.y)) if rows.weight is None else rows.weight


def indicators(codes: Array, n_classes: int) -> Floats:
    """Return the one-hot form of class codes, (n_rows, n_classes)."""
    return np.equal(codes[:, None], np.arange(n_classes)).astype(np.float64)


def targets(rows: Rows, context: FitContext) -> Floats:
    """Return the target as (n_rows, n_outputs): probabilities of classes, or values."""
    if rows.soft is not None:
        return rows.soft
    if context.task.is_classification:
        return indicators(rows.y, context.n_classes)
    return np.asarray(rows.y, dtype=np.float64)[:, None]


def mean_target(rows: Rows, context: FitContext) -> Floats:
    """Return the weighted mean of the target, (n_outputs,)."""
    mean: Floats = np.average(targets(rows, context), axis=0, weights=weights_of(rows))
    return mean


# --------------------------------------------------------------------------- features


def chunks(n_rows: int) -> Iterator[slice]:
    """Return slices of rows, so few that what is computed of them takes little memory."""
    return (slice(start, start + _CHUNK_ROWS) for start in range(0, n_rows, _CHUNK_ROWS))


def _moments(values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the mean and standard deviation of each column's known values, or 0."""
    known = ~np.isnan(values)
    total = np.maximum(weight @ known, 1e-12)
    mean = (weight @ np.where(known, values, 0.0)) / total
    spread = np.where(known, values - mean, 0.0)
    return mean, np.sqrt((weight @ np.square(spread, out=spread)) / total)


@dataclass(frozen=True)
class Scaler:
    """Centres features and shrinks those that spread more than a scaled one would.

    The encoders scale their features, but not all alike (distances, projections). Features of
    a standard deviation below 1 are left as they are: rare indicators must not be blown up.

    Attributes
    ----------
    mean, scale : array of shape (n_features,)
        Subtracted, then divided by. A missing value becomes the mean.
    """

    mean: Floats
    scale: Floats

    @staticmethod
    def fitted(rows: Rows) -> Scaler:
        """Measure the features of the training rows."""
        weight = weights_of(rows)
        mean, deviation = np.empty((2, rows.X.values.shape[1]))
        for start in range(0, len(mean), _CHUNK_COLUMNS):
            columns = slice(start, start + _CHUNK_COLUMNS)
            mean[columns], deviation[columns] = _moments(rows.X.values[:, columns], weight)
        return Scaler(mean=mean, scale=np.maximum(deviation, 1.0))

    def transform(self, values: Floats) -> Floats:
        """Return scaled features of the same shape, without missing values."""
        scaled = values - self.mean
        scaled /= self.scale
        missing = np.isnan(scaled)
        if missing.any():
            scaled[missing] = 0.0
        return scaled

    def singles(self, values: Floats) -> NDArray[np.float32]:
        """Return the same in single precision, without a copy of all rows in double."""
        scaled = np.empty(values.shape, dtype=np.float32)
        for rows in chunks(len(values)):
            scaled[rows] = self.transform(values[rows])
        return scaled

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write ``transform`` into a graph, as ``NetworkModel`` does: the nodes are shared."""
        signal = graph.node("Sub", [features, graph.constant(self.mean)])
        if not np.all(self.scale == 1.0):
            signal = graph.node("Div", [signal, graph.constant(self.scale)])
        missing = graph.node("IsNaN", [signal])
        return graph.node("Where", [missing, graph.constant(np.array(0.0)), signal])

    def rows(self, rows: Rows) -> Rows:
        """Return rows with their features scaled."""
        matrix = Matrix.numbers(self.transform(rows.X.values), rows.X.names)
        return Rows(X=matrix, y=rows.y, weight=rows.weight)


def with_features(base: tuple[str, ...], params: Params) -> tuple[str, ...]:
    """Return encoders: ``base``, and those that ``params["features"]`` asks for, if it is there.

    Those who read scaled numbers are given scaled results of arithmetic, too.
    """
    more = FEATURES[params.get("features", "plain")]
    if "scaled_numbers" in base:
        more = tuple(f"scaled_{name}" if name == "arithmetic" else name for name in more)
    return base + more


def choosing_seconds(shape: Shape, params: Params) -> float:
    """Predict what the encoders take that ``params["features"]`` asks for: often more than a line.

    Measured in ``benchmarks/costs.py``, on one core of a 2-core cloud machine. Arithmetic is chosen
    on 10,000 rows at most.
    """
    asked = params.get("features", "plain")
    if asked == "unsupervised":
        return 1e-5 * shape.n_rows
    return 1e-5 * min(shape.n_rows, 10_000) * outputs(shape) ** 0.7 if asked == "arithmetic" else 0


# --------------------------------------------------------------------------- losses


def log_loss(y: Array, predicted: Floats, weight: Floats) -> float:
    """Return the weighted mean negative log-likelihood of class codes."""
    chosen = np.maximum(predicted[np.arange(len(y)), y], 1e-12)
    return float(-np.average(np.log(chosen), weights=weight))


def squared_error(y: Array, predicted: Floats, weight: Floats) -> float:
    """Return the weighted mean squared error of (n_rows, 1) predictions."""
    return float(np.average((predicted[:, 0] - y) ** 2, weights=weight))


def loss_of(rows: Rows, predicted: Floats, context: FitContext) -> float:
    """Return the loss that early stopping watches: log-loss, or squared error."""
    if rows.soft is not None:
        gains = np.sum(rows.soft * np.log(np.maximum(predicted, 1e-12)), axis=1)
        return float(-np.average(gains, weights=weights_of(rows)))
    measure = log_loss if context.task.is_classification else squared_error
    return measure(rows.y, predicted, weights_of(rows))


# --------------------------------------------------------------------------- limits


@contextmanager
def limited(n_threads: int) -> Iterator[None]:
    """Hold BLAS and OpenMP to ``n_threads``; enter it after importing the library."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=n_threads):
        yield


@contextmanager
def unfinished_allowed() -> Iterator[None]:
    """Silence the warning that a solver used up its iterations.

    Iterations are limited on purpose, by the deadline and by what is worth its time: a model
    that is nearly converged is as good here, and the warning would tell the user nothing.
    """
    from scipy.linalg import LinAlgWarning
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        yield


def affordable(context: FitContext, seconds_each: float, low: int, high: int) -> int:
    """Return how many iterations fit into half of the time that is left, within bounds."""
    count = 0.5 * max(context.deadline.remaining(), 0.0) / seconds_each
    return int(min(max(count, low), high))


def outputs(shape: Shape) -> int:
    """Return the number of columns that a linear model of this shape needs."""
    return shape.n_classes if shape.n_classes > 2 else 1
