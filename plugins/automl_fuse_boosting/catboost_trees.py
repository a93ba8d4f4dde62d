"""CatBoost's symmetric trees, read into a forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from automl_fuse.specs import Forest, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats

Tree: TypeAlias = Mapping[str, Any]
"""A tree as CatBoost's JSON describes it."""


def forest_of_json(model: Mapping[str, Any]) -> Forest:
    """Read a model of numeric features as ``save_model(format="json")`` writes it.

    Parameters
    ----------
    model : mapping
        The file's content.

    Returns
    -------
    Forest
        With a target for each class where there are several; features are compared in single
        precision.

    Notes
    -----
    A symmetric tree asks the same question everywhere on a level, so that many of its leaves
    cannot be reached: a feature that is above 5 is above 3. Neither those leaves nor the
    questions whose answer is known are made into nodes.
    """
    scale, bias = model["scale_and_bias"]
    base = np.asarray(bias, dtype=np.float64)
    features = model["features_info"]["float_features"]
    # Where a feature had no missing value, NaN is above no border.
    missing_low = np.array([each["nan_value_treatment"] != "AsTrue" for each in features])
    trees = model["oblivious_trees"]
    depths = np.array([len(tree["splits"] or ()) for tree in trees])
    groups = [
        _Group([trees[i] for i in np.flatnonzero(depths == depth)], depth, len(base))
        for depth in np.unique(depths).tolist()
    ]
    order = np.argsort(depths, kind="stable")
    forest = _joined(groups, missing_low)
    roots = np.empty_like(forest["roots"])
    roots[order] = forest["roots"]
    return Forest(
        **{**forest, "roots": roots, "leaf": scale * forest["leaf"]},
        target=None if len(base) > 1 else np.zeros(len(trees), dtype=np.int64),
        base=base,
        single=True,
    )


class _Group:
    """Trees of one depth.

    A place is a tree and the answers on the levels above: bit i of ``answers`` says whether
    the question of level i was answered by "above".

    Attributes
    ----------
    feature, threshold : array of shape (n_nodes,)
        Of the nodes.
    true, false, roots : int64 array
        Children: positions of nodes, or of leaves as ``~position``.
    leaf : float64 array of shape (n_leaves, n_values)
        Values of the leaves that can be reached.
    """

    def __init__(self, trees: Sequence[Tree], depth: int, n_values: int) -> None:
        shape = (len(trees), depth)
        splits = [split for tree in trees for split in tree["splits"] or ()]
        self._feature = np.array([s["float_feature_index"] for s in splits], dtype=np.int64)
        self._feature = self._feature.reshape(shape)
        border = np.array([s["border"] for s in splits], dtype=np.float32)
        self._border = border.astype(np.float64).reshape(shape)
        values = np.array([tree["leaf_values"] for tree in trees], dtype=np.float64)
        self._lay(values.reshape(len(trees), 2**depth, n_values))

    def _lay(self, values: Floats) -> None:
        """Give numbers to the nodes and leaves that can be reached, and link them."""
        levels, features, thresholds, n_nodes = [], [], [], 0
        reached = np.ones((len(values), 1), dtype=bool)
        for level in range(self._feature.shape[1]):
            low, high = self._known(level)
            is_node = reached & ~low & ~high
            tree = np.nonzero(is_node)[0]
            features.append(self._feature[tree, level])
            thresholds.append(self._border[tree, level])
            levels.append((is_node, high, n_nodes + _numbered(is_node)))
            n_nodes += len(tree)
            reached = np.hstack([reached & ~high, reached & ~low])
        self.leaf = values[reached]
        position = ~_numbered(reached)
        true, false = [], []
        for is_node, high, numbers in reversed(levels):
            below, above = np.hsplit(position, 2)
            true.append(below[is_node])
            false.append(above[is_node])
            position = np.where(is_node, numbers, np.where(high, above, below))
        self.roots = position[:, 0]
        none = np.empty(0, dtype=np.int64)
        self.true = np.concatenate([*true[::-1], none])
        self.false = np.concatenate([*false[::-1], none])
        self.feature = np.concatenate([*features, none])
        self.threshold = np.concatenate([*thresholds, np.empty(0)])

    def _known(self, level: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return where the levels above tell that the answer is "not above", and "above".

        Both of shape (n_trees, 2**level).
        """
        answers = np.arange(2**level)
        low = np.zeros((len(self._feature), 2**level), dtype=bool)
        high = low.copy()
        for earlier in range(level):
            was_above = (answers >> earlier) & 1 > 0
            same = self._feature[:, earlier] == self._feature[:, level]
            not_lower = self._border[:, earlier] >= self._border[:, level]
            not_higher = self._border[:, earlier] <= self._border[:, level]
            high |= (same & not_lower)[:, None] & was_above
            low |= (same & not_higher)[:, None] & ~was_above
        return low, high


def _numbered(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return 0, 1, 2 … where chosen, in row order; elsewhere any number."""
    return np.cumsum(chosen.ravel()).reshape(chosen.shape) - 1


def _joined(groups: Sequence[_Group], missing_low: NDArray[np.bool_]) -> dict[str, Any]:
    """Put groups one after the other."""
    moved: dict[str, list[Any]] = {"true": [], "false": [], "roots": []}
    n_nodes = n_leaves = 0
    for group in groups:
        for name, found in moved.items():
            child = getattr(group, name)
            found.append(np.where(child >= 0, child + n_nodes, child - n_leaves))
        n_nodes += len(group.feature)
        n_leaves += len(group.leaf)
    feature = np.concatenate([group.feature for group in groups])
    return {
        **{name: np.concatenate(found) for name, found in moved.items()},
        "feature": feature,
        "threshold": np.concatenate([group.threshold for group in groups]),
        "split": np.full(n_nodes, Split.AT_MOST, dtype=np.uint8),
        "missing_true": missing_low[feature],
        "leaf": np.concatenate([group.leaf for group in groups]),
    }
