"""Users and items, or other pairs of categories: Bayesian matrix factorisation.

Predictions are means over the draws of a Gibbs sampler (``gibbs``, ``vectors``). They are kept as
one product of two thin matrices, so that what predicts is two lookups, however long was sampled.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import (
    Column,
    Configuration,
    Cost,
    FitContext,
    Floats,
    Kind,
    LearnerSpec,
    Matrix,
    Params,
    Rows,
    Shape,
    Suggest,
    Task,
)
from automl_fuse_sklearn.common import ModelLearner, Scaler, limited, weights_of
from automl_fuse_sklearn.factor_model import FactorModel, Lookup, slots
from automl_fuse_sklearn.gibbs import Categories, Effects, Line, sample
from automl_fuse_sklearn.vectors import Products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse_sklearn.gibbs import Component

ENCODERS: Final = ("scaled_numbers", "all_codes", "cyclic_calendar")
_LEVELS: Final = 30
"""Levels from which a category may be a user or an item."""
_LEVELS_A_ROOT: Final = 10.0
"""Users and items, in roots of the number of rows: a guess, as a shape does not tell it."""


def fit_factorisation(
    params: Params, context: FitContext, train: Rows, _valid: Rows | None
) -> FactorModel:
    """Sample the parts of the target, and keep their means.

    The two categories of most levels have vectors, as users and items; other categories have an
    effect for each level, numbers a slope.
    """
    X, weight, rng = train.X, weights_of(train), np.random.default_rng(context.seed)
    pair, others = _pair_and_others(X)
    numbers = np.flatnonzero(np.equal(X.cardinalities, 0))
    plain = Matrix.numbers(X.values[:, numbers], [X.names[j] for j in numbers])
    scaler = Scaler.fitted(Rows(X=plain, y=train.y, weight=train.weight))
    with limited(context.n_threads):
        line = Line(scaler.transform(plain.values), weight)
        effects = [Effects(_categories(X, j), weight) for j in others]
        products: list[Products] = []
        if pair:
            first, second = (_categories(X, j) for j in pair)
            rank, history = int(params["rank"]), int(params["history"])
            products = [Products(first, second, weight, rank=rank, history=history, rng=rng)]
        components: list[Component] = [line, *effects, *products]
        sample(train.y, weight, components, int(params["sweeps"]), context.deadline, rng)
    factors = [factor for product in products for factor in product.factors()]
    variance = 1.0 + sum(product.variance for product in products)
    return FactorModel(
        numbers=numbers,
        scaler=scaler,
        line=line.mean(),
        effects=tuple(
            _lookup(j, effect.mean()[:, None]) for j, effect in zip(others, effects, strict=True)
        ),
        pair=tuple(_lookup(j, factor) for j, factor in zip(pair, factors, strict=True)),
        deviation=math.sqrt(variance) if context.task.is_classification else None,
    )


def _categories(X: Matrix, feature: int) -> Categories:
    """Return the categories of rows, the first of which is missing or unseen."""
    n_levels = X.cardinalities[feature] + 1
    return Categories(slots(X.values[:, feature], n_levels), n_levels)


def _pair_and_others(X: Matrix) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the two categories of most levels, if there are two, and the others."""
    if len(X.categorical) < 2:
        return (), X.categorical
    ordered = sorted(X.categorical, key=lambda j: -X.cardinalities[j])
    return tuple(sorted(ordered[:2])), tuple(sorted(ordered[2:]))


def _lookup(feature: int, table: Floats) -> Lookup:
    return Lookup(feature, table.astype(np.float32))


def cost(shape: Shape, params: Params) -> Cost:
    """Predict seconds and bytes.

    Fitted to CPU times of 4,000 … 64,000 rows of MovieLens 100k, ranks 4 … 32 and histories
    0 … 1,024 on one core of a busy 2-core cloud machine.
    """
    rank, levels = params["rank"], _LEVELS_A_ROOT * math.sqrt(shape.n_rows)
    told = min(params["history"], levels)
    sweep = shape.n_rows * (7e-8 + 1e-9 * rank**2 + 4e-9 * shape.n_features)
    sweep += levels * (3e-6 + 2.6e-8 * rank**2) + 1.4e-9 * rank * told**2
    seconds = 0.05 + 2e-10 * told**3 + params["sweeps"] * sweep
    return Cost(seconds=seconds, bytes=4.0 * levels * max(2 * rank, 16) + 2000.0)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw the length of vectors, how much history tells, and the draws."""
    return {
        "rank": suggest.choice("rank", (4, 8, 16, 32)),
        "history": suggest.choice("history", (0, 256, 512, 1024)),
        "sweeps": suggest.choice("sweeps", (60, 120, 240)),
    }


def misfit(columns: Sequence[Column]) -> str:
    """Return why a table has no users and items."""
    large = [c for c in columns if c.kind is Kind.CATEGORY and len(c.categories) >= _LEVELS]
    if len(large) < 2:
        return f"it needs two columns of {_LEVELS} categories or more, such as users and items"
    return ""


BAYESIAN_FACTORISATION = LearnerSpec(
    name="bayesian_factorisation",
    api_version=1,
    tasks=frozenset({Task.BINARY, Task.REGRESSION}),
    encoders=ENCODERS,
    build=partial(ModelLearner, fit_factorisation),
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"rank": 8, "history": 512, "sweeps": 120}, merit=0.97),
        Configuration(params={"rank": 16, "history": 512, "sweeps": 120}, merit=0.93),
    ),
    requires=("scipy.sparse", "scipy.special"),
    misfit=misfit,
)
