"""Checks of tree operators: a runtime that follows a wrong position reads foreign memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact.outline import Tensor
from automl_fuse.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MOST_LEVELS: Final = 2_000
"""Runtimes build trees by recursion; onnxruntime 1.31 overflows its stack near 50,000 levels."""
_MODES: Final = frozenset({0, 1, 2, 3, 4, 5, 6})
_MEMBER: Final = 6
_INTEGER_TYPES: Final = {"n_targets", "aggregate_function", "post_transform"}
_LISTS: Final = {
    "tree_roots",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_trueleafs",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
    "leaf_targetids",
}
_ARRAYS: Final = {
    "nodes_splits": (11, 1),
    "nodes_modes": (2,),
    "leaf_weights": (11, 1),
    "membership_values": (11, 1),
}
"""Element types that an array may have: double, float; uint8."""
_OPTIONAL: Final = frozenset({"membership_values", "nodes_missing_value_tracks_true"})


@dataclass(frozen=True)
class _Trees:
    """Attributes of a ``TreeEnsemble`` of opset 5."""

    numbers: Mapping[str, int]
    lists: Mapping[str, NDArray[np.int64]]
    arrays: Mapping[str, NDArray[Any]]


def check_trees(content: bytes, attributes: Mapping[str, Any]) -> None:
    """Check that a ``TreeEnsemble`` consists of trees.

    Parameters
    ----------
    content : bytes
        The file, in which the arrays lie.
    attributes : mapping of str to object
        Of the operator.

    Raises
    ------
    ArtefactError
        If lists differ in length, a position points nowhere, or nodes form no trees.
    """
    trees = _read(content, attributes)
    modes = trees.arrays["nodes_modes"]
    n_nodes, n_leaves = len(modes), trees.arrays["leaf_weights"].size
    for name, values in {**trees.lists, **trees.arrays}.items():
        wanted = n_nodes if name.startswith("nodes_") else n_leaves
        if name.startswith(("nodes_", "leaf_")) and values.size != wanted:
            raise _wrong(f"{name!r} has {values.size} values, not {wanted}")
    if not set(np.unique(modes).tolist()) <= _MODES:
        raise _wrong("'nodes_modes' holds a comparison that does not exist")
    sets = int(np.isnan(trees.arrays["membership_values"]).sum())
    if sets != int((modes == _MEMBER).sum()):
        raise _wrong("'membership_values' does not hold one set for each node that needs one")
    n_targets = trees.numbers["n_targets"]
    _check_within("leaf_targetids", trees.lists["leaf_targetids"], n_targets)
    _check_within("nodes_featureids", trees.lists["nodes_featureids"], 2**31)
    _check_shape(trees.lists, n_nodes, n_leaves)


def _read(content: bytes, attributes: Mapping[str, Any]) -> _Trees:
    known = _INTEGER_TYPES | _LISTS | _ARRAYS.keys()
    wrong = sorted(attributes.keys() - known) + sorted(known - _OPTIONAL - attributes.keys())
    if wrong:
        raise _wrong(f"the attribute {wrong[0]!r} is unknown or absent")
    numbers, lists, arrays = {}, {}, {}
    for name in _INTEGER_TYPES:
        numbers[name] = attributes[name]
        if not isinstance(numbers[name], int):
            raise _wrong(f"{name!r} is no integer")
    for name in _LISTS & attributes.keys():
        values = attributes[name]
        if not (isinstance(values, np.ndarray) and values.dtype == np.int64) and values != ():
            raise _wrong(f"{name!r} is no list of integers")
        lists[name] = np.asarray(values, dtype=np.int64)
    arrays["membership_values"] = np.empty(0)
    for name in _ARRAYS.keys() & attributes.keys():
        tensor = attributes[name]
        if not isinstance(tensor, Tensor) or tensor.type not in _ARRAYS[name]:
            raise _wrong(f"{name!r} is no array of the right type")
        arrays[name] = array_of(content, tensor)
    return _Trees(numbers, lists, arrays)


def array_of(content: bytes, tensor: Tensor) -> NDArray[Any]:
    """Return the values of a float, double or uint8 tensor, flat."""
    start, stop = tensor.raw or (0, 0)
    kind = np.dtype({1: "<f4", 2: "u1", 11: "<f8"}[tensor.type])
    return np.frombuffer(content, kind, (stop - start) // kind.itemsize, start)


def _check_shape(lists: Mapping[str, NDArray[np.int64]], n_nodes: int, n_leaves: int) -> None:
    """Check that no node is reached twice from the roots, and none is too deep."""
    children = {side: lists[f"nodes_{side}nodeids"] for side in ("true", "false")}
    is_leaf = {side: lists[f"nodes_{side}leafs"] != 0 for side in ("true", "false")}
    for side, positions in children.items():
        _check_within(f"nodes_{side}nodeids", positions[~is_leaf[side]], n_nodes)
        _check_within(f"nodes_{side}nodeids", positions[is_leaf[side]], n_leaves)
    level = lists["tree_roots"]
    _check_within("tree_roots", level, n_nodes)
    seen = np.zeros(n_nodes, np.bool_)
    for _ in range(MOST_LEVELS):
        if not len(level):
            return
        # Followed along several ways, nodes that have two parents would be copied without end.
        if seen[level].any() or len(np.unique(level)) < len(level):
            raise _wrong("the nodes form no trees: one is reached twice")
        seen[level] = True
        level = np.concatenate(
            [positions[level[~is_leaf[side][level]]] for side, positions in children.items()]
        )
    raise _wrong(f"a tree has more than {MOST_LEVELS:,} levels")


def _check_within(name: str, values: NDArray[np.int64], limit: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= limit):
        raise _wrong(f"{name!r} holds a position out of range")


def _wrong(what: str) -> ArtefactError:
    return ArtefactError(f"an operator 'TreeEnsemble' is malformed: {what}")
