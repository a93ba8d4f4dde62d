"""LightGBM's text format, read into a forest."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from automl_fuse.errors import ExportError
from automl_fuse.specs import Forest, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats

_ZERO: Final = float(np.float32(1e-35))
"""LightGBM takes numbers of at most this size for zero, when it predicts."""
_CATEGORICAL: Final = 1
_DEFAULT_LEFT: Final = 2
_MISSING_SHIFT: Final = 2
_ZERO_IS_MISSING: Final = 1
_NAN_IS_MISSING: Final = 2

_Lines: TypeAlias = dict[str, list[str]]


def forest_of_text(text: str) -> Forest:
    """Read a model as LightGBM's ``model_to_string`` writes it.

    Parameters
    ----------
    text : str
        The model, in the format ``v4``.

    Returns
    -------
    Forest
        One target, or as many as there are classes.

    Raises
    ------
    ExportError
        If zeros were treated as missing values, or leaves hold linear models.

    Notes
    -----
    The decisions are those of ``Tree::NumericalDecision`` and ``Tree::CategoricalDecision`` in
    LightGBM's ``tree.h``: without missing values in training, NaN is read as 0; a category
    outside a node's set, NaN among them, goes right.
    """
    lines = _lines_by_name(text[: text.index("\nend of trees")].split("\n"))
    if "1" in lines["is_linear"]:
        raise ExportError("LightGBM: linear trees cannot be exported; fit with linear_tree=False")
    n_leaves = _numbers(lines["num_leaves"], np.int64)
    n_nodes = n_leaves - 1
    first_node, first_leaf = _starts(n_nodes), _starts(n_leaves)
    threshold = _numbers(lines["threshold"], np.float64)
    kind = _numbers(lines["decision_type"], np.int64)
    categorical = (kind & _CATEGORICAL) > 0
    members = _members(lines, threshold, categorical, n_nodes)
    threshold = np.where(categorical, 0.0, _below_zero_band(threshold))
    n_targets = int(lines["num_tree_per_iteration"][0])
    return Forest(
        roots=np.where(n_nodes > 0, first_node, ~first_leaf),
        feature=_numbers(lines["split_feature"], np.int64),
        threshold=threshold,
        split=np.where(categorical, Split.MEMBER, Split.AT_MOST).astype(np.uint8),
        missing_true=_missing_left(kind, threshold) & ~categorical,
        true=_children(lines["left_child"], n_nodes, first_node, first_leaf),
        false=_children(lines["right_child"], n_nodes, first_node, first_leaf),
        leaf=_numbers(lines["leaf_value"], np.float64)[:, None],
        target=np.arange(len(n_leaves)) % n_targets,
        base=np.zeros(n_targets),
        members=members,
    )


def _lines_by_name(lines: Iterable[str]) -> _Lines:
    """Collect what stands after each name, over all trees."""
    found: _Lines = defaultdict(list)
    for line in lines:
        name, is_pair, rest = line.partition("=")
        if is_pair:
            found[name].append(rest)
    return found


def _numbers(lines: list[str], dtype: type) -> Array:
    # A tree of one leaf has empty lines, and of spaces alone NumPy makes a number.
    return np.fromstring(" ".join(lines).strip(), dtype=dtype, sep=" ")


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts) - counts


def _children(
    lines: list[str],
    n_nodes: NDArray[np.int64],
    first_node: NDArray[np.int64],
    first_leaf: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return positions over all trees: the text counts nodes from 0, leaves from ~0, in each."""
    child = _numbers(lines, np.int64)
    result: NDArray[np.int64] = np.where(
        child >= 0,
        child + np.repeat(first_node, n_nodes),
        ~(~child + np.repeat(first_leaf, n_nodes)),
    )
    return result


def _below_zero_band(threshold: Floats) -> Floats:
    """Move thresholds within the numbers that LightGBM takes for zero to the edge of the band."""
    negative = (threshold >= -_ZERO) & (threshold < 0)
    positive = (threshold >= 0) & (threshold < _ZERO)
    result: Floats = np.where(negative, np.nextafter(-_ZERO, -1.0), threshold)
    return np.where(positive, _ZERO, result)


def _missing_left(kind: NDArray[np.int64], threshold: Floats) -> NDArray[np.bool_]:
    """Return whether NaN goes to the left child of a node that compares numbers."""
    missing = kind >> _MISSING_SHIFT
    if (missing == _ZERO_IS_MISSING).any():
        raise ExportError(
            "LightGBM: a model that takes zeros for missing values cannot be exported; "
            "fit with zero_as_missing=False"
        )
    by_default = (kind & _DEFAULT_LEFT) > 0
    result: NDArray[np.bool_] = np.where(missing == _NAN_IS_MISSING, by_default, threshold >= 0)
    return result


def _members(
    lines: _Lines,
    threshold: Floats,
    categorical: NDArray[np.bool_],
    n_nodes: NDArray[np.int64],
) -> dict[int, tuple[float, ...]]:
    """Return the categories that go left, by node.

    A categorical node's threshold is the number of its set within the tree; a set is a row of
    bits, stored in words of 32.
    """
    nodes = np.flatnonzero(categorical)
    if not len(nodes):
        return {}
    tree = np.repeat(np.arange(len(n_nodes)), n_nodes)[nodes]
    # Only trees with categories have these lines; the boundaries are one more than the sets.
    n_sets = _numbers(lines["num_cat"], np.int64)
    with_sets = np.cumsum(n_sets > 0) - 1
    boundaries = _numbers(lines["cat_boundaries"], np.int64)
    words = _numbers(lines["cat_threshold"], np.int64)
    of_tree = n_sets[n_sets > 0] + 1
    last = boundaries[np.cumsum(of_tree) - 1]
    at = with_sets[tree]
    boundary = _starts(of_tree)[at] + threshold[nodes].astype(np.int64)
    offset = _starts(last)[at]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    starts = 32 * (offset + boundaries[boundary])
    ends = 32 * (offset + boundaries[boundary + 1])
    return {
        node: tuple(np.flatnonzero(bits[start:end]).astype(np.float64).tolist())
        for node, start, end in zip(nodes.tolist(), starts.tolist(), ends.tolist(), strict=True)
    }
