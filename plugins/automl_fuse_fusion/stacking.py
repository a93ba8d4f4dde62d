"""Stacking: a regularised linear model of the members' log-probabilities or values.

Wolpert 1992, "Stacked generalization", with a meta-learner of one coefficient a member and one
intercept a class: class score = intercept + sum(coefficient * log p), normalised over the
classes. In a binary task this is logistic regression on logits, in regression ridge. It is
shrunk toward equal coefficients of sum 1 instead of toward 0, so that strong regularisation
ends in a (geometric) mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, Configuration, FusionSpec
from automl_fuse_fusion.common import (
    joined,
    mass_of,
    order_by_loss,
    weighted_sum,
    without_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs import Array, Floats, FusionContext, Graph, Params, Suggest, Tensor

FLOOR: Final = 1e-6
"""Probabilities below it count as this, so that one overconfident member cannot rule."""
_ITERATIONS: Final = 100


class Stacking:
    """A linear meta-learner.

    Parameters
    ----------
    params : mapping
        ``l2``: strength of the regularisation. ``nonnegative``: whether coefficients may not
        be negative.
    context : FusionContext
        What the fusion is told; its deadline ends the iterations.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._l2 = float(params.get("l2", 0.01))
        self._nonnegative = bool(params.get("nonnegative", True))
        self._context = context
        self._is_classification = context.task.is_classification
        self._coefficients: Floats = np.empty(0)
        self._intercepts: Floats = np.empty(0)
        self.weights: Floats = np.empty(0)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Fit coefficients on OOF predictions (n_members, n_rows, n_outputs)."""
        order, _ = order_by_loss(oof, y, weight, self._context)
        scores = self._scores(oof[order])
        mass = mass_of(weight, len(y))
        if self._is_classification:
            codes = y.astype(np.intp)
            found = self._minimise(
                lambda x: _log_loss(x, scores, codes, mass, self._l2), oof.shape[2], len(oof)
            )
        else:
            # In units of the target's spread, in which one ``l2`` means the same everywhere.
            centre = float(mass @ y)
            scale = float(np.sqrt(mass @ (y - centre) ** 2)) or 1.0
            values, target = (scores[:, :, 0] - centre) / scale, (y - centre) / scale
            found = self._minimise(
                lambda x: _squared_error(x, values, target, mass, self._l2), 1, len(oof)
            )
            found[-1] = centre + scale * found[-1] - centre * found[: len(oof)].sum()
        self._coefficients = np.empty(len(oof))
        self._coefficients[order] = found[: len(oof)]
        self._intercepts = found[len(oof) :]
        self.weights = _shares(self._coefficients)

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_outputs) from (n_members, n_rows, n_outputs)."""
        scores = weighted_sum(self._coefficients, self._scores(predictions)) + self._intercepts
        return _softmax(scores) if self._is_classification else scores

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Write ``combine`` into a graph; predictions (n_rows, n_outputs), one a member."""
        # Where no member counts, one of them still says how many rows there are.
        used = np.flatnonzero(self._coefficients).tolist() or [0]
        n_outputs = len(self._intercepts)
        scores = joined(graph, [predictions[member] for member in used])
        if self._is_classification:
            floor = graph.constant(np.array(FLOOR))
            scores = graph.node("Log", [graph.node("Max", [scores, floor])])
        factors = graph.constant(np.repeat(self._coefficients[used], n_outputs))
        terms: Sequence[Tensor] = [graph.node("Mul", [scores, factors])]
        if len(used) > 1:
            parts = {"axis": 1, "num_outputs": len(used)}
            terms = graph.nodes("Split", terms, len(used), parts)
        total = graph.node("Sum", [*terms, graph.constant(self._intercepts)])
        return graph.node("Softmax", [total], {"axis": 1}) if self._is_classification else total

    def _scores(self, predictions: Floats) -> Floats:
        return np.log(np.maximum(predictions, FLOOR)) if self._is_classification else predictions

    def _minimise(
        self,
        objective: Callable[[Floats], tuple[float, Floats]],
        n_intercepts: int,
        n_members: int,
    ) -> Floats:
        from scipy.optimize import minimize

        deadline = self._context.deadline

        def stop_in_time(_point: Floats) -> None:
            if deadline.expired():
                raise StopIteration

        lowest = 0.0 if self._nonnegative else None
        result = minimize(
            objective,
            np.r_[np.full(n_members, 1 / n_members), np.zeros(n_intercepts)],
            jac=True,
            method="L-BFGS-B",
            bounds=[(lowest, None)] * n_members + [(None, None)] * n_intercepts,
            callback=stop_in_time,
            options={"maxiter": _ITERATIONS},
        )
        found: Floats = result.x
        return found

    def __getstate__(self) -> dict[str, Any]:
        return without_context(self)


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    probability: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probability


def _log_loss(
    point: Floats, scores: Floats, codes: Array, mass: Floats, l2: float
) -> tuple[float, Floats]:
    """Return the penalised log-loss and its gradient by coefficients, then intercepts."""
    n_members = len(scores)
    pull = point[:n_members] - 1 / n_members
    intercepts = point[n_members:]
    probability = _softmax(np.tensordot(point[:n_members], scores, axes=1) + intercepts)
    truth = np.arange(len(codes)), codes
    loss = float(-mass @ np.log(np.maximum(probability[truth], 1e-300)))
    probability[truth] -= 1
    residual = probability * mass[:, None]
    slope = np.r_[
        np.tensordot(scores, residual, axes=2) + l2 * pull,
        residual.sum(axis=0) + l2 * intercepts,
    ]
    return loss + l2 / 2 * float(pull @ pull + intercepts @ intercepts), slope


def _squared_error(
    point: Floats, values: Floats, target: Floats, mass: Floats, l2: float
) -> tuple[float, Floats]:
    """Return half the penalised squared error and its gradient, as ``_log_loss`` does."""
    n_members = len(values)
    pull = point[:n_members] - 1 / n_members
    residual = point[:n_members] @ values + point[n_members] - target
    slope = np.r_[values @ (mass * residual) + l2 * pull, mass @ residual]
    return float(mass @ residual**2 + l2 * pull @ pull) / 2, slope


def _shares(coefficients: Floats) -> Floats:
    size = np.abs(coefficients)
    if size.sum() == 0:
        return np.full(len(size), 1 / len(size))
    shares: Floats = size / size.sum()
    return shares


def _space(suggest: Suggest) -> dict[str, Any]:
    return {
        "l2": suggest.real("l2", 1e-4, 10.0, log=True),
        "nonnegative": suggest.choice("nonnegative", (True, False)),
    }


SPEC = FusionSpec(
    name="stacking",
    api_version=1,
    tasks=ALL_TASKS,
    build=Stacking,
    space=_space,
    portfolio=(
        Configuration(params={"l2": 0.01, "nonnegative": True}, merit=0.6),
        Configuration(params={"l2": 0.1, "nonnegative": False}, merit=0.3),
    ),
    min_rows=5_000,
)
