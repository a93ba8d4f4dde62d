"""A fitted histogram gradient boosting, and the trees inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import Forest, ForestModel, Link, Split, linked
from automl_fuse_sklearn.trees import places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Floats, Graph, Tensor


@dataclass(frozen=True, kw_only=True)
class Boosted:
    """A fitted model of scikit-learn.

    Attributes
    ----------
    model : sklearn.ensemble.HistGradientBoostingClassifier or -Regressor
        The model.
    empty : tuple of int
        Positions of the features that had no value in training.
    n_threads : int
        To predict with.
    is_classification : bool
        Whether it predicts probabilities.
    tuned : mapping
        As ``predictor.Stopped`` says: the number of iterations.
    """

    model: Any
    empty: tuple[int, ...]
    n_threads: int
    is_classification: bool
    tuned: Mapping[str, Any]

    def predict(self, values: Floats) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        # The public methods cannot be told how many threads to start, anew for each tree: on busy
        # cores that takes tens of milliseconds.
        finite = usable(values, self.empty)
        sums = self.model._raw_predict(finite, n_threads=self.n_threads)  # noqa: SLF001 (above)
        return linked(np.asarray(sums, dtype=np.float64), self._link)

    @property
    def _link(self) -> Link:
        if not self.is_classification:
            return Link.IDENTITY
        return Link.LOGISTIC if self.model.n_trees_per_iteration_ == 1 else Link.SOFTMAX

    def form(self) -> ForestModel:
        """Return the trees.

        They need no ``usable`` features: thresholds are finite, but where they ask whether a
        value is missing, and constant features are not split.
        """
        return ForestModel(forest=forest_of(self.model), link=self._link)

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the trees and the link."""
        return self.form().to_onnx(graph, features)


def usable(values: Floats, empty: tuple[int, ...]) -> Floats:
    """Return values without what the library refuses.

    Infinities are moved to the ends of the range, and features that had no value in training
    are made constant.
    """
    largest = np.finfo(np.float64).max
    finite = np.clip(values, -largest, largest)
    finite[:, empty] = 0.0
    return finite


def forest_of(model: Any) -> Forest:
    """Return the trees of a fitted model, in terms of the features that it was given."""
    # No public way leads to the trees and their base.
    trees = [tree for iteration in model._predictors for tree in iteration]  # noqa: SLF001
    base = np.ravel(model._baseline_prediction).astype(np.float64)  # noqa: SLF001
    counts = np.array([len(tree.nodes) for tree in trees])
    nodes = np.concatenate([tree.nodes for tree in trees])
    starts = np.cumsum(counts) - counts
    is_inner = nodes["is_leaf"] == 0
    place = places(is_inner)
    inner, tree = nodes[is_inner], np.repeat(np.arange(len(trees)), counts)[is_inner]
    left, right = (place[starts[tree] + inner[side]] for side in ("left", "right"))
    order, categories = _features(model)
    bits = [trees[i].raw_left_cat_bitsets for i in tree]
    members = {
        node: _members(inner[node], bits[node], categories)
        for node in np.flatnonzero(inner["is_categorical"]).tolist()
    }
    is_set = inner["is_categorical"].astype(bool)
    missing_left = inner["missing_go_to_left"].astype(bool)
    is_right_set = is_set & missing_left
    return Forest(
        roots=place[starts],
        feature=order[inner["feature_idx"]],
        threshold=np.where(is_set, 0.0, inner["num_threshold"]),
        split=np.where(is_set, Split.MEMBER, Split.AT_MOST).astype(np.uint8),
        missing_true=missing_left & ~is_set,
        true=np.where(is_right_set, right, left),
        false=np.where(is_right_set, left, right),
        leaf=np.ascontiguousarray(nodes["value"][~is_inner, None]),
        target=np.arange(len(trees)) % len(base),
        base=base,
        members=members,
    )


def _features(model: Any) -> tuple[Array, list[Floats]]:
    """Return the positions of the model's features, and the categories of the first of them.

    scikit-learn moves features with native categories to the front, and numbers their
    categories anew.
    """
    is_categorical = model.is_categorical_
    if is_categorical is None:
        return np.arange(model.n_features_in_), []
    order = np.concatenate([np.flatnonzero(is_categorical), np.flatnonzero(~is_categorical)])
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 (as above)
    return order, [known[~np.isnan(known)] for known in encoder.categories_]


def _members(node: Any, bits: Array, categories: list[Floats]) -> tuple[float, ...]:
    """Return the set of a node that splits categories.

    Unknown categories go where missing ones go. A set must not hold them, so it is that of the
    known categories on the other side.
    """
    known = categories[node["feature_idx"]]
    is_left = np.unpackbits(bits[node["bitset_idx"]].view(np.uint8), bitorder="little")
    chosen = known[is_left[: len(known)] != node["missing_go_to_left"]]
    return tuple(chosen.tolist())
