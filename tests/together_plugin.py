"""A plugin whose learner solves many ridge regressions as one stack of equations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse import hookimpl
from automl_fuse.specs import REGRESSION, Configuration, Cost, FitTogether, LearnerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Fit, Floats, Matrix, Params, Rows, Shape

SIZE = 5
"""Models at the same time."""
TOGETHER: list[list[tuple[int, float]]] = []
"""Of each fit together, the training rows and the penalty of its models."""
SHARED: list[int] = []
"""Of each fit together, how many different training rows it was given."""
TROUBLE = {"together": False, "rows": -1, "penalty": -1.0}
"""What raises: every fit together; fits of so many training rows; of such a penalty."""


class Ridge:
    """A line, or a parabola in each feature, whose weights are held small."""

    def __init__(self, params: Params, context: Any) -> None:
        self.params = dict(params)
        self.weights: Floats = np.empty(0)

    def fit(self, train: Rows, valid: Rows | None) -> None:
        solve([(self, train)])

    def predict(self, X: Matrix) -> Floats:
        return self.features(X) @ self.weights

    def features(self, X: Matrix) -> Floats:
        powers = [X.values**power for power in range(1, self.params["degree"] + 1)]
        return np.hstack([np.ones((len(X.values), 1)), *powers])


def solve(parts: Sequence[tuple[Ridge, Rows]]) -> None:
    matrices, goals = [], []
    for ridge, train in parts:
        if len(train.y) == TROUBLE["rows"] or ridge.params["penalty"] == TROUBLE["penalty"]:
            raise ValueError("the poisoned one")
        weight = np.ones(len(train.y)) if train.weight is None else train.weight
        x = ridge.features(train.X)
        matrices.append((weight[:, None] * x).T @ x + ridge.params["penalty"] * np.eye(x.shape[1]))
        goals.append((weight[:, None] * x).T @ train.y[:, None])
    for (ridge, _), weights in zip(parts, np.linalg.solve(matrices, goals), strict=True):
        ridge.weights = weights


def fit_together(fits: Sequence[Fit]) -> None:
    if TROUBLE["together"]:
        raise MemoryError("too much at once")
    parts = [(fit.learner, fit.train) for fit in fits]
    TOGETHER.append([(len(train.y), ridge.params["penalty"]) for ridge, train in parts])
    SHARED.append(len({id(train) for _, train in parts}))
    solve(parts)


def space(suggest: Any) -> dict[str, Any]:
    return {
        "degree": suggest.integer("degree", 1, 2),
        "penalty": suggest.real("penalty", 0.1, 100.0, log=True),
    }


def cost(shape: Shape, params: Params) -> Cost:
    return Cost(seconds=1e-3 + 1e-6 * shape.n_rows * params["degree"], bytes=1000.0)


HOW = FitTogether(
    fit=fit_together,
    size=lambda shape, params: SIZE,
    seconds=lambda shape, params, n: 1.1 * cost(shape, params).seconds,
    agreed=lambda params: {"degree": params["degree"]},
)
SPEC = LearnerSpec(
    name="ridge_stack",
    api_version=1,
    tasks=REGRESSION,
    encoders=("scaled_numbers",),
    build=Ridge,
    cost=cost,
    space=space,
    portfolio=(
        Configuration(params={"degree": 1, "penalty": 1.0}, merit=0.9),
        Configuration(params={"degree": 2, "penalty": 10.0}, merit=0.8),
    ),
    together=HOW,
)


@hookimpl
def automl_fuse_learners() -> list[LearnerSpec]:
    return [SPEC]
