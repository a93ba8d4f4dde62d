"""Steps over cells that are images, sounds or sequences: what they have in common."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from automl_fuse.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Floats, Kind


_MADE: dict[tuple[int, CellStep], tuple[weakref.ref[Array], Floats]] = {}
"""What steps have made of arrays that still exist, by the address of the array."""


class CellStep(ABC):
    """Turns a column of images, sounds or sequences into numbers, one row after the other.

    A row alone so gives, to the last bit, what it gives in a batch. Derived classes are frozen
    dataclasses whose fields, whole numbers, are their settings.

    Attributes
    ----------
    name : str
        What the step is called in a file.
    reads : Kind
        The kind of column: see ``specs.Columns`` for its cells.
    limits : mapping of str to int
        Largest value of each field; the least is 1.
    counts : bool
        Whether the last column counts something, and is 0 instead of NaN where the cell is
        missing.
    """

    name: ClassVar[str]
    reads: ClassVar[Kind]
    limits: ClassVar[Mapping[str, int]]
    counts: ClassVar[bool] = False

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of columns that it makes."""

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        return {field: getattr(self, field) for field in self.limits}

    def __call__(self, values: Array | Sequence[Any]) -> Floats:
        """Return (n_rows, width) for typed cells (n_rows,), NaN where one is missing.

        What is made of an array is kept, read-only, for as long as that array is: the encoders
        of all folds ask for the same.

        Raises
        ------
        DataError
            If a cell is unlike those that the step was fitted on: the message names its row.
        """
        if not isinstance(values, np.ndarray):
            return self._of_cells(values)
        place = id(values), self
        known = _MADE.get(place)
        if known is not None and known[0]() is values:
            return known[1]
        features = self._of_cells(values)
        features.flags.writeable = False
        _MADE[place] = weakref.ref(values, lambda _: _MADE.pop(place, None)), features
        return features

    def _of_cells(self, values: Array | Sequence[Any]) -> Floats:
        features = np.full((len(values), self.width), np.nan)
        if self.counts:
            features[:, -1] = 0.0
        for row, cell in enumerate(values):
            if cell is not None:
                try:
                    features[row] = self._of_cell(cell)
                except DataError as error:
                    raise DataError(f"row {row}: {error}") from error
        return features

    @abstractmethod
    def _of_cell(self, cell: Any) -> Floats:
        """Return the columns, (width,), of one cell."""
