"""Fewer leaves: the splits that change predictions least are taken back.

Breiman, Friedman, Olshen and Stone (1984), "Classification and regression trees", chapter 3:
cost-complexity pruning. The cost is what the forest's own scores change by, in squares weighted
by the curvature of the loss; one price of a leaf holds for all trees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec
from automl_fuse_compress.common import (
    MAX_RANK,
    Chain,
    EditedLearner,
    RankedEdit,
    for_each_rank,
    forest_of,
)
from automl_fuse_compress.imitation import ROWS, goal_of, refitted
from automl_fuse_compress.prune_trees import KeepTrees
from automl_fuse_compress.quantise_trees import BITS, UNNOTICED, RoundLeaves
from automl_fuse_compress.trees import Leaves, collapsed, groups_of, levels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from automl_fuse.specs import (
        Compressor,
        Floats,
        Forest,
        FusionContext,
        Learner,
        Params,
        Rows,
        Suggest,
    )
    from automl_fuse_compress.imitation import Goal

_UNSEEN: Final = 1e-3
"""Rows that every leaf is taken to hold besides those that reach it."""
_HALVINGS: Final = 60
"""Of the interval that the price of a leaf is looked for in."""
_ALL_TREES: Final = 0.95
"""Share of trees from which none is left out."""
_TRUTH: Final = 0.2
"""How far trees are chosen by the target."""


@dataclass(frozen=True)
class KeepLeaves:
    """Keeps a share of the leaves of a fitted learner.

    Attributes
    ----------
    share : float
        Of the leaves, in (0, 1).
    rows : {"auto", "own", "shuffled", "both"}
        Rows that the forest is asked about: see ``imitation.ROWS``.
    seed : int
        Of the draw of rows.
    """

    share: float
    rows: str
    seed: int

    def __call__(self, learner: Learner, train: Rows) -> EditedLearner:
        """Return the smaller learner.

        Raises
        ------
        PluginError
            If the learner has no splits.
        """
        model = forest_of(learner)
        if not len(model.forest.feature):
            raise PluginError(f"{type(learner).__name__} has no splits to take back")
        goal = goal_of(model, train, self.rows, self.seed)
        pruner = _Pruner(model.forest, goal)
        cut = pruner.cut(max(model.forest.n_trees, int(self.share * len(model.forest.leaf))))
        smaller, cover = collapsed(model.forest, cut, pruner.means[cut])
        reached = cover[goal.reached].astype(np.int32)
        trees = np.arange(smaller.n_trees)
        fitted = refitted(smaller, Leaves.of(smaller), replace(goal, reached=reached), trees)
        return EditedLearner(replace(model, forest=fitted.take(trees)))


class _Pruner:
    """Knows what it costs to make a leaf of a node.

    Attributes
    ----------
    means : array of shape (n_nodes, n_values)
        Weighted mean of the leaf values below each node.
    """

    def __init__(self, forest: Forest, goal: Goal) -> None:
        self._forest = forest
        self._levels = levels_of(forest)
        weight = _leaf_weights(forest, goal)
        n_nodes, shape = len(forest.feature), forest.leaf.shape
        # Sums over leaves of the weights, of values and of their squares; leaves come last,
        # in reverse, so that a child is its own index.
        sums = np.zeros((3, n_nodes + shape[0], shape[1]))
        sums[:, n_nodes:] = (weight * forest.leaf ** np.arange(3)[:, None, None])[:, ::-1]
        for nodes in reversed(self._levels):
            sums[:, nodes] = sums[:, forest.true[nodes]] + sums[:, forest.false[nodes]]
        mass, first, second = sums[:, :n_nodes]
        self.means: Floats = first / mass
        self._losses = np.maximum(second - first * self.means, 0.0).sum(axis=1)

    def cut(self, n_leaves: int) -> NDArray[np.intp]:
        """Return the nodes to make leaves of, so that so many leaves are left, or a few less."""
        low, high = 0.0, float(self._losses.max()) + 1.0
        for _ in range(_HALVINGS):
            price = 0.5 * (low + high)
            if self._at_price(price)[1] > n_leaves:
                low = price
            else:
                high = price
        return self._at_price(high)[0]

    def _at_price(self, price: float) -> tuple[NDArray[np.intp], int]:
        """Return the nodes that are cheaper as leaves at a price of each, and the leaves left."""
        forest, n_nodes = self._forest, len(self._losses)
        size = n_nodes + len(forest.leaf)
        cost, leaves = np.full(size, price), np.ones(size, dtype=np.int64)
        is_cut = np.zeros(n_nodes, dtype=bool)
        for nodes in reversed(self._levels):
            true, false = forest.true[nodes], forest.false[nodes]
            split, alone = cost[true] + cost[false], self._losses[nodes] + price
            is_cut[nodes] = alone <= split
            cost[nodes] = np.minimum(alone, split)
            leaves[nodes] = np.where(is_cut[nodes], 1, leaves[true] + leaves[false])
        return np.flatnonzero(is_cut), int(leaves[forest.roots].sum())


def _leaf_weights(forest: Forest, goal: Goal) -> Floats:
    """Return the weight of the rows in each leaf, (n_leaves, n_values)."""
    weight = np.full(forest.leaf.shape, _UNSEEN * float(goal.weight.mean()))
    for group in groups_of(forest):
        for column, target in enumerate(group.targets):
            for tree in group.trees:
                weight[:, column] += np.bincount(
                    goal.reached[:, tree], goal.weight[:, target], len(weight)
                )
    return weight


def _build(params: Params, context: FusionContext) -> Compressor:
    """Leave out some of the trees, unless a point keeps all, then leaves; round the others."""
    trees, share, rows, bits = (params[name] for name in ("trees", "share", "rows", "bits"))
    edits: list[Callable[[Learner, Rows], Learner]] = []
    if trees < _ALL_TREES:
        edits.append(KeepTrees(trees, "auto", _TRUTH, rows, context.seed))
    edits.append(KeepLeaves(share, rows, context.seed))
    return RankedEdit(
        rank=params["rank"],
        form="forest",
        label=f"{trees:.3g}_{share:.3g}_{rows}_{bits}",
        edit=Chain((*edits, RoundLeaves(bits))),
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, shares of trees and leaves, rows to ask about, and rounding."""
    return {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "trees": suggest.real("trees", 0.1, 1.0),
        "share": suggest.real("share", 0.02, 0.6, log=True),
        "rows": suggest.choice("rows", ROWS),
        "bits": suggest.choice("bits", BITS),
    }


_POINTS = (
    (0.80, {"trees": 0.25, "share": 0.4, "rows": "auto", "bits": UNNOTICED}),
    (0.70, {"trees": 1.0, "share": 0.25, "rows": "auto", "bits": UNNOTICED}),
    (0.60, {"trees": 0.5, "share": 0.1, "rows": "shuffled", "bits": UNNOTICED}),
)

SPEC = CompressorSpec(
    name="prune_leaves",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=for_each_rank(_POINTS),
)
