"""Measures of quality: our own, those of plugins, scikit-learn scorers and plain functions.

Targets are class codes or values in the user's units; predictions are ``(n_rows, n_outputs)``
arrays: probabilities of each class, or values in one column. A measure that is undefined on
some rows (AUC where only one class occurs) is NaN, and its loss infinite.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from automl_fuse import measures
from automl_fuse.errors import MetricError
from automl_fuse.specs import (
    CLASSIFICATION,
    REGRESSION,
    Array,
    Floats,
    Loss,
    MetricSpec,
    Prediction,
    Task,
)

__all__ = ["METRICS", "default_metric", "loss_of", "resolve", "score", "score_all"]

# ------------------------------------------------------------------ our metrics by name

_Measure: TypeAlias = Callable[[Array, Array, Floats | None], float]


def _metric(
    name: str,
    tasks: frozenset[Task],
    needs: Prediction,
    measure: _Measure,
    *,
    greater_is_better: bool,
) -> MetricSpec:
    return MetricSpec(
        name=name,
        api_version=1,
        tasks=tasks,
        needs=needs,
        greater_is_better=greater_is_better,
        score=measure,
    )


def _gain(name: str, needs: Prediction, measure: _Measure) -> MetricSpec:
    tasks = REGRESSION if needs == "value" else CLASSIFICATION
    return _metric(name, tasks, needs, measure, greater_is_better=True)


def _penalty(name: str, needs: Prediction, measure: _Measure) -> MetricSpec:
    return replace(_gain(name, needs, measure), greater_is_better=False)


METRICS: Final[Mapping[str, MetricSpec]] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            _gain("accuracy", "label", measures.accuracy),
            _gain("balanced_accuracy", "label", measures.balanced_accuracy),
            _gain("precision", "label", measures.Averaged(measures.class_precision, "second")),
            _gain("recall", "label", measures.Averaged(measures.class_recall, "second")),
            _gain("f1", "label", measures.Averaged(measures.class_f1, "second")),
            _gain("f1_macro", "label", measures.Averaged(measures.class_f1, "macro")),
            _gain("f1_weighted", "label", measures.Averaged(measures.class_f1, "weighted")),
            _gain("mcc", "label", measures.mcc),
            _gain("roc_auc", "probability", measures.roc_auc),
            _penalty("log_loss", "probability", measures.log_loss),
            _penalty("brier", "probability", measures.brier),
            _penalty("rmse", "value", measures.rmse),
            _penalty("mae", "value", measures.mae),
            _penalty("median_ae", "value", measures.median_ae),
            _gain("r2", "value", measures.r2),
            _penalty("mape", "value", measures.mape),
        )
    }
)
"""Our metrics by name. ``precision``, ``recall`` and ``f1`` are those of the second class; in
a multiclass task ``resolve``, ``score``, ``score_all`` and ``loss_of`` take the macro average."""


def _for_task(metric: MetricSpec, task: Task) -> MetricSpec:
    """Return the metric as the task reads it: macro averages where there is no second class."""
    measure = metric.score
    if task is Task.MULTICLASS and isinstance(measure, measures.Averaged):
        return replace(metric, score=measure.over_classes())
    return metric


def default_metric(task: Task) -> str:
    """Return the name of the objective where the user names none."""
    return "log_loss" if task.is_classification else "rmse"


# ------------------------------------------------------------------ scoring


def _reading(metric: MetricSpec, prediction: Floats, threshold: float) -> Array:
    """Return what the metric reads of (n_rows, n_outputs) predictions."""
    if metric.needs == "probability":
        return prediction
    if metric.needs == "value":
        return prediction[:, 0]
    return measures.labels_of(prediction, threshold)


def score(
    metric: MetricSpec,
    task: Task,
    y: Array,
    prediction: Floats,
    weight: Floats | None = None,
    threshold: float | None = None,
) -> float:
    """Return a metric's value.

    Parameters
    ----------
    metric : MetricSpec
        As ``resolve`` gives it.
    task : Task
        What is predicted.
    y : array of shape (n_rows,)
        Class codes, or values.
    prediction : array of shape (n_rows, n_outputs)
        Probabilities of each class, or values in one column.
    weight : array of shape (n_rows,), optional
        Positive weights.
    threshold : float, optional
        Probability of the second class above which it is the label of a binary task; 0.5.

    Returns
    -------
    float
        NaN where it is undefined: no rows, or predictions that are not finite.
    """
    if len(y) == 0 or not np.isfinite(prediction).all():
        return float("nan")
    reading = _reading(metric, prediction, 0.5 if threshold is None else threshold)
    target = y.astype(np.intp) if task.is_classification else y
    return float(_for_task(metric, task).score(target, reading, weight))


def score_all(
    task: Task,
    y: Array,
    prediction: Floats,
    weight: Floats | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """Return every metric of ours that fits the task, by name; parameters as for ``score``."""
    return {
        name: score(metric, task, y, prediction, weight, threshold)
        for name, metric in METRICS.items()
        if task in metric.tasks
    }


@dataclass(frozen=True, kw_only=True)
class _MetricLoss:
    """A metric as a loss; an object instead of a closure, so that it pickles."""

    metric: MetricSpec
    task: Task

    def __call__(self, y: Array, prediction: Floats, weight: Floats | None) -> float:
        value = score(self.metric, self.task, y, prediction, weight)
        if np.isnan(value):
            return float("inf")
        return -value if self.metric.greater_is_better else value


def loss_of(metric: MetricSpec, task: Task) -> Loss:
    """Return ``loss(y, prediction, weight)``, lower better, infinite where it is undefined."""
    return _MetricLoss(metric=metric, task=task)


# ------------------------------------------------------------------ metrics of others


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # some functions written in C tell no signature
        return {}


@dataclass(frozen=True, kw_only=True)
class _Foreign:
    """A function of scikit-learn or of the user, called as scikit-learn's scorers call it."""

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Any]
    factor: float = 1.0

    def __call__(self, y: Array, prediction: Array, weight: Floats | None) -> float:
        accepted = _parameters(self.function)
        options = dict(self.options)
        if weight is not None and "sample_weight" in accepted:
            options["sample_weight"] = weight
        if prediction.ndim == 2:
            if "labels" in accepted:
                options["labels"] = np.arange(prediction.shape[1])
            prediction = prediction[:, 1] if prediction.shape[1] == 2 else prediction
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = self.function(y, prediction, **options)
            return self.factor * float(value)
        except (TypeError, ValueError) as error:
            raise MetricError(f"Metric {self.name!r} cannot score these rows: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Plugged:
    """The measure of a plugin, whose errors name it."""

    name: str
    measure: _Measure

    def __call__(self, y: Array, prediction: Array, weight: Floats | None) -> float:
        try:
            return float(self.measure(y, prediction, weight))
        except (Exception, SystemExit) as error:
            raise MetricError(f"Metric {self.name!r} cannot score these rows: {error!r}") from error


def _open_scorer(scorer: Any) -> tuple[Callable[..., Any], float, dict[str, Any], str]:
    """Return a scorer's function, sign, options and what it reads: label or probability.

    scikit-learn has no public way to ask for them, and a scorer itself wants an estimator.
    """
    response = scorer._response_method  # noqa: SLF001
    reads = "label" if response == "predict" else "probability"
    return scorer._score_func, float(scorer._sign), dict(scorer._kwargs), reads  # noqa: SLF001


def _is_scorer(metric: object) -> bool:
    return all(hasattr(metric, name) for name in ("_score_func", "_sign", "_response_method"))


def _tasks_of(function: Callable[..., Any]) -> frozenset[Task]:
    """Return the tasks of a function: scikit-learn's are known by their module."""
    module = getattr(function, "__module__", "") or ""
    if not module.startswith("sklearn.metrics"):
        return CLASSIFICATION | REGRESSION
    if module.endswith("_regression"):
        return REGRESSION
    return frozenset() if ".cluster" in module else CLASSIFICATION


def _from_scorer(scorer: Any, name: str, task: Task, *, signed: bool) -> MetricSpec:
    """Read a scorer. ``signed``: keep its sign, as in ``neg_log_loss``, where more is better."""
    function, sign, options, reads = _open_scorer(scorer)
    for option in ("pos_label", "labels"):
        if options.get(option) is not None:
            raise MetricError(
                f"Metric {name!r} names classes in {option}={options[option]!r}; metrics are "
                "given class codes, in which the second class in sorted order is 1. Leave "
                f"{option} out."
            )
    needs: Prediction = "label" if reads == "label" else "probability"
    tasks = _tasks_of(function) - (REGRESSION if reads == "probability" else frozenset())
    metric = _metric(
        name,
        tasks,
        needs if task.is_classification else "value",
        _Foreign(name=name, function=function, options=options, factor=sign if signed else 1.0),
        greater_is_better=signed or sign > 0,
    )
    if task in tasks:
        metric.score(*_sample(metric, task), None)  # a misfit fails now, not after the search
    return metric


def _from_function(function: Callable[..., Any], task: Task) -> MetricSpec:
    from sklearn.metrics import get_scorer, get_scorer_names

    name = str(getattr(function, "__name__", type(function).__name__)).strip("<>").lower()
    if (getattr(function, "__module__", "") or "").startswith("sklearn.metrics"):
        for known in get_scorer_names():
            scorer = get_scorer(known)
            if _is_scorer(scorer) and _open_scorer(scorer)[0] is function:
                return _from_scorer(scorer, name, task, signed=False)
    _require_two_arguments(function, name)
    return _metric(
        name,
        CLASSIFICATION | REGRESSION,
        "label" if task.is_classification else "value",
        _Foreign(name=name, function=function, options={}),
        greater_is_better=True,
    )


def _require_two_arguments(function: Callable[..., Any], name: str) -> None:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [
        parameter.name
        for parameter in _parameters(function).values()
        if parameter.kind in kinds and parameter.default is inspect.Parameter.empty
    ]
    if len(required) > 2:
        raise MetricError(
            f"Metric {name!r} wants {', '.join(required)}; a function used as a metric is given "
            "two arguments: y_true and y_pred."
        )


def _by_name(name: str, task: Task, plugins: Mapping[str, MetricSpec]) -> MetricSpec:
    if name in METRICS:
        return METRICS[name]
    if name in plugins:
        return replace(plugins[name], score=_Plugged(name=name, measure=plugins[name].score))
    from sklearn.metrics import get_scorer, get_scorer_names

    foreign = get_scorer_names()
    if name in foreign:
        return _from_scorer(get_scorer(name), name, task, signed=True)
    known = sorted({*METRICS, *plugins, *foreign})
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise MetricError(
        f"There is no metric {name!r}.{hint} Metrics for {task.value} are "
        f"{', '.join(m.name for m in METRICS.values() if task in m.tasks)}, any scikit-learn "
        "scorer, and those of plugins."
    )


def _sample(metric: MetricSpec, task: Task) -> tuple[Array, Array]:
    """Return a small target, and predictions as the metric reads them."""
    if task is Task.REGRESSION:
        values = np.arange(1.0, 9.0)
        return values, values + 0.5
    n_classes = 2 if task is Task.BINARY else 3
    y = np.tile(np.arange(n_classes), 4)
    probability = np.full((len(y), n_classes), 0.1)
    probability[np.arange(len(y)), y] = 1 - 0.1 * (n_classes - 1)
    probability[0] = probability[0, ::-1]
    return y, _reading(metric, probability, 0.5)


def implied_task(
    metric: object, plugins: Mapping[str, MetricSpec] = MappingProxyType({})
) -> Literal["regression"] | None:
    """Return the task that a metric leaves no doubt of: regression, where it fits nothing else.

    Ratings from 1 to 5 look like classes; who asks for their RMSE means numbers.
    """
    spec: object = {**METRICS, **plugins}.get(metric) if isinstance(metric, str) else metric
    is_clear = isinstance(spec, MetricSpec) and spec.tasks == REGRESSION
    return "regression" if is_clear else None


def resolve(
    metric: object,
    task: Task,
    plugins: Mapping[str, MetricSpec] = MappingProxyType({}),
) -> MetricSpec:
    """Return the metric that a user asks for.

    Parameters
    ----------
    metric : str, MetricSpec, scorer, callable or None
        A name, looked for among ours, then among those of plugins, then among scikit-learn's
        scorers; what ``sklearn.metrics.make_scorer`` returns; a function of scikit-learn; or
        any ``function(y_true, y_pred)`` of class codes or values, greater being better. It
        may take ``sample_weight``. None means the default of the task.
    task : Task
        What is predicted.
    plugins : mapping of str to MetricSpec, optional
        Metrics of plugins by name.

    Raises
    ------
    MetricError
        If there is no such metric, or it does not fit the task.
    """
    if metric is None:
        found = METRICS[default_metric(task)]
    elif isinstance(metric, MetricSpec):
        found = metric
    elif isinstance(metric, str):
        found = _by_name(metric, task, plugins)
    elif _is_scorer(metric):
        function = _open_scorer(metric)[0]
        name = str(getattr(function, "__name__", "scorer")).strip("<>").lower()
        found = _from_scorer(metric, name, task, signed=False)
    elif callable(metric):
        found = _from_function(metric, task)
    else:
        raise MetricError(f"A metric is a name, a scorer or a function, not {metric!r}.")
    if task not in found.tasks:
        fitting = ", ".join(sorted(t.value for t in found.tasks)) or "no task of this package"
        ours = ", ".join(m.name for m in METRICS.values() if task in m.tasks)
        raise MetricError(
            f"Metric {found.name!r} is for {fitting}, and the task is {task.value}. "
            f"Choose one of {ours}, or set the task."
        )
    return _for_task(found, task)
