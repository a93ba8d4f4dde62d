"""LightGBM: trees grown leaf by leaf on histograms, with native categories."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec
from automl_fuse_boosting.learner import (
    FEATURES,
    BoostedLearner,
    Fit,
    encoders_of,
    settings_of,
)
from automl_fuse_boosting.lightgbm_trees import forest_of_text
from automl_fuse_boosting.outputs import Head, head_of
from automl_fuse_boosting.soft import SoftmaxLoss, labels_of, start_of
from automl_fuse_boosting.stopping import Pace, distance_of, iterations_of, travel

if TYPE_CHECKING:
    from automl_fuse.specs import Array, FitContext, Floats, Forest, Params, Rows, Shape, Suggest

Booster: TypeAlias = Any
"""``lightgbm.Booster``, which is imported late."""

_OBJECTIVES = {
    Head.LOGISTIC: {"objective": "binary", "metric": "binary_logloss"},
    Head.SOFTMAX: {"objective": "multiclass", "metric": "multi_logloss"},
    Head.VALUE: {"objective": "regression", "metric": "rmse"},
}
_SOFT_OBJECTIVES = {
    Head.LOGISTIC: {"objective": "cross_entropy", "metric": "cross_entropy"},
    Head.SOFTMAX: {"objective": "none", "metric": "none"},
}
_SAVING = 0.12
"""Measured on models of 5,000 trees: writing and compressing the text took a tenth of the fit."""
_MISSES = 10
"""Iterations without any split after which to stop: with random thresholds and few features
one such iteration happens long before the end, and the next draw finds a split."""


class Steps(Protocol):
    """A booster, here or spread over machines, that is told to add trees one by one."""

    def step(self) -> tuple[bool, float | None]:
        """Run an iteration; return whether it found no split, and the loss if it found one."""

    def set_rate(self, rate: float) -> None:
        """Change the learning rate of the iterations to come."""


class LightGBMModel:
    """A fitted booster, kept as compressed text, which restores every digit.

    Parameters
    ----------
    text : bytes
        LightGBM's own text format, compressed.
    base : float64 array of shape (n_classes,) or None
        Added to the sums: the scores that boosting started from, where LightGBM did not choose
        them itself and so does not keep them.
    """

    def __init__(self, text: bytes, base: Floats | None) -> None:
        self._text = text
        self._base = base
        self._booster: Booster | None = None

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows, 1) or (n_rows, n_classes)."""
        if self._booster is None:
            self._booster = _restore(self._text)
        raw: Array = self._booster.predict(values, raw_score=True, num_threads=n_threads)
        raw = raw.reshape(len(values), self._booster.num_model_per_iteration())
        return raw if self._base is None else raw + self._base

    def forest(self) -> Forest:
        """Return the trees."""
        forest = forest_of_text(zlib.decompress(self._text).decode())
        return forest if self._base is None else replace(forest, base=self._base)

    def __getstate__(self) -> dict[str, Any]:
        return {"_text": self._text, "_base": self._base, "_booster": None}


def fit_lightgbm(params: Params, context: FitContext, train: Rows, valid: Rows | None) -> Fit:
    """Fit one model, stopped early on the validation loss; see ``FitModel``."""
    # LightGBM's own setting misses some of its loops, and idle threads that spin on shared
    # cores were measured to stall a fit for a second.
    with threadpool_limits(context.n_threads, user_api="openmp"):
        boosting = _Boosting(params, context, train, valid)
        boost(boosting, boosting.pace)
    text = boosting.booster.model_to_string(num_iteration=boosting.kept)
    return Fit(LightGBMModel(packed(text), boosting.base), boosting.pace.tuned())


def boost(steps: Steps, pace: Pace) -> None:
    """Add trees until the pace says to stop, or none can be split."""
    misses = 0
    while misses < _MISSES:
        is_unsplit, loss = steps.step()
        if is_unsplit:
            misses += 1
            continue
        misses = 0
        if not pace.after(loss):
            return
        if pace.raised:
            steps.set_rate(pace.rate)


def pace_of(params: Params, context: FitContext, n_rows: int) -> Pace:
    """Return when a fit to so many rows is to stop."""
    return Pace(
        rate=params["learning_rate"],
        n_rows=n_rows,
        distance=distance_of(params, _distance(params, n_rows)),
        deadline=context.deadline,
        saving=_SAVING,
    )


def packed(text: str) -> bytes:
    """Return a model's text, compressed."""
    # Level 1 takes a fifth of the time of level 6, and a tenth more bytes.
    return zlib.compress(text.encode(), level=1)


def library_params(params: Params, context: FitContext, train: Rows) -> dict[str, Any]:
    """Return the parameters that LightGBM is given.

    Parameters
    ----------
    params : mapping
        A point of `space`; what concerns the encoders and the number of trees is left out.
    context : FitContext
        Task, number of classes, seed and threads.
    train : Rows
        Training rows: on few of them a split between categories needs fewer rows; soft labels
        have objectives of their own.
    """
    head = head_of(context)
    settings = settings_of(params)
    if head is Head.SOFTMAX:
        settings["num_class"] = context.n_classes
    return {
        **(_OBJECTIVES if train.soft is None else _SOFT_OBJECTIVES)[head],
        **settings,
        "bagging_freq": 1,
        "min_sum_hessian_in_leaf": 1e-3,
        "min_data_per_group": max(10, min(100, len(train.y) // 100)),
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


class _Boosting:
    """One fit.

    Attributes
    ----------
    booster : Booster
        Holds all iterations.
    base : float64 array of shape (n_classes,) or None
        See ``LightGBMModel``.
    pace : Pace
        Knows which iterations to keep.
    """

    def __init__(
        self, params: Params, context: FitContext, train: Rows, valid: Rows | None
    ) -> None:
        import lightgbm

        settings = library_params(params, context, train)
        self._context = context
        self.base: Floats | None = None
        self._of_train = self._of_valid = None
        if settings["objective"] == "none":
            self.base = start_of(train, context.n_classes)
            self._of_train = self._loss(train)
            self._of_valid = None if valid is None else self._loss(valid)
        data = lightgbm.Dataset(
            train.X.values,
            self._labels(train),
            weight=train.weight,
            init_score=self._start(train),
            categorical_feature=list(train.X.categorical),
            params=settings,
        )
        self.booster = lightgbm.Booster(settings, data)
        self._judged = valid is not None
        if valid is not None:
            held_out = data.create_valid(
                valid.X.values,
                self._labels(valid),
                weight=valid.weight,
                init_score=self._start(valid),
                params=settings,
            )
            self.booster.add_valid(held_out, "valid")
        self.pace = pace_of(params, context, len(train.y))

    @property
    def kept(self) -> int:
        """Number of LightGBM's iterations to keep: a first one without any split is counted."""
        unsplit: int = self.booster.current_iteration() - self.pace.iterations
        return self.pace.best + unsplit

    def step(self) -> tuple[bool, float | None]:
        """Run an iteration; return whether it found no split, and the loss if it found one."""
        is_unsplit = self._update()
        return is_unsplit, None if is_unsplit else self._valid_loss()

    def set_rate(self, rate: float) -> None:
        """Change the learning rate of the iterations to come."""
        self.booster.reset_parameter({"learning_rate": rate})

    def _update(self) -> bool:
        """Run an iteration; return whether it found no split."""
        if self._of_train is None:
            return bool(self.booster.update())
        gradient = self._of_train.gradient
        return bool(self.booster.update(fobj=lambda scores, _: gradient(scores)))

    def _valid_loss(self) -> float | None:
        if not self._judged:
            return None
        if self._of_valid is None:
            return float(self.booster.eval_valid()[0][2])
        mean = self._of_valid.mean
        told = self.booster.eval_valid(lambda scores, _: ("cross_entropy", mean(scores), False))
        return float(told[0][2])

    def _loss(self, rows: Rows) -> SoftmaxLoss:
        # LightGBM's own factor, of MulticlassSoftmax.
        k = self._context.n_classes
        return SoftmaxLoss(rows, k, factor=k / (k - 1.0))

    def _labels(self, rows: Rows) -> Array:
        return rows.y if head_of(self._context) is not Head.LOGISTIC else labels_of(rows)

    def _start(self, rows: Rows) -> Floats | None:
        return None if self.base is None else np.tile(self.base, (len(rows.y), 1))


def _distance(params: Params, n_rows: int) -> float:
    # Measured: smaller trees, and those with random thresholds, fit less each and go further.
    by_leaves = math.sqrt(31 / params.get("num_leaves", 31))
    return travel(n_rows) * by_leaves * (2.5 if params.get("extra_trees") else 1.0)


def _restore(text: bytes) -> Booster:
    import lightgbm

    return lightgbm.Booster(model_str=zlib.decompress(text).decode())


# --------------------------------------------------------------------------- spec


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw hyperparameters: ranges that hold the portfolio, logarithmic where they are wide."""
    return {
        "categories": suggest.choice("categories", ("native", "target")),
        "features": suggest.choice("features", tuple(FEATURES)),
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
    leaves = params.get("num_leaves", 31)
    levels = math.log2(leaves)
    per_tree = leaves * (5e-6 + 1.2e-6 * shape.n_features)
    per_tree += shape.n_rows * levels * (1e-8 + 1e-9 * shape.n_features)
    distance = _distance(params, shape.n_rows)
    trees = iterations_of(params, distance, shape.n_rows)
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
    features: str = "plain",
) -> dict[str, Any]:
    """Return a configuration in the short form of the published tables."""
    return {
        "categories": categories,
        "features": features,
        "learning_rate": rate,
        "num_leaves": leaves_and_rows[0],
        "min_data_in_leaf": leaves_and_rows[1],
        "feature_fraction": fractions[0],
        "bagging_fraction": fractions[1],
        "lambda_l1": penalties[0],
        "lambda_l2": penalties[1],
        "extra_trees": extra,
    }


POINTS = (
    (1.00, _point(0.06, (31, 20), (0.8, 0.9), (0.0, 1.0), features="arithmetic")),
    (0.78, _point(0.018, (39, 3), (0.46, 0.88), (0.24, 0.36), extra=True)),
    (0.76, _point(0.0114, (84, 3), (0.53, 0.98), (0.03, 0.84))),
    (0.72, _point(0.06, (6, 20), (0.30, 0.61), (0.36, 0.25), features="unsupervised")),
    (0.50, _point(0.06, (31, 20), (0.8, 0.9), (0.0, 1.0))),
    (0.45, _point(0.040, (16, 1), (0.58, 0.96), (0.94, 0.99), categories="target")),
    (0.38, _point(0.0134, (20, 2), (0.43, 0.71), (0.51, 0.51), features="arithmetic")),
    (0.28, _point(0.0127, (5, 12), (0.73, 0.85), (0.24, 0.30), extra=True)),
    (0.26, _point(0.018, (180, 12), (0.40, 0.95), (0.77, 1.60), extra=True)),
    (0.25, _point(0.0079, (8, 24), (0.94, 0.81), (0.44, 0.30))),
)
"""By the order that ``benchmarks/portfolio`` learned; those of 0.5 and less it left out."""

SPEC = LearnerSpec(
    name="lightgbm",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=encoders_of,
    build=partial(BoostedLearner, fit_lightgbm),
    cost=cost,
    space=space,
    portfolio=tuple(Configuration(params=params, merit=merit) for merit, params in POINTS),
    requires=("lightgbm",),
    extra="boosting",
    soft_labels=True,
)
