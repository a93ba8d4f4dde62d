"""A fitted XGBoost model that adds its leaf values in double precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse_boosting.inputs import single_precision
from automl_fuse_boosting.xgboost_trees import Nodes, forest_of, nodes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Forest

Booster: TypeAlias = Any
"""``xgboost.Booster``, which is imported late."""

SLICE_NODES: Final = 20_000
"""Nodes that a cache holds: for 10,000 rows and 1,000 trees of 400 nodes, XGBoost told the leaves
in 2.2 s asked for all trees at once, and in 0.62 s asked for 50 trees at a time."""
FEW_ROWS: Final = 32
"""Rows below which asking once is faster than asking for a few trees at a time."""
_CELLS: Final = 4_000_000
"""Leaves, of rows times trees, that are looked up at a time: 32 MB of values."""


class XGBoostModel:
    """A fitted booster, kept as XGBoost's own bytes.

    XGBoost adds leaf values in single precision, in an order that no graph can repeat. Here it
    only tells the leaves, whose values are added in double precision.

    Parameters
    ----------
    content : bytes
        The booster in UBJSON.
    base : float64 array of shape (n_classes,) or None
        Added to the sums; where None, XGBoost's own, which the bytes hold.
    """

    def __init__(self, content: bytes, base: Floats | None = None) -> None:
        self._content = content
        self._base = base
        self._adder: _Adder | None = None

    def raw(self, values: Floats, n_threads: int) -> Floats:
        """Return sums of leaf values, (n_rows, 1) or (n_rows, n_classes)."""
        if self._adder is None:
            self._adder = _Adder(self._content, self._nodes())
        return self._adder.sums(single_precision(values), n_threads)

    def forest(self) -> Forest:
        """Return the trees."""
        return forest_of(self._nodes())

    def _nodes(self) -> Nodes:
        nodes = nodes_of(self._content)
        return nodes if self._base is None else replace(nodes, base=self._base)

    def __getstate__(self) -> dict[str, Any]:
        return {"_content": self._content, "_base": self._base, "_adder": None}


class _Adder:
    """The booster, which finds leaves, and their values."""

    def __init__(self, content: bytes, nodes: Nodes) -> None:
        self._whole = _Parts([_restore(content)])
        self._sliced: _Parts | None = None
        self._start = nodes.start
        self._value = nodes.value
        self._base = nodes.base

    def sums(self, values: NDArray[np.float32], n_threads: int) -> Floats:
        """Return (n_rows, n_targets) sums."""
        step = max(1, _CELLS // len(self._start))
        parts = [
            self._sums(values[at : at + step], n_threads) for at in range(0, len(values), step)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self._base)))

    def _sums(self, values: NDArray[np.float32], n_threads: int) -> Floats:
        import xgboost

        data = xgboost.DMatrix(values, nthread=n_threads)
        reached = np.empty((len(values), len(self._start)))
        first = 0
        parts = self._whole if len(values) < FEW_ROWS else self._slices()
        for booster in parts.using(n_threads):
            leaves = booster.predict(
                data, pred_leaf=True, validate_features=False, strict_shape=True
            ).reshape(len(values), -1)
            # XGBoost tells the numbers of leaves, which start anew in each tree, as float32.
            trees = slice(first, first + leaves.shape[1])
            reached[:, trees] = self._value[leaves.astype(np.intp) + self._start[trees]]
            first = trees.stop
        # Trees of all classes take turns.
        by_target = reached.reshape(len(values), -1, len(self._base))
        total: Floats = by_target.sum(axis=1) + self._base
        return total

    def _slices(self) -> _Parts:
        """Return the booster in parts that fit into a cache."""
        n_slices = len(self._value) // SLICE_NODES
        if n_slices < 2:
            return self._whole
        if self._sliced is None:
            (booster,) = self._whole.boosters
            n_iterations = len(self._start) // len(self._base)
            step = max(1, n_iterations // n_slices)
            self._sliced = _Parts(
                [booster[at : min(n_iterations, at + step)] for at in range(0, n_iterations, step)]
            )
        return self._sliced


class _Parts:
    """Boosters that together are one."""

    def __init__(self, boosters: list[Booster]) -> None:
        self.boosters = boosters
        self._threads = 0

    def using(self, n_threads: int) -> list[Booster]:
        """Return the boosters, set to so many threads."""
        if n_threads != self._threads:
            # Setting it makes XGBoost configure itself anew, which costs more than one row.
            for booster in self.boosters:
                booster.set_param({"nthread": n_threads})
            self._threads = n_threads
        return self.boosters


def _restore(content: bytes) -> Booster:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    return booster
