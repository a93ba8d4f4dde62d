"""Rows to be scored, and their target."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from automl_fuse.errors import TargetError
from automl_fuse.table.cells import format_cell
from automl_fuse.table.columns import where_missing
from automl_fuse.table.labels import check_finite, label_values, regression_values
from automl_fuse.table.raw import RawFrame
from automl_fuse.table.reading import read_table
from automl_fuse.table.sides import checked_weight, take_side
from automl_fuse.table.target import RawTarget, take_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats
    from automl_fuse.table.dataset import Table


class Labelled(NamedTuple):
    """Rows that have a target.

    Attributes
    ----------
    table : Table
        The rows.
    truth : array of shape (n_rows,)
        Class codes (int64) or values (float64).
    weight : float64 array of shape (n_rows,) or None
        Their weights.
    """

    table: Table
    truth: Array
    weight: Floats | None


def read_labelled(
    data: object,
    y: object = None,
    *,
    target: str,
    classes: Array | None,
    sample_weight: object = None,
) -> Labelled:
    """Read the rows of a table that have a target, to be scored.

    Parameters
    ----------
    data : table
        Anything that ``read_table`` takes; the other parameters and errors are those of
        ``read_target``.
    """
    table = read_table(data)
    truth, known, weight = read_target(
        table, y, target=target, classes=classes, sample_weight=sample_weight
    )
    if not known.all():
        table = table.take(np.flatnonzero(known))
    return Labelled(table, truth, weight)


def read_target(
    table: Table,
    y: object = None,
    *,
    target: str,
    classes: Array | None,
    sample_weight: object = None,
) -> tuple[Array, NDArray[np.bool_], Floats | None]:
    """Read the target of rows to be scored, with what was learned from the training table.

    Parameters
    ----------
    table : Table
        With the target column, unless ``y`` is given.
    y : object, optional
        The target, one value a row.
    target : str
        Name of the target column.
    classes : array of shape (n_classes,) or None
        Labels in code order; None in regression.
    sample_weight : object, optional
        One weight a row, or the name of a column of ``table``.

    Returns
    -------
    truth : array of shape (n_known,)
        Class codes (int64) or values (float64) of the rows with a target.
    known : bool array of shape (n_rows,)
        Which rows those are.
    weight : float64 array of shape (n_known,) or None
        Their weights.

    Raises
    ------
    TargetError
        If there is no target, or it holds a class that was not there at fit.
    DataError
        If the weights cannot be used.
    """
    frame = RawFrame(dict(table.columns), set(table.categorical))
    weights = take_side(frame, sample_weight, "sample_weight")
    column = take_target(frame, y, target if y is None else None, n_rows=table.n_rows)
    known = ~where_missing(column.values)
    if not known.any():
        raise TargetError(f"target {column.name!r}: no row has a value")
    weight = None if weights is None else checked_weight(weights, table.n_rows)[known]
    rows = np.flatnonzero(known)
    if classes is not None:
        return _known_codes(column, rows, classes), known, weight
    values = label_values(column.name, column.values[rows], had_missing=False, notes=[])
    check_finite(column.name, values, rows)
    return regression_values(column.name, values), known, weight


def _known_codes(target: RawTarget, rows: NDArray[np.intp], classes: Array) -> NDArray[np.int64]:
    """Return the codes of labels that were there at fit: 1, 1.0 and "1" are the same."""
    code = {format_cell(label): i for i, label in enumerate(classes.tolist())}
    codes = np.empty(len(rows), np.int64)
    for i, (row, label) in enumerate(zip(rows, target.values[rows].tolist(), strict=True)):
        found = code.get(format_cell(label))
        if found is None:
            raise TargetError(
                f"target {target.name!r} is {label!r} at row {row}: not one of the classes at fit, "
                + ", ".join(map(repr, classes.tolist()[:10]))
            )
        codes[i] = found
    return codes
