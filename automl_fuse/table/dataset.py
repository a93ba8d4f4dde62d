"""The table that reading gives, alone or with its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats, Task


@dataclass(frozen=True, kw_only=True)
class Table:
    """Checked columns of a frame, before their kinds are decided.

    Attributes
    ----------
    columns : mapping of str to array of shape (n_rows,)
        float64 for numbers and durations in seconds (NaN where missing); bool, or objects
        True, False and None; ``datetime64[us]`` in UTC (NaT where missing); objects str and
        None; other objects (lists, arrays, bytes, images), None where missing.
    n_rows : int
        Number of rows.
    categorical : frozenset of str
        Columns that the frame itself declares to be categorical.
    warnings : tuple of str
        What was changed while reading, in words for the user.
    """

    columns: Mapping[str, Array]
    n_rows: int
    categorical: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.columns)

    def take(self, rows: NDArray[np.intp]) -> Table:
        """Return these rows, in the order given."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(
            columns=columns,
            n_rows=len(rows),
            categorical=self.categorical,
            warnings=self.warnings,
        )

    def drop(self, names: Iterable[str]) -> Table:
        """Return the table without these columns; names that it lacks are ignored."""
        gone = frozenset(names)
        return Table(
            columns={name: v for name, v in self.columns.items() if name not in gone},
            n_rows=self.n_rows,
            categorical=self.categorical - gone,
            warnings=self.warnings,
        )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A table with its target: what a run learns from.

    Attributes
    ----------
    table : Table
        Features only: target, weight and group columns are removed.
    y : array of shape (n_rows,)
        Class codes 0 … n_classes-1 (int64), or values (float64).
    classes : array of shape (n_classes,) or None
        Labels in code order, sorted, of their original type; None in regression.
    task : Task
        What is predicted.
    task_reason : str
        Why it was taken for that task, in words for the user.
    weight : float64 array of shape (n_rows,) or None
        Sample weights, positive, with mean 1.
    groups : int64 array of shape (n_rows,) or None
        Codes of the groups that no split may divide.
    target : str
        Name of the target.
    rows : intp array of shape (n_rows,)
        Positions, in the data as given, of the rows that were kept.
    warnings : tuple of str
        What was changed or looks doubtful, in words for the user.
    """

    table: Table
    y: Array
    classes: Array | None
    task: Task
    task_reason: str
    weight: Floats | None
    groups: NDArray[np.int64] | None
    target: str
    rows: NDArray[np.intp]
    warnings: tuple[str, ...]

    @property
    def has_number_classes(self) -> bool:
        """Whether the classes are numbers, which might be meant as such."""
        return self.classes is not None and self.classes.dtype.kind in "iuf"
