"""CatBoost: boosting of symmetric trees, on numerically encoded categories."""

from __future__ import annotations

import json
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec
from automl_fuse_boosting.catboost_trees import forest_of_json
from automl_fuse_boosting.inputs import single_precision
from automl_fuse_boosting.learner import FEATURES, BoostedLearner, Fit, settings_of
from automl_fuse_boosting.outputs import Head, head_of
from automl_fuse_boosting.stopping import MAX_TREES, Pace, distance_of, iterations_of, travel

if TYPE_CHECKING:
    from automl_fuse.specs import Array, FitContext, Floats, Forest, Params, Rows, Shape, Suggest

_LOSSES = {Head.LOGISTIC: "Logloss", Head.SOFTMAX: "MultiClass", Head.VALUE: "RMSE"}
_TOP_RATE: Final = 0.3
"""Learning rate that time pressure may raise a smaller one to: symmetric trees are weak."""


class CatBoostModel:
    """A fitted model: CatBoost's own object, which pickles compactly."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows,) or (n_rows, n_classes)."""
        raw: Array = self._model.predict(
            single_precision(values), prediction_type="RawFormulaVal", thread_count=n_threads
        )
        return raw

    def forest(self) -> Forest:
        """Return the trees."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self._model.save_model(str(path), format="json")
            return forest_of_json(json.loads(path.read_text(encoding="utf-8")))


def fit_catboost(params: Params, context: FitContext, train: Rows, valid: Rows | None) -> Fit:
    """Fit one model, stopped early on the validation loss; see ``FitModel``.

    CatBoost cannot change its learning rate on the way: where time is short, the first
    iterations show it, and the fit starts again with a higher rate.
    """
    pools = _pool(train), None if valid is None else _pool(valid)
    settings = settings_of(params)
    distance = distance_of(params, travel(len(train.y)))
    model, watch = _boost(settings, context, pools, distance, may_restart=True)
    if watch.restart_rate is not None:
        settings["learning_rate"] = watch.restart_rate
        model, watch = _boost(settings, context, pools, distance, may_restart=False)
    model.shrink(max(1, watch.pace.best))
    return Fit(CatBoostModel(model), watch.pace.tuned())


def _boost(
    settings: dict[str, Any],
    context: FitContext,
    pools: tuple[Any, Any],
    distance: float,
    *,
    may_restart: bool,
) -> tuple[Any, _Watch]:
    import catboost

    train, valid = pools
    loss = _LOSSES[head_of(context)]
    pace = Pace(
        rate=settings["learning_rate"],
        n_rows=train.num_row(),
        distance=distance,
        deadline=context.deadline,
        top=_TOP_RATE,
    )
    watch = _Watch(pace, loss if valid is not None else None, may_restart=may_restart)
    model = catboost.CatBoost(
        {
            **settings,
            "loss_function": loss,
            "iterations": MAX_TREES,
            "random_seed": context.seed % 2**31,
            "thread_count": context.n_threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
            "use_best_model": False,
            **_watching(loss),
        }
    )
    model.fit(train, eval_set=valid, callbacks=[watch])
    return model, watch


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

    return catboost.Pool(single_precision(rows.X.values), rows.y, weight=rows.weight)


# --------------------------------------------------------------------------- spec


def _encoders(params: Params) -> tuple[str, ...]:
    more = FEATURES[params.get("features", "plain")]
    return ("numbers", "ordinals", "target", "calendar", "ngrams", "words", "summaries", *more)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw hyperparameters: ranges that hold the portfolio."""
    return {
        "features": suggest.choice("features", tuple(FEATURES)),
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
    depth = params.get("depth", 6)
    outputs = max(1.0, 0.6 * shape.n_classes)
    leaves = 2.0**depth
    per_tree = 8e-4 + shape.n_features * (3.5e-9 * shape.n_rows * depth + 1e-6 * leaves)
    trees = iterations_of(params, travel(shape.n_rows), shape.n_rows)
    return Cost(seconds=trees * per_tree * outputs, bytes=trees * leaves * 16 * outputs)


def _point(
    rate: float,
    depth: int,
    l2: float,
    strength: float,
    bagging: float,
    *,
    features: str = "plain",
) -> dict[str, Any]:
    return {
        "features": features,
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
    encoders=_encoders,
    build=partial(BoostedLearner, fit_catboost),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(0.12, 6, 3.0, 1.0, 1.0), merit=0.98),
        Configuration(params=_point(0.05, 5, 1.9, 1.9, 0.35), merit=0.90),
        Configuration(params=_point(0.17, 7, 0.73, 1.7, 1.0, features="unsupervised"), merit=0.74),
        Configuration(params=_point(0.044, 5, 18.0, 1.2, 0.73, features="arithmetic"), merit=0.70),
        Configuration(params=_point(0.07, 7, 3.0, 0.8, 1.0, features="arithmetic"), merit=0.47),
        Configuration(params=_point(0.07, 7, 3.0, 0.8, 1.0), merit=0.40),
    ),
    requires=("catboost",),
    extra="boosting",
)
