"""A running ensemble, cheap enough to ask of every fold what a member adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.folds import Indices
    from automl_fuse.specs import Array, Floats, Loss

_SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How much of a member an ensemble takes in.

    Attributes
    ----------
    share : float
        Of the member, in the ensemble that comes of it.
    loss : float
        Objective of that ensemble.
    gain : float
        By how much it is less than before; infinite for the first member.
    """

    share: float
    loss: float
    gain: float


class Incumbent:
    """The ensemble so far, blended from members one after another.

    It only guides the search, so it may be crude: the fusion proper is fitted at the end, on
    all members at once.

    Parameters
    ----------
    y, weight : arrays of shape (n_rows,)
        Target and sample weights (or None).
    loss : callable
        The objective, lower is better.
    rows : array of int
        Rows that have OOF predictions, in rising order.

    Attributes
    ----------
    rows : array of int
        The same.
    loss : float
        Objective of the ensemble on them; infinite while there is none.
    """

    def __init__(self, y: Array, weight: Floats | None, loss: Loss, rows: Indices) -> None:
        self._y = y
        self._weight = weight
        self._loss = loss
        self.rows = rows
        self._prediction: Floats | None = None
        self.loss = float("inf")

    @property
    def is_empty(self) -> bool:
        """Whether no member has been absorbed."""
        return self._prediction is None

    def loss_of(self, prediction: Floats, rows: Indices) -> float:
        """Return the objective of predictions (len(rows), n_outputs) for these rows."""
        weight = None if self._weight is None else self._weight[rows]
        return self._loss(self._y[rows], prediction, weight)

    def gain(self, prediction: Floats, rows: Indices) -> float:
        """Return by how much the best blend with the member lowers the loss on these rows.

        Infinite while there is nothing to compare with.
        """
        if self._prediction is None:
            return float("inf")
        before = self._prediction[np.searchsorted(self.rows, rows)]
        return self.loss_of(before, rows) - self._best_blend(before, prediction, rows)[0]

    @property
    def prediction(self) -> Floats:
        """What the ensemble predicts, of shape (len(rows), n_outputs); there is one."""
        assert self._prediction is not None  # noqa: S101
        return self._prediction

    def best_blend(self, prediction: Floats) -> Blend:
        """Return the best blend with a finished member's (len(rows), n_outputs) predictions."""
        if self._prediction is None:
            loss = self.loss_of(prediction, self.rows)
            return Blend(share=1.0, loss=loss, gain=float("inf"))
        loss, share = self._best_blend(self._prediction, prediction, self.rows)
        gain = self.loss - loss
        if gain > 0:
            return Blend(share=share, loss=loss, gain=gain)
        return Blend(share=0.0, loss=self.loss, gain=gain)

    def absorb(self, prediction: Floats, blend: Blend | None = None) -> Blend:
        """Take a member in, as much of it as a blend says: the best one if none is given."""
        blend = blend or self.best_blend(prediction)
        if self._prediction is None:
            self._prediction = prediction.copy()
        elif blend.share > 0:
            self._prediction = (1 - blend.share) * self._prediction + blend.share * prediction
        self.loss = blend.loss
        return blend

    def restore(self, prediction: Floats, loss: float) -> None:
        """Go on from an ensemble that was kept, and its loss."""
        self._prediction = prediction
        self.loss = loss

    def _best_blend(self, before: Floats, prediction: Floats, rows: Indices) -> tuple[float, float]:
        losses = [
            (self.loss_of((1 - share) * before + share * prediction, rows), share)
            for share in _SHARES
        ]
        return min((pair for pair in losses if np.isfinite(pair[0])), default=(np.inf, 0.0))
