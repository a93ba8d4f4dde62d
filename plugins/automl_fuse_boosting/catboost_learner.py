"""CatBoost: boosting of symmetric trees, on numerically encoded categories."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec
from automl_fuse_boosting.outputs import Head, constant_prediction, head_of, predictions
from automl_fuse_boosting.stopping import (
    MAX_TREES,
    NoDeadline,
    Pace,
    expected_iterations,
    travel,
)

if TYPE_CHECKING:
    from automl_fuse.specs import FitContext, Floats, Matrix, Params, Rows, Shape, Suggest

Model: TypeAlias = Any
"""``catboost.CatBoost``, which is imported late."""

_LOSSES = {Head.LOGISTIC: "Logloss", Head.SOFTMAX: "MultiClass", Head.VALUE: "RMSE"}
_TOP_RATE: Final = 0.3
"""Learning rate that time pressure may raise a smaller one to: symmetric trees are weak."""


class CatBoost:
    """One CatBoost model, stopped early on the validation loss.

    Parameters
    ----------
    params : mapping
        A point of `space`.
    context : FitContext
        Task, seed, threads and deadline.
    """

    def __init__(self, params: Params, context: FitContext) -> None:
        self._params = dict(params)
        self._context = context
        self._head = head_of(context)
        self._constant: Floats | None = None
        self._model: Model | None = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit until the validation loss stops falling, or the deadline is near.

        CatBoost cannot change its learning rate on the way: where time is short, the first
        iterations show it, and the fit starts again with a higher rate.

        Parameters
        ----------
        train : Rows
            Training rows.
        valid : Rows or None
            Rows that decide when to stop; without them the number of iterations follows from
            the learning rate.
        """
        self._model = None
        self._constant = constant_prediction(train, self._context)
        if self._constant is not None:
            return
        pools = _pool(train), None if valid is None else _pool(valid)
        rate = self._params["learning_rate"]
        model, watch = self._boost(pools, len(train.y), rate, may_restart=True)
        if watch.restart_rate is not None:
            model, watch = self._boost(pools, len(train.y), watch.restart_rate, may_restart=False)
        model.shrink(max(1, watch.pace.best))
        self._model = model

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression."""
        if self._model is None:
            return np.tile(np.asarray(self._constant), (len(X.values), 1))
        raw = self._model.predict(X.values, prediction_type="RawFormulaVal", thread_count=1)
        return predictions(raw, self._head)

    def _boost(
        self, pools: tuple[Any, Any], n_rows: int, rate: float, *, may_restart: bool
    ) -> tuple[Model, _Watch]:
        import catboost

        train, valid = pools
        loss = _LOSSES[self._head]
        watch = _Watch(
            Pace(
                rate=rate,
                n_rows=n_rows,
                distance=travel(n_rows),
                deadline=self._context.deadline,
                top=_TOP_RATE,
            ),
            loss if valid is not None else None,
            may_restart=may_restart,
        )
        model = catboost.CatBoost(
            {
                **self._params,
                "learning_rate": rate,
                "loss_function": loss,
                "iterations": MAX_TREES,
                "random_seed": self._context.seed % 2**31,
                "thread_count": self._context.n_threads,
                "allow_writing_files": False,
                "logging_level": "Silent",
                "use_best_model": False,
                **_watching(loss),
            }
        )
        model.fit(train, eval_set=valid, callbacks=[watch])
        return model, watch

    def __getstate__(self) -> dict[str, Any]:
        context = replace(self._context, deadline=NoDeadline())
        return {**self.__dict__, "_context": context}


class _Watch:
    """Tells CatBoost after every iteration whether to go on.

    Attributes
    ----------
    pace : Pace
        Counts the iterations.
    restart_rate : float or None
        The higher learning rate to start again with, once time was seen to be short.
    """

    def __init__(self, pace: Pace, loss: str | None, *, may_restart: bool) -> None:
        self.pace = pace
        self.restart_rate: float | None = None
        self._loss = loss
        self._may_restart = may_restart

    def after_iteration(self, info: Any) -> bool:
        """Return whether to run another iteration."""
        loss = None
        if self._loss is not None:
            loss = float(info.metrics["validation"][self._loss][-1])
        more = self.pace.after(loss if loss is None or math.isfinite(loss) else math.inf)
        if more and self.pace.raised and self._may_restart:
            self.restart_rate = self.pace.rate
            return False
        return more


def _watching(loss: str) -> dict[str, Any]:
    # CatBoost hands the callback copies of all past losses at every iteration: 4,000 iterations
    # took 21 s with a loss for each on both tables, and 9 s without a callback.
    return {"eval_metric": f"{loss}:hints=skip_train~true", "metric_period": 5}


def _pool(rows: Rows) -> Any:
    import catboost

    return catboost.Pool(rows.X.values, rows.y, weight=rows.weight)


# --------------------------------------------------------------------------- spec


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw hyperparameters: ranges that hold the portfolio."""
    return {
        "learning_rate": suggest.real("learning_rate", 0.02, 0.3, log=True),
        "depth": suggest.integer("depth", 3, 9),
        "l2_leaf_reg": suggest.real("l2_leaf_reg", 0.5, 20.0, log=True),
        "random_strength": suggest.real("random_strength", 0.1, 3.0),
        "bagging_temperature": suggest.real("bagging_temperature", 0.0, 2.0),
    }


def cost(shape: Shape, params: Params) -> Cost:
    """Predict the cost of one fold.

    Seconds of an iteration were measured on one core of a 2-core cloud machine, for 1,000 to
    24,000 rows, 10 and 30 features, 2 to 20 classes and depths 5 and 7.
    """
    depth = params["depth"]
    outputs = max(1.0, 0.6 * shape.n_classes)
    leaves = 2.0**depth
    per_tree = 8e-4 + shape.n_features * (3.5e-9 * shape.n_rows * depth + 1e-6 * leaves)
    trees = expected_iterations(params["learning_rate"], travel(shape.n_rows), shape.n_rows)
    return Cost(seconds=trees * per_tree * outputs, bytes=trees * leaves * 16 * outputs)


def _point(rate: float, depth: int, l2: float, strength: float, bagging: float) -> dict[str, Any]:
    return {
        "learning_rate": rate,
        "depth": depth,
        "l2_leaf_reg": l2,
        "random_strength": strength,
        "bagging_temperature": bagging,
    }


SPEC = LearnerSpec(
    name="catboost",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("numbers", "ordinals", "target", "calendar", "ngrams", "words"),
    build=CatBoost,
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(0.07, 7, 3.0, 0.8, 1.0), merit=0.95),
        Configuration(params=_point(0.12, 6, 3.0, 1.0, 1.0), merit=0.50),
    ),
    requires=("catboost",),
    extra="boosting",
)
