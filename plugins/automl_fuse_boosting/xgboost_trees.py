"""XGBoost's UBJSON, read into a forest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import Forest, Split
from automl_fuse_boosting.ubjson import read_ubjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats


@dataclass(frozen=True)
class Nodes:
    """Nodes and leaves of all trees, in the same arrays, as XGBoost numbers them.

    Attributes
    ----------
    trees : list of mapping
        Arrays by XGBoost's names, one mapping a tree.
    start : int64 array of shape (n_trees,)
        Position of each tree's first node.
    value : float64 array of shape (n_nodes_and_leaves,)
        Thresholds, and values of leaves.
    target : int64 array of shape (n_trees,)
        Which sum each tree adds to.
    base : float64 array of shape (n_targets,)
        What XGBoost adds to the sums.
    """

    trees: list[Mapping[str, Any]]
    start: NDArray[np.int64]
    value: Floats
    target: NDArray[np.int64]
    base: Floats

    def joined(self, name: str) -> Array:
        """Return an array of all trees, one after the other, in the machine's byte order."""
        return _joined([tree[name] for tree in self.trees])


def nodes_of(content: bytes) -> Nodes:
    """Read a model as ``Booster.save_raw("ubj")`` writes it."""
    learner = read_ubjson(content)["learner"]
    model = learner["gradient_booster"]["model"]
    trees = model["trees"]
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    return Nodes(
        trees=trees,
        start=np.cumsum(sizes) - sizes,
        value=_joined([tree["split_conditions"] for tree in trees]).astype(np.float64),
        target=np.array(model["tree_info"], dtype=np.int64),
        base=_base(learner),
    )


def forest_of(nodes: Nodes) -> Forest:
    """Return the forest; features are compared in single precision.

    Notes
    -----
    As in XGBoost's ``common/categorical.h``, a category of a node's set goes right, any other,
    known or not, goes left.
    """
    left, right = nodes.joined("left_children"), nodes.joined("right_children")
    inner = left >= 0
    position = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1))
    sizes = np.diff(np.append(nodes.start, len(left)))
    start = np.repeat(nodes.start, sizes)[inner]
    left, right = position[start + left[inner]], position[start + right[inner]]
    by_set = nodes.joined("split_type")[inner] == 1
    default_left = nodes.joined("default_left")[inner] > 0
    return Forest(
        roots=position[nodes.start],
        feature=nodes.joined("split_indices")[inner].astype(np.int64),
        threshold=np.where(by_set, 0.0, nodes.value[inner]),
        split=np.where(by_set, Split.MEMBER, Split.BELOW).astype(np.uint8),
        missing_true=default_left ^ by_set,
        true=np.where(by_set, right, left),
        false=np.where(by_set, left, right),
        leaf=nodes.value[~inner][:, None],
        target=nodes.target,
        base=nodes.base,
        members=_members(nodes, position),
        single=True,
    )


def _base(learner: Mapping[str, Any]) -> Floats:
    """Return the base in the space of the sums; XGBoost states it in that of the predictions."""
    params = learner["learner_model_param"]
    # One number for all classes, or one for each.
    stated = np.array(json.loads(params["base_score"]), dtype=np.float32).astype(np.float64)
    base = np.broadcast_to(stated, (max(1, int(params["num_class"])),))
    if learner["objective"]["name"] == "binary:logistic":
        return np.asarray(np.log(base / (1.0 - base)))
    return base


def _members(nodes: Nodes, position: NDArray[np.int64]) -> dict[int, tuple[float, ...]]:
    """Return the categories that go right, by node."""
    found = {}
    for start, tree in zip(nodes.start.tolist(), nodes.trees, strict=True):
        if not len(tree["categories_nodes"]):
            continue
        # Before they are indexed, arrays are converted: those of the file have another byte order.
        categories = tree["categories"].astype(np.float64)
        ends = np.cumsum(tree["categories_sizes"])[:-1]
        for node, members in zip(tree["categories_nodes"], np.split(categories, ends), strict=True):
            found[int(position[start + node])] = tuple(members.tolist())
    return found


def _joined(arrays: list[Array]) -> Array:
    together: Array = np.concatenate(arrays)
    return together.astype(together.dtype.newbyteorder("="))
