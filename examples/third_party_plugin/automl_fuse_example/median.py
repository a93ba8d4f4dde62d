"""The median of the members, which a few bad ones do not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import ALL_TASKS, FusionContext, FusionSpec, Params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Floats, Graph, Tensor

_LEAST_TOTAL = 1e-9
"""Sum of medians up to which they count as 0: the last bits of a probability, which differ
between NumPy and other runtimes, must not decide between median and mean."""


class Median:
    """Takes the median over members in each output, then brings probabilities to the sum 1."""

    def __init__(self, params: Params, context: FusionContext) -> None:  # noqa: ARG002 - no params
        self._classifies = context.task.is_classification
        self._weights = np.ones(1)

    @property
    def weights(self) -> Floats:
        """The same share for each member, (n_members,): any of them can be the median."""
        return self._weights

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:  # noqa: ARG002 - see above
        """Take note of the number of members: there is nothing else to learn."""
        self._weights = np.full(len(oof), 1 / len(oof))

    def combine(self, predictions: Floats) -> Floats:
        """Return (n_rows, n_outputs) from (n_members, n_rows, n_outputs)."""
        middle: Floats = np.median(predictions, axis=0)
        if not self._classifies:
            return middle
        total = middle.sum(axis=1, keepdims=True)
        # Where every class has a median of 0, because the members disagree and are certain, the
        # mean is what is left.
        share: Floats = middle / np.maximum(total, _LEAST_TOTAL)
        return np.where(total > _LEAST_TOTAL, share, predictions.mean(axis=0))

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        """Write ``combine`` into a graph; predictions (n_rows, n_outputs), one a member."""
        axis = graph.constant(np.array([1]))
        rows = [graph.node("Unsqueeze", [each, axis]) for each in predictions]
        stacked = graph.node("Concat", rows, {"axis": 1})
        # The largest half in falling order: its last, or its last two, are in the middle.
        n_members = len(predictions)
        half = n_members // 2 + 1
        size = graph.constant(np.array([half]))
        largest, _ = graph.nodes("TopK", [stacked, size], 2, {"axis": 1})
        last = graph.constant(np.arange(half - 1 if n_members % 2 else half - 2, half))
        central = graph.node("Gather", [largest, last], {"axis": 1})
        middle = graph.node("ReduceMean", [central, axis], {"keepdims": 0})
        if not self._classifies:
            return middle
        total = graph.node("ReduceSum", [middle, axis])
        least = graph.constant(np.array(_LEAST_TOTAL))
        share = graph.node("Div", [middle, graph.node("Max", [total, least])])
        mean = graph.node("ReduceMean", [stacked, axis], {"keepdims": 0})
        return graph.node("Where", [graph.node("Greater", [total, least]), share, mean])


SPEC = FusionSpec(name="median", api_version=1, tasks=ALL_TASKS, build=Median)
