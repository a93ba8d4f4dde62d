"""What the encoders of this plugin share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from automl_fuse.specs import Array, Columns, FitContext, Floats, Graph, Matrix, Tensor

__all__ = ["Unsupervised", "unique_names"]


class Unsupervised(ABC):
    """An encoder whose features do not depend on the target.

    The features of training rows are therefore simply those of any rows. Sample weights are
    not used: what is fitted (ranges, frequencies) describes the rows that there are.

    Parameters
    ----------
    context : FitContext
        Only its seed is kept.
    """

    def __init__(self, context: FitContext) -> None:
        self.seed = context.seed

    @abstractmethod
    def fit(self, columns: Columns) -> None:
        """Learn from training rows."""

    @abstractmethod
    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""

    @abstractmethod
    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Write what ``transform`` does into a graph; there is at least one feature."""

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Fit on training rows, and return their features; ``y`` and ``weight`` are not read."""
        del y, weight
        self.fit(columns)
        return self.transform(columns)


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    """Append numbers to repeated names, as in ``("a", "a #2")``.

    A column may be named like a feature of another one.
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name} #{number}"
        taken.add(candidate)
        unique.append(candidate)
    return tuple(unique)
