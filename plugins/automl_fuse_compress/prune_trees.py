"""Fewer trees: a lasso over the trees of a forest, then new values for the leaves that stay.

Friedman and Popescu (2003), "Importance sampled learning ensembles", section 3: the members of
an ensemble get weights under an L1 penalty, and most get none. Ren, Cao, Wei and Sun (2015),
"Global refinement of random forest": the leaves that stay are fitted anew, together.
"""

from __future__ import annotations

import math
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
from automl_fuse_compress.imitation import ROWS, goal_of, is_averaged, refitted
from automl_fuse_compress.lasso import sparse_weights
from automl_fuse_compress.quantise_trees import RoundLeaves
from automl_fuse_compress.trees import Leaves, groups_of

if TYPE_CHECKING:
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
    from automl_fuse_compress.trees import Group

MAX_TREES: Final = 1_500
"""Trees of one target among which the lasso chooses: those whose values vary most."""
CHOICES: Final = ("auto", "lasso", "first")
_CELLS: Final = 5_000_000
"""Rows times trees that the lasso looks at, at most."""


@dataclass(frozen=True)
class _Chosen:
    """Which trees stay.

    Attributes
    ----------
    weights : array of shape (n_trees + 1,)
        What leaf values of each are multiplied by, 0 where it goes; and of no tree.
    base : array of shape (n_targets,)
        Added to the sums.
    """

    weights: Floats
    base: Floats


@dataclass(frozen=True)
class KeepTrees:
    """Keeps a share of the trees of a fitted learner.

    Attributes
    ----------
    share : float
        Of the trees, in (0, 1).
    choice : {"auto", "lasso", "first"}
        The lasso's trees, or the first ones. ``auto`` takes the first of averaged trees, which
        are all alike, and the lasso's of boosted ones.
    truth : float
        How far the lasso goes by the target, and not by the forest's own scores, in [0, 1].
    rows : {"auto", "own", "shuffled", "both"}
        Rows that the forest is asked about: see ``imitation.ROWS``.
    seed : int
        Of the draw of rows.
    """

    share: float
    choice: str
    truth: float
    rows: str
    seed: int

    def __call__(self, learner: Learner, train: Rows) -> EditedLearner:
        """Return the smaller learner.

        Raises
        ------
        PluginError
            If the learner has fewer than two trees.
        """
        model = forest_of(learner)
        if model.forest.n_trees < 2:
            raise PluginError(
                f"{type(learner).__name__} has {model.forest.n_trees} trees: none can be spared"
            )
        goal = goal_of(model, train, self.rows, self.seed)
        leaves = Leaves.of(model.forest)
        averaged = is_averaged(model)
        if self.choice == "lasso" or (self.choice == "auto" and not averaged):
            chosen = self._best(model.forest, goal)
        else:
            chosen = self._first(model.forest, averaged=averaged)
        leaf = model.forest.leaf * chosen.weights[leaves.tree, None]
        weighted = replace(model.forest, leaf=leaf, base=chosen.base)
        kept = np.flatnonzero(chosen.weights)
        smaller = refitted(weighted, leaves, goal, kept).take(kept)
        return EditedLearner(replace(model, forest=smaller))

    def _count(self, group: Group) -> int:
        return max(1, math.floor(self.share * len(group.trees)))

    def _first(self, forest: Forest, *, averaged: bool) -> _Chosen:
        """Choose the first trees; where trees are averaged they count for all others."""
        weights = np.zeros(forest.n_trees + 1)
        for group in groups_of(forest):
            count = self._count(group)
            weights[group.trees[:count]] = len(group.trees) / count if averaged else 1.0
        return _Chosen(weights, forest.base)

    def _best(self, forest: Forest, goal: Goal) -> _Chosen:
        """Choose the trees that the lasso keeps."""
        weights, base = np.zeros(forest.n_trees + 1), forest.base.copy()
        for group in groups_of(forest):
            kept, weights[kept], base[group.targets] = self._lasso(forest, group, goal)
        return _Chosen(weights, base)

    def _lasso(
        self, forest: Forest, group: Group, goal: Goal
    ) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Choose trees of a group; return them, their weights, and the bases of its targets."""
        step = math.ceil(len(goal.scores) * len(group.trees) / _CELLS)
        reached = goal.reached[::step, group.trees]
        scores = (goal.scores + self.truth * goal.step)[::step, group.targets]
        weight = goal.weight[::step, group.targets]
        some = _most_varied(forest, reached)
        gram, moment = np.zeros((len(some), len(some))), np.zeros(len(some))
        means = np.empty((len(group.targets), len(some)))
        for column in range(len(group.targets)):
            outputs = forest.leaf[reached[:, some], column]
            means[column] = np.average(outputs, axis=0, weights=weight[:, column])
            root = np.sqrt(weight[:, column])
            outputs = (outputs - means[column]) * root[:, None]
            centre = np.average(scores[:, column], weights=weight[:, column])
            gram += outputs.T @ outputs
            moment += outputs.T @ ((scores[:, column] - centre) * root)
        chosen, weights = sparse_weights(gram, moment, self._count(group))
        centres = np.average(scores, axis=0, weights=weight)
        return group.trees[some[chosen]], weights, centres - means[:, chosen] @ weights


def _most_varied(forest: Forest, reached: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the trees, at most ``MAX_TREES``, whose values vary most over the rows."""
    n_trees = reached.shape[1]
    if n_trees <= MAX_TREES:
        return np.arange(n_trees)
    columns = range(forest.leaf.shape[1])
    spread = np.sum([forest.leaf[reached, column].var(axis=0) for column in columns], axis=0)
    return np.sort(np.argsort(-spread, kind="stable")[:MAX_TREES])


def _build(params: Params, context: FusionContext) -> Compressor:
    """Leave out some of the trees, then round the leaves of the others."""
    share, choice, truth, rows = (params[name] for name in ("share", "choice", "truth", "rows"))
    return RankedEdit(
        rank=params["rank"],
        form="forest",
        label=f"{share:.3g}_{choice}_{truth:.2g}_{rows}",
        edit=Chain((KeepTrees(share, choice, truth, rows, context.seed), RoundLeaves())),
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, a share of its trees, and how they are chosen."""
    return {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "share": suggest.real("share", 0.02, 0.6, log=True),
        "choice": suggest.choice("choice", CHOICES),
        "truth": suggest.real("truth", 0.0, 0.5),
        "rows": suggest.choice("rows", ROWS),
    }


_POINTS = (
    (0.85, {"share": 0.25, "choice": "auto", "truth": 0.2, "rows": "auto"}),
    (0.75, {"share": 0.1, "choice": "auto", "truth": 0.2, "rows": "auto"}),
    (0.60, {"share": 0.2, "choice": "lasso", "truth": 0.0, "rows": "shuffled"}),
    (0.50, {"share": 0.5, "choice": "auto", "truth": 0.2, "rows": "auto"}),
)

SPEC = CompressorSpec(
    name="prune_trees",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=for_each_rank(_POINTS),
)
