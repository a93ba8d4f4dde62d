"""The forms that a member can take in a pipeline, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import ALL_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Floats, Graph, Params, Tensor


class Alone:
    """The fusion of one member: what it says."""

    weights: Floats = np.ones(1)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        """Learn nothing."""

    def combine(self, predictions: Floats) -> Floats:
        """Return the only member's predictions."""
        only: Floats = predictions[0]
        return only

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """Return the only member's predictions."""
        return predictions[0]


@dataclass(frozen=True, kw_only=True)
class Form:
    """A member as all of its fold models, or as one model of all rows.

    Attributes
    ----------
    member, learner, params
        Which member it is.
    folds : tuple of int
        Folds whose models it keeps, or ``(ALL_ROWS,)``.
    oof : array of shape (n_rows, n_outputs)
        Out-of-fold predictions: what one of its models predicts for rows that it never saw.
    latency_ms, size_mb : float
        Of all its models, in onnxruntime and in the file.
    one, other : array of shape (n_fresh_rows, n_outputs)
        What two of its models predict for rows that none has seen; the same where it has one.
    """

    member: str
    learner: str
    params: Params
    folds: tuple[int, ...]
    oof: Floats
    latency_ms: float
    size_mb: float
    one: Floats
    other: Floats

    @property
    def is_single(self) -> bool:
        """Whether one model stands for all folds."""
        return self.folds == (ALL_ROWS,)

    @property
    def name(self) -> str:
        """How it is called in the report."""
        return f"{self.member} (one model)" if self.is_single else self.member
