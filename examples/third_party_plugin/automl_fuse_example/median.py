"""The median of the members, which a few bad ones do not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import ALL_TASKS, FusionContext, FusionSpec, Params

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats


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
        share: Floats = middle / np.where(total > 0, total, 1.0)
        return np.where(total > 0, share, predictions.mean(axis=0))


SPEC = FusionSpec(name="median", api_version=1, tasks=ALL_TASKS, build=Median)
