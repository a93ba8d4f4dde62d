"""LightGBM: trees grown leaf by leaf on histograms, with native categories."""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from threadpoolctl import threadpool_limits

from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec
from automl_fuse_boosting.learner import BoostedLearner
from automl_fuse_boosting.outputs import Head, head_of
from automl_fuse_boosting.stopping import Pace, expected_iterations, travel

if TYPE_CHECKING:
    from automl_fuse.specs import Array, FitContext, Floats, Params, Rows, Shape, Suggest

Booster: TypeAlias = Any
"""``lightgbm.Booster``, which is imported late."""

_OBJECTIVES = {
    Head.LOGISTIC: {"objective": "binary", "metric": "binary_logloss"},
    Head.SOFTMAX: {"objective": "multiclass", "metric": "multi_logloss"},
    Head.VALUE: {"objective": "regression", "metric": "rmse"},
}
_SAVING = 0.12
"""Measured on models of 5,000 trees: writing and compressing the text took a tenth of the fit."""
_MISSES = 10
"""Iterations without any split after which to stop: with random thresholds and few features
one such iteration happens long before the end, and the next draw finds a split."""


class LightGBMModel:
    """A fitted booster, kept as compressed text, which restores every digit.

    Parameters
    ----------
    text : bytes
        LightGBM's own text format, compressed.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._booster: Booster | None = None

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows,) or (n_rows, n_classes)."""
        if self._booster is None:
            self._booster = _restore(self._text)
        raw: Array = self._booster.predict(values, raw_score=True, num_threads=n_threads)
        return raw

    def __getstate__(self) -> dict[str, Any]:
        return {"_text": self._text, "_booster": None}


def fit_lightgbm(
    params: Params, context: FitContext, train: Rows, valid: Rows | None
) -> LightGBMModel:
    """Fit one model, stopped early on the validation loss; see ``FitModel``."""
    settings = library_params(params, context, len(train.y))
    # LightGBM's own setting misses some of its loops, and idle threads that spin on shared
    # cores were measured to stall a fit for a second.
    with threadpool_limits(context.n_threads, user_api="openmp"):
        booster, best = _boost(settings, train, valid, context)
    # Level 1 takes a fifth of the time of level 6, and a tenth more bytes.
    text = booster.model_to_string(num_iteration=best)
    return LightGBMModel(zlib.compress(text.encode(), level=1))


def library_params(params: Params, context: FitContext, n_rows: int) -> dict[str, Any]:
    """Return the parameters that LightGBM is given.

    Parameters
    ----------
    params : mapping
        A point of `space`; ``categories`` concerns the encoders only.
    context : FitContext
        Task, number of classes, seed and threads.
    n_rows : int
        Training rows: on few rows a split between categories needs fewer of them.
    """
    head = head_of(context)
    settings = {name: value for name, value in params.items() if name != "categories"}
    if head is Head.SOFTMAX:
        settings["num_class"] = context.n_classes
    return {
        **_OBJECTIVES[head],
        **settings,
        "bagging_freq": 1,
        "min_sum_hessian_in_leaf": 1e-3,
        "min_data_per_group": max(10, min(100, n_rows // 100)),
        "max_cat_to_onehot": 16,
        "cat_smooth": 10.0,
        "cat_l2": 10.0,
        "max_bin": 255,
        "feature_pre_filter": False,
        "deterministic": True,
        "force_col_wise": True,
        "seed": context.seed % 2**31,
        "num_threads": context.n_threads,
        "verbosity": -1,
    }


def _boost(
    params: dict[str, Any], train: Rows, valid: Rows | None, context: FitContext
) -> tuple[Booster, int]:
    """Return the booster and the number of its iterations to keep."""
    import lightgbm

    data = lightgbm.Dataset(
        train.X.values,
        train.y,
        weight=train.weight,
        categorical_feature=list(train.X.categorical),
        params=params,
    )
    booster = lightgbm.Booster(params, data)
    if valid is not None:
        held_out = data.create_valid(valid.X.values, valid.y, weight=valid.weight, params=params)
        booster.add_valid(held_out, "valid")
    n_rows = len(train.y)
    rate, distance = params["learning_rate"], _distance(params, n_rows)
    pace = Pace(
        rate=rate, n_rows=n_rows, distance=distance, deadline=context.deadline, saving=_SAVING
    )
    misses = 0
    while misses < _MISSES:
        if booster.update():
            misses += 1
            continue
        misses = 0
        loss = booster.eval_valid()[0][2] if valid is not None else None
        if not pace.after(loss):
            break
        if pace.raised:
            booster.reset_parameter({"learning_rate": pace.rate})
    return booster, pace.best


def _distance(params: Params, n_rows: int) -> float:
    # Measured: smaller trees, and those with random thresholds, fit less each and go further.
    by_leaves = math.sqrt(31 / params["num_leaves"])
    return travel(n_rows) * by_leaves * (2.5 if params["extra_trees"] else 1.0)


def _restore(text: bytes) -> Booster:
    import lightgbm

    return lightgbm.Booster(model_str=zlib.decompress(text).decode())


# --------------------------------------------------------------------------- spec


def _encoders(params: Params) -> tuple[str, ...]:
    if params["categories"] == "target":
        return ("numbers", "target", "counts", "calendar", "ngrams", "words")
    return ("numbers", "codes", "calendar", "ngrams", "words")


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw hyperparameters: ranges that hold the portfolio, logarithmic where they are wide."""
    return {
        "categories": suggest.choice("categories", ("native", "target")),
        "learning_rate": suggest.real("learning_rate", 0.005, 0.2, log=True),
        "num_leaves": suggest.integer("num_leaves", 4, 255, log=True),
        "min_data_in_leaf": suggest.integer("min_data_in_leaf", 1, 100, log=True),
        "feature_fraction": suggest.real("feature_fraction", 0.3, 1.0),
        "bagging_fraction": suggest.real("bagging_fraction", 0.5, 1.0),
        "lambda_l1": suggest.real("lambda_l1", 0.0, 2.0),
        "lambda_l2": suggest.real("lambda_l2", 0.0, 4.0),
        "extra_trees": suggest.choice("extra_trees", (False, True)),
    }


def cost(shape: Shape, params: Params) -> Cost:
    """Predict the cost of one fold.

    Seconds of an iteration were measured on one core of a 2-core cloud machine, for 1,000 to
    24,000 rows, 10 and 30 features, 2 to 20 classes and 16 to 128 leaves.
    """
    leaves, levels = params["num_leaves"], math.log2(params["num_leaves"])
    per_tree = leaves * (5e-6 + 1.2e-6 * shape.n_features)
    per_tree += shape.n_rows * levels * (1e-8 + 1e-9 * shape.n_features)
    distance = _distance(params, shape.n_rows)
    trees = expected_iterations(params["learning_rate"], distance, shape.n_rows)
    trees *= shape.n_classes if shape.n_classes > 2 else 1
    return Cost(seconds=trees * per_tree, bytes=trees * leaves * 25)


def _point(
    rate: float,
    leaves_and_rows: tuple[int, int],
    fractions: tuple[float, float],
    penalties: tuple[float, float],
    *,
    extra: bool = False,
    categories: str = "native",
) -> dict[str, Any]:
    """Return a configuration in the short form of the published tables."""
    return {
        "categories": categories,
        "learning_rate": rate,
        "num_leaves": leaves_and_rows[0],
        "min_data_in_leaf": leaves_and_rows[1],
        "feature_fraction": fractions[0],
        "bagging_fraction": fractions[1],
        "lambda_l1": penalties[0],
        "lambda_l2": penalties[1],
        "extra_trees": extra,
    }


_POINTS = (
    (1.00, _point(0.06, (31, 20), (0.8, 0.9), (0.0, 1.0))),
    (0.90, _point(0.040, (16, 1), (0.58, 0.96), (0.94, 0.99), categories="target")),
    (0.75, _point(0.0134, (20, 2), (0.43, 0.71), (0.51, 0.51))),
    (0.70, _point(0.0114, (84, 3), (0.53, 0.98), (0.03, 0.84))),
    (0.66, _point(0.018, (39, 3), (0.46, 0.88), (0.24, 0.36), extra=True)),
    (0.60, _point(0.0127, (5, 12), (0.73, 0.85), (0.24, 0.30), extra=True)),
    (0.52, _point(0.018, (180, 12), (0.40, 0.95), (0.77, 1.60), extra=True)),
    (0.50, _point(0.0079, (8, 24), (0.94, 0.81), (0.44, 0.30))),
)

SPEC = LearnerSpec(
    name="lightgbm",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=_encoders,
    build=partial(BoostedLearner, fit_lightgbm),
    cost=cost,
    space=space,
    portfolio=tuple(Configuration(params=params, merit=merit) for merit, params in _POINTS),
    requires=("lightgbm",),
    extra="boosting",
)
