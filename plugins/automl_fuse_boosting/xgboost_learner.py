"""XGBoost: second-order boosting on histograms, with native categories."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec
from automl_fuse_boosting.learner import BoostedLearner
from automl_fuse_boosting.outputs import Head, head_of
from automl_fuse_boosting.stopping import Pace, expected_iterations, travel

if TYPE_CHECKING:
    from automl_fuse.specs import Array, FitContext, Floats, Params, Rows, Shape, Suggest

Booster: TypeAlias = Any
"""``xgboost.Booster``, which is imported late."""

_OBJECTIVES = {
    Head.LOGISTIC: {"objective": "binary:logistic", "eval_metric": "logloss"},
    Head.SOFTMAX: {"objective": "multi:softprob", "eval_metric": "mlogloss"},
    Head.VALUE: {"objective": "reg:squarederror", "eval_metric": "rmse"},
}


class XGBoostModel:
    """A fitted booster, kept as XGBoost's own bytes.

    Parameters
    ----------
    content : bytes
        The booster in UBJSON.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._booster: Booster | None = None
        self._threads = 0

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows,) or (n_rows, n_classes)."""
        if self._booster is None:
            self._booster = _restore(self._content)
        if n_threads != self._threads:
            # Setting it makes XGBoost configure itself anew, which costs more than one row.
            self._booster.set_param({"nthread": n_threads})
            self._threads = n_threads
        raw: Array = self._booster.inplace_predict(
            values, predict_type="margin", validate_features=False
        )
        return raw

    def __getstate__(self) -> dict[str, Any]:
        return {"_content": self._content, "_booster": None, "_threads": 0}


def fit_xgboost(
    params: Params, context: FitContext, train: Rows, valid: Rows | None
) -> XGBoostModel:
    """Fit one model, stopped early on the validation loss; see ``FitModel``."""
    booster, best = _boost(params, train, valid, context)
    return XGBoostModel(bytes(booster[:best].save_raw("ubj")))


def library_params(params: Params, context: FitContext) -> dict[str, Any]:
    """Return the parameters that XGBoost is given.

    Parameters
    ----------
    params : mapping
        A point of `space`; ``categories`` concerns the encoders only.
    context : FitContext
        Task, number of classes, seed and threads.
    """
    head = head_of(context)
    settings = {name: value for name, value in params.items() if name != "categories"}
    if head is Head.SOFTMAX:
        settings["num_class"] = context.n_classes
    return {
        **_OBJECTIVES[head],
        **settings,
        "tree_method": "hist",
        "max_cat_to_onehot": 8,
        "seed": context.seed % 2**31,
        "nthread": context.n_threads,
        "verbosity": 0,
    }


def _boost(
    params: Params, train: Rows, valid: Rows | None, context: FitContext
) -> tuple[Booster, int]:
    """Return the booster and the number of its iterations to keep."""
    import xgboost

    data = _binned(train, context, None)
    held_out = None if valid is None else _binned(valid, context, data)
    booster = xgboost.Booster(library_params(params, context), [data])
    pace = Pace(
        rate=params["learning_rate"],
        n_rows=len(train.y),
        distance=_distance(len(train.y)),
        deadline=context.deadline,
    )
    while True:
        booster.update(data, pace.iterations)
        loss = None
        if held_out is not None:
            # The answer is a line such as "[12]  valid-logloss:0.3401".
            loss = float(booster.eval(held_out, "valid").rsplit(":", 1)[1])
        if not pace.after(loss):
            return booster, pace.best
        if pace.raised:
            booster.set_param({"learning_rate": pace.rate})


def _distance(n_rows: int) -> float:
    # Measured: its deeper trees went half as far as LightGBM's of 31 leaves.
    return 0.5 * travel(n_rows)


def _binned(rows: Rows, context: FitContext, reference: Any) -> Any:
    import xgboost

    return xgboost.QuantileDMatrix(
        rows.X.values,
        rows.y,
        weight=rows.weight,
        feature_types=["c" if k else "q" for k in rows.X.cardinalities],
        enable_categorical=True,
        nthread=context.n_threads,
        ref=reference,
    )


def _restore(content: bytes) -> Booster:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    return booster


# --------------------------------------------------------------------------- spec


def _encoders(params: Params) -> tuple[str, ...]:
    if params["categories"] == "target":
        return ("numbers", "target", "counts", "calendar", "ngrams", "words")
    return ("numbers", "codes", "calendar", "ngrams", "words")


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw hyperparameters: ranges that hold the portfolio, logarithmic where they are wide."""
    return {
        "categories": suggest.choice("categories", ("native", "target")),
        "learning_rate": suggest.real("learning_rate", 0.01, 0.2, log=True),
        "max_depth": suggest.integer("max_depth", 3, 10),
        "min_child_weight": suggest.real("min_child_weight", 0.01, 20.0, log=True),
        "subsample": suggest.real("subsample", 0.5, 1.0),
        "colsample_bylevel": suggest.real("colsample_bylevel", 0.4, 1.0),
        "reg_alpha": suggest.real("reg_alpha", 0.0, 2.0),
        "reg_lambda": suggest.real("reg_lambda", 0.0, 4.0),
    }


def cost(shape: Shape, params: Params) -> Cost:
    """Predict the cost of one fold.

    Seconds of an iteration were measured on one core of a 2-core cloud machine, for 1,000 to
    24,000 rows, 10 and 30 features, 2 to 20 classes and depths 5 and 8.
    """
    depth = params["max_depth"]
    leaves = min(2.0**depth, shape.n_rows / 20)
    per_tree = 6e-4 + shape.n_features * (2e-6 * leaves + 1e-9 * shape.n_rows * depth)
    trees = expected_iterations(params["learning_rate"], _distance(shape.n_rows), shape.n_rows) * (
        shape.n_classes if shape.n_classes > 2 else 1
    )
    return Cost(seconds=trees * per_tree, bytes=trees * leaves * 60)


def _point(
    rate: float, depth: int, child: float, fractions: tuple[float, float], categories: str
) -> dict[str, Any]:
    return {
        "categories": categories,
        "learning_rate": rate,
        "max_depth": depth,
        "min_child_weight": child,
        "subsample": fractions[0],
        "colsample_bylevel": fractions[1],
        "reg_alpha": 0.0,
        # Measured at depth 8 on two folds of eight tables: better on each than the 0 of the source.
        "reg_lambda": 1.0,
    }


SPEC = LearnerSpec(
    name="xgboost",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=_encoders,
    build=partial(BoostedLearner, fit_xgboost),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params=_point(0.06, 8, 0.5, (0.65, 0.9), "native"), merit=0.80),
        Configuration(params=_point(0.06, 6, 1.0, (0.8, 0.6), "target"), merit=0.45),
    ),
    requires=("xgboost",),
    extra="boosting",
)
