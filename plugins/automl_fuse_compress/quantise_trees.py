"""Forests of few distinct leaf values: leaves that are equal are stored once.

A leaf value takes eight bytes in a file whatever it is, so rounding it saves nothing by itself.
It makes leaves equal: those beside each other are merged with their split, the others share one
entry. Thresholds stay: moving them to a grid cost much and saved nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Link
from automl_fuse_compress.common import (
    MAX_RANK,
    EditedLearner,
    EditedPair,
    RankedEdit,
    for_each_rank,
    forest_of,
)
from automl_fuse_compress.trees import collapsed, levels_of, second_only

if TYPE_CHECKING:
    from automl_fuse.specs import (
        Compressor,
        Forest,
        FusionContext,
        Learner,
        Params,
        Rows,
        Suggest,
    )

BITS: Final = (6, 8, 10, 12)
"""Of a leaf value."""
UNNOTICED: Final = 12
"""Bits with which no loss was measured."""


@dataclass(frozen=True)
class RoundLeaves:
    """Rounds the leaf values of a fitted learner to evenly spaced ones.

    Attributes
    ----------
    bits : int
        There are ``2 ** bits`` values for each target.
    """

    bits: int = UNNOTICED

    def __call__(self, learner: Learner, train: Rows) -> EditedLearner:  # noqa: ARG002 - contract
        """Return the learner with rounded leaves, those beside each other merged where equal.

        Raises
        ------
        PluginError
            If the learner has no trees.
        """
        model = forest_of(learner)
        second = second_only(model.forest) if model.link is Link.IDENTITY else None
        forest = merged(_rounded(model.forest if second is None else second, self.bits))
        kind = EditedLearner if second is None else EditedPair
        return kind(replace(model, forest=forest))


def _rounded(forest: Forest, bits: int) -> Forest:
    low, high = forest.leaf.min(axis=0), forest.leaf.max(axis=0)
    step = np.where(high > low, (high - low) / (2**bits - 1), 1.0)
    rounded = low + step * np.rint((forest.leaf - low) / step)
    # A table of leaves is written in single precision where that is exact.
    return replace(forest, leaf=rounded.astype(np.float32).astype(np.float64))


def merged(forest: Forest) -> Forest:
    """Return a forest without splits whose two sides say the same."""
    n_nodes = len(forest.feature)
    # What all leaves below a node are equal to: a leaf's number, or -1 where they differ.
    _, number = np.unique(forest.leaf, axis=0, return_inverse=True)
    says = np.concatenate([np.full(n_nodes, -1), number.ravel()[::-1]])
    example = np.concatenate([np.full(n_nodes, -1), np.arange(len(forest.leaf))[::-1]])
    for nodes in reversed(levels_of(forest)):
        true, false = forest.true[nodes], forest.false[nodes]
        same = (says[true] == says[false]) & (says[true] >= 0)
        says[nodes] = np.where(same, says[true], -1)
        example[nodes] = example[true]
    cut = np.flatnonzero(says[:n_nodes] >= 0)
    smaller, _ = collapsed(forest, cut, forest.leaf[example[cut]])
    return smaller.take(np.arange(forest.n_trees))


def _build(params: Params, _context: FusionContext) -> Compressor:
    """Round the leaf values."""
    bits = params["bits"]
    return RankedEdit(
        rank=params["rank"], form="forest", label=f"{bits}_bits", edit=RoundLeaves(bits)
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, and the bits of a leaf value."""
    return {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "bits": suggest.choice("bits", BITS),
    }


SPEC = CompressorSpec(
    name="quantise_trees",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=for_each_rank(((0.4, {"bits": UNNOTICED}), (0.3, {"bits": 8}))),
)
