"""Hard voting: each member has one vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import CLASSIFICATION, Configuration, FusionSpec
from automl_fuse_fusion.averaging import rank_weights
from automl_fuse_fusion.common import order_by_loss, without_context

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, FusionContext, Params, Suggest


class HardVoting:
    """The share of votes as probability.

    Parameters
    ----------
    params : mapping
        ``k``: how many of the best members vote, 0 for all. ``smoothing``: votes spread
        evenly over the classes, so that no probability is 0.
    context : FusionContext
        What the fusion is told.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._k = int(params.get("k", 0))
        self._smoothing = float(params.get("smoothing", 1.0))
        self._context = context
        self.weights: Floats = np.empty(0)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Choose who votes from OOF predictions (n_members, n_rows, n_classes)."""
        order, _ = order_by_loss(oof, y, weight, self._context)
        self.weights = np.empty(len(oof))
        self.weights[order] = rank_weights(oof, y, weight, k=self._k, power=0.0)

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_classes) from (n_members, n_rows, n_classes)."""
        voters = np.flatnonzero(self.weights)
        n_rows, n_classes = predictions.shape[1:]
        votes = np.full((n_rows, n_classes), self._smoothing / n_classes)
        rows = np.arange(n_rows)
        for member in voters:
            votes[rows, predictions[member].argmax(axis=1)] += 1
        return votes / (len(voters) + self._smoothing)

    def __getstate__(self) -> dict[str, Any]:
        return without_context(self)


def _space(suggest: Suggest) -> dict[str, Any]:
    return {
        "k": suggest.integer("k", 0, 15),
        "smoothing": suggest.real("smoothing", 0.1, 5.0, log=True),
    }


SPEC = FusionSpec(
    name="hard_voting",
    api_version=1,
    tasks=CLASSIFICATION,
    build=HardVoting,
    space=_space,
    portfolio=(Configuration(params={"k": 0, "smoothing": 1.0}, merit=0.2),),
)
