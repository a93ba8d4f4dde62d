"""What the cells of a column hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import DataError
from automl_fuse.table import NULL_TEXTS

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Column


def first_present(values: Array) -> int:
    """Return the position of the first value that is not missing, or -1."""
    kind = values.dtype.kind
    if kind == "f":
        present = ~np.isnan(values)
    elif kind == "M":
        present = ~np.isnat(values)
    elif kind == "O":
        return next((i for i, cell in enumerate(values) if cell is not None), -1)
    else:
        return 0 if len(values) else -1
    return int(np.argmax(present)) if present.any() else -1


def holds(values: Array, kind: type | tuple[type, ...]) -> bool:
    """Return whether a column of objects holds cells of this kind."""
    first = first_present(values)
    return values.dtype == object and first >= 0 and isinstance(values[first], kind)


def is_null(text: str) -> bool:
    """Return whether a text means a missing number or date."""
    return text.strip().lower() in NULL_TEXTS


def shortened(value: object) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def unfit(column: Column, row: int, value: object, expected: str) -> DataError:
    """Return the error of a value that does not fit the kind of its column."""
    return DataError(
        f"column {column.name!r}, row {row}: {expected} was expected, found {shortened(value)} "
        f"({type(value).__name__})"
    )
