"""What is given beside features for every row: its weight, its group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table.codes import factorise
from automl_fuse.table.columns import normalise, where_missing
from automl_fuse.table.names import describe_near
from automl_fuse.table.series import raw_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats
    from automl_fuse.table.raw import RawFrame


def take_side(frame: RawFrame, values: object, role: str) -> Array | None:
    """Return weights or groups: a column, which leaves the features, or values as given."""
    if values is None:
        return None
    if not isinstance(values, str):
        column, _ = raw_column(role, values)
    elif values in frame.columns:
        column = frame.columns.pop(values)
        frame.categorical.discard(values)
    else:
        raise DataError(
            f"the {role} column {values!r} is not among the features; "
            f"{describe_near(values, frame.columns)}"
        )
    return column


def checked_weight(values: Array, n_rows: int) -> Floats:
    """Return weights as floats of which one at least is positive, or say which cannot be used."""
    if len(values) != n_rows:
        raise DataError(f"sample_weight has {len(values)} values, the table {n_rows} rows")
    weight = normalise("sample_weight", values, []) if values.dtype.kind == "O" else values
    if weight.dtype.kind not in "biuf":
        raise DataError(f"sample_weight must hold numbers, found {values[0]!r}")
    weight = weight.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(bad):
        raise DataError(
            f"sample_weight at row {bad[0]} is {values[bad[0]]}: weights must be finite numbers "
            "that are not negative"
        )
    if not weight.any():
        raise DataError("sample_weight is zero for every row: give at least two rows a weight")
    return weight


def group_codes(values: Array, n_rows: int) -> NDArray[np.int64]:
    """Return the code of each row's group."""
    if len(values) != n_rows:
        raise DataError(f"groups has {len(values)} values, the table {n_rows} rows")
    missing = np.flatnonzero(where_missing(values))
    if len(missing):
        raise DataError(f"row {missing[0]} has no group: fill it, or drop the row")
    column = normalise("groups", values, [])
    try:
        return factorise(column)[0]
    except TypeError as error:
        raise DataError(f"groups must be numbers or text, found {values[0]!r}") from error
