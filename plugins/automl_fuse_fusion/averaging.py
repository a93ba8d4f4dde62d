"""Means of the best members: uniform, or falling with the rank of their loss."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import ALL_TASKS, CLASSIFICATION, Configuration, FusionSpec
from automl_fuse_fusion.common import WeightedMean

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Fusion, FusionContext, Params, Suggest


def rank_weights(oof: Floats, _y: Array, _weight: Floats | None, *, k: int, power: float) -> Floats:
    """Return weights ∝ rank^-power of the k best members, 0 of the others.

    Parameters
    ----------
    oof : array of shape (n_members, n_rows, n_outputs)
        Predictions of members ordered by rising loss.
    k : int
        Members to use; 0 for all.
    power : float
        0 for equal weights.
    """
    n_members = len(oof)
    kept = min(k, n_members) if k > 0 else n_members
    weights = np.zeros(n_members)
    weights[:kept] = np.arange(1.0, kept + 1) ** -power
    weights /= weights.sum()
    return weights


def _build_average(params: Params, context: FusionContext) -> Fusion:
    k = int(params.get("k", 0))
    return WeightedMean(partial(rank_weights, k=k, power=0.0), context)


def _average_space(suggest: Suggest) -> dict[str, Any]:
    return {"k": suggest.integer("k", 0, 12)}


def _build_soft_voting(params: Params, context: FusionContext) -> Fusion:
    k, power = int(params.get("k", 0)), float(params.get("power", 1.0))
    return WeightedMean(partial(rank_weights, k=k, power=power), context)


def _soft_voting_space(suggest: Suggest) -> dict[str, Any]:
    return {"k": suggest.integer("k", 0, 12), "power": suggest.real("power", 0.0, 2.0)}


AVERAGE = FusionSpec(
    name="average",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build_average,
    space=_average_space,
    portfolio=(
        Configuration(params={"k": 5}, merit=0.5),
        Configuration(params={"k": 0}, merit=0.45),
        Configuration(params={"k": 1}, merit=0.25),
    ),
)

SOFT_VOTING = FusionSpec(
    name="soft_voting",
    api_version=1,
    tasks=CLASSIFICATION,
    build=_build_soft_voting,
    space=_soft_voting_space,
    portfolio=(
        Configuration(params={"k": 8, "power": 1.0}, merit=0.4),
        Configuration(params={"k": 0, "power": 1.0}, merit=0.3),
    ),
)
