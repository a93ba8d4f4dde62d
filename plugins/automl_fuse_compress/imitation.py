"""What smaller trees are fitted to: the scores of the larger forest, and a little of the truth.

A forest has fitted its training rows already: their residuals say little of what is left to
learn. Its own scores on them do not mislead so. But a forest whose trees were each grown to the
end, and averaged, knows its training rows by heart, and is itself only between them: there it
is asked about shuffled copies of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import Link, linked
from automl_fuse_compress.common import shuffled, some_rows, weights_of
from automl_fuse_compress.trees import Leaves, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats, Forest, ForestModel, Rows

MAX_ROWS: Final = 20_000
"""Training rows that an edit of trees looks at, at most."""
MAX_CELLS: Final = 20_000_000
"""Rows times trees, at most: four bytes each."""
LEAST_CURVATURE: Final = 1e-3
"""Weight of a row whose class is certain, at least: its score must not be free."""
LARGEST_STEP: Final = 8.0
"""Units of the score that a row may want to move by, at most."""
SHRINKAGE: Final = 10.0
"""Rows by whose weight a leaf is held to the value that it had."""
SWEEPS: Final = 8
ROWS: Final = ("auto", "own", "shuffled", "both")
"""Which rows a forest is asked about: its training rows, copies with half of their cells drawn
from other rows, or both; ``auto`` is both for averaged trees, its own for boosted ones."""
_SHUFFLED_CELLS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a forest says of rows, and how.

    Attributes
    ----------
    reached : int32 array of shape (n_rows, n_trees)
        The leaf that each row reaches in each tree.
    scores : array of shape (n_rows, n_targets)
        The sums.
    step : array of shape (n_rows, n_targets)
        How a Newton step would move each score towards the row's target.
    weight : array of shape (n_rows, n_targets)
        Weight of a squared deviation from each: curvature of the loss times the row's weight.
    """

    reached: NDArray[np.int32]
    scores: Floats
    step: Floats
    weight: Floats


def is_averaged(model: ForestModel) -> bool:
    """Return whether each tree predicts by itself, and their predictions are averaged."""
    return model.link is Link.IDENTITY and model.forest.target is None


def goal_of(model: ForestModel, train: Rows, kind: str, seed: int) -> Goal:
    """Return what a forest says of rows.

    Parameters
    ----------
    model : ForestModel
        The forest.
    train : Rows
        Its training rows.
    kind : {"auto", "own", "shuffled", "both"}
        See ``ROWS``. Of shuffled copies the truth is not known: their step is 0.
    seed : int
        Draws rows, where there are more than ``MAX_ROWS`` or ``MAX_CELLS`` allow, and cells.
    """
    forest, random = model.forest, np.random.default_rng(seed)
    if kind == "auto":
        kind = "both" if is_averaged(model) else "own"
    most = min(MAX_ROWS, max(1, MAX_CELLS // max(1, forest.n_trees) // (1 + (kind == "both"))))
    rows = some_rows(len(train.y), most, random)
    own = train.X.values[rows]
    parts = {"own": [own], "shuffled": [shuffled(own, _SHUFFLED_CELLS, random)]}
    values = np.vstack(parts.get(kind, parts["own"] + parts["shuffled"]))
    reached, scores = _reached(forest, values)
    y = np.tile(train.y[rows], len(values) // len(rows))
    step, curvature = _newton(scores, y, model.link)
    step[0 if kind == "shuffled" else len(rows) :] = 0.0
    weight = curvature * np.tile(weights_of(train)[rows], len(values) // len(rows))[:, None]
    return Goal(reached=reached, scores=scores, step=step, weight=weight)


def _reached(forest: Forest, values: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return the leaf that each row reaches in each tree, and its sums."""
    reached = np.empty((len(values), forest.n_trees), dtype=np.int32)
    scores = np.tile(forest.base, (len(values), 1))
    for some in np.array_split(np.arange(len(values)), max(1, reached.size // 1_000_000)):
        reached[some] = forest.leaves(values[some])
        for group in groups_of(forest):
            leaf = forest.leaf[reached[np.ix_(some, group.trees)]]
            scores[np.ix_(some, group.targets)] += leaf.sum(axis=1)
    return reached, scores


def _newton(scores: Floats, y: Array, link: Link) -> tuple[Floats, Floats]:
    """Return the step of iteratively reweighted least squares, and the curvature of the loss."""
    predicted = linked(scores, link)
    if link is Link.LOGISTIC:
        predicted = predicted[:, 1:]
        goal = (y[:, None] == 1).astype(np.float64)
    elif scores.shape[1] > 1:
        goal = (y[:, None] == np.arange(scores.shape[1])).astype(np.float64)
    else:
        goal = y[:, None].astype(np.float64)
    if link is Link.IDENTITY:
        return goal - predicted, np.ones_like(scores)
    curvature = np.maximum(predicted * (1.0 - predicted), LEAST_CURVATURE)
    return np.clip((goal - predicted) / curvature, -LARGEST_STEP, LARGEST_STEP), curvature


# --------------------------------------------------------------------------- leaves


def refitted(forest: Forest, leaves: Leaves, goal: Goal, trees: NDArray[np.intp]) -> Forest:
    """Return a forest with base, and leaf values of some trees, fitted anew to a goal's scores.

    Ridge regression on all their leaves at once (Ren, Cao, Wei and Sun 2015, "Global refinement
    of random forest", section 3), solved by blocks: one tree's leaves after the other, each
    held to the value that it had by the weight of ``SHRINKAGE`` rows. The other trees do not
    count. Leaves that no row reaches keep their values.
    """
    leaf, base = forest.leaf.copy(), forest.base.copy()
    for group in groups_of(forest):
        chosen = np.intersect1d(group.trees, trees)
        blocks = [(leaves.of_tree[t], leaves.number[goal.reached[:, t]]) for t in chosen]
        for column, target in enumerate(group.targets):
            residual = goal.scores[:, target] - base[target]
            base[target] += _refit(leaf[:, column], blocks, residual, goal.weight[:, target])
    return replace(forest, leaf=leaf, base=base)


def _refit(
    leaf: Floats,
    blocks: Sequence[tuple[NDArray[np.intp], NDArray[np.int64]]],
    residual: Floats,
    weight: Floats,
) -> float:
    """Change leaf values in place, and return what to add to the base.

    Each block is one tree: its leaves, and the number among them of the one that each row
    reaches. The residual is what all blocks together are to add up to.
    """
    held = SHRINKAGE * weight.mean()
    priors = [held * leaf[of_tree] for of_tree, _ in blocks]
    totals = [np.bincount(at, weight, len(of_tree)) + held for of_tree, at in blocks]
    for of_tree, at in blocks:
        residual -= leaf[of_tree][at]
    base = 0.0
    for _ in range(SWEEPS):
        shift = float(np.average(residual, weights=weight))
        base += shift
        residual -= shift
        for (of_tree, at), prior, total in zip(blocks, priors, totals, strict=True):
            old = leaf[of_tree]
            residual += old[at]
            new = (np.bincount(at, weight * residual, len(of_tree)) + prior) / total
            leaf[of_tree] = new
            residual -= new[at]
    return base
