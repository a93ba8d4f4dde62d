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
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_compress.common import MAX_RANK, EditedLearner, forest_of, ranked_edit
from automl_fuse_compress.imitation import ROWS, goal_of, refitted
from automl_fuse_compress.lasso import sparse_weights
from automl_fuse_compress.trees import Leaves, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import (
        Compressor,
        Edit,
        Floats,
        Forest,
        FusionContext,
        Learner,
        Params,
        Rows,
        Suggest,
        Teacher,
    )
    from automl_fuse_compress.imitation import Goal
    from automl_fuse_compress.trees import Group

MAX_TREES: Final = 1_500
"""Trees of one target among which the lasso chooses: those whose values vary most."""
_CELLS: Final = 5_000_000
"""Rows times trees that the lasso looks at, at most."""


@dataclass(frozen=True)
class KeepTrees:
    """Keeps a share of the trees of a fitted learner.

    Attributes
    ----------
    share : float
        Of the trees, in (0, 1).
    truth : float
        How far trees are chosen by the target, and not by the forest's own scores, in [0, 1].
    rows : {"auto", "own", "shuffled", "both"}
        Rows that the forest is asked about: see ``imitation.ROWS``.
    seed : int
        Of the draw of rows.
    """

    share: float
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
        weighted, kept = self._weighted(model.forest, leaves, goal)
        smaller = refitted(weighted, leaves, goal, kept).take(kept)
        return EditedLearner(replace(model, forest=smaller))

    def _weighted(
        self, forest: Forest, leaves: Leaves, goal: Goal
    ) -> tuple[Forest, NDArray[np.intp]]:
        """Return the forest with leaf values times the weights of trees, and which are kept."""
        base, weights = forest.base.copy(), np.zeros(forest.n_trees)
        for group in groups_of(forest):
            count = max(1, math.floor(self.share * len(group.trees)))
            chosen, weights[chosen], base[group.targets] = self._choose(forest, group, goal, count)
        leaf = forest.leaf * weights[leaves.tree, None]
        return replace(forest, leaf=leaf, base=base), np.flatnonzero(weights)

    def _choose(
        self, forest: Forest, group: Group, goal: Goal, count: int
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
        chosen, weights = sparse_weights(gram, moment, count)
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


class PruneTrees:
    """Proposes to keep a share of the trees of the member of a given rank.

    Parameters
    ----------
    params : mapping
        A point of `space`.
    context : FusionContext
        Its seed draws training rows.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._rank = params["rank"]
        self._edit = KeepTrees(params["share"], params["truth"], params["rows"], context.seed)

    def propose(self, teacher: Teacher) -> Sequence[Edit]:
        """Return the edit, or none where fewer members have a share."""
        label = f"{self._edit.share:.3g}_{self._edit.truth:.2g}_{self._edit.rows}"
        return ranked_edit(teacher, self._rank, self._edit, label, "forest")


def _build(params: Params, context: FusionContext) -> Compressor:
    return PruneTrees(params, context)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a member by its rank, a share of its trees, and how they are chosen."""
    return {
        "rank": suggest.integer("rank", 0, MAX_RANK),
        "share": suggest.real("share", 0.02, 0.6, log=True),
        "truth": suggest.real("truth", 0.0, 0.5),
        "rows": suggest.choice("rows", ROWS),
    }


SPEC = CompressorSpec(
    name="prune_trees",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(
            params={"rank": rank, "share": share, "truth": 0.2, "rows": rows},
            merit=merit - 0.04 * rank,
        )
        for merit, share, rows in (
            (0.85, 0.25, "auto"),
            (0.75, 0.1, "auto"),
            (0.6, 0.2, "shuffled"),
            (0.5, 0.5, "auto"),
        )
        for rank in range(MAX_RANK + 1)
    ),
)
