"""The raw target of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automl_fuse.errors import TargetError
from automl_fuse.table.names import describe_near
from automl_fuse.table.reading import read_frame
from automl_fuse.table.series import raw_column

if TYPE_CHECKING:
    from automl_fuse.specs import Array
    from automl_fuse.table.raw import RawFrame


@dataclass(frozen=True, kw_only=True)
class RawTarget:
    """A target before its task is known.

    Attributes
    ----------
    name : str
        Name of the column, or of ``y``, or ``"target"``.
    values : array of shape (n_rows,)
        As the source gives them.
    declared : bool
        Whether the source declares them to be categorical.
    """

    name: str
    values: Array
    declared: bool


def take_target(frame: RawFrame, y: object, target: str | None, *, n_rows: int) -> RawTarget:
    """Return the target: a column, which leaves the frame, or ``y``."""
    if target is not None and y is not None:
        raise TargetError("give either y or target, not both")
    if target is None and y is None:
        raise TargetError("no target: give y, or the name of a column as target")
    if target is not None:
        return _pop_column(frame, str(target))
    given = _given(y)
    if len(given.values) != n_rows:
        raise TargetError(f"y has {len(given.values)} values, the table {n_rows} rows")
    return given


def _pop_column(frame: RawFrame, name: str) -> RawTarget:
    if name not in frame.columns:
        raise TargetError(
            f"the target column {name!r} is not in the table; {describe_near(name, frame.columns)}"
        )
    declared = name in frame.categorical
    frame.categorical.discard(name)
    return RawTarget(name=name, values=frame.columns.pop(name), declared=declared)


def _given(y: object) -> RawTarget:
    called = getattr(y, "name", None)
    name = called if isinstance(called, str) and called else "target"
    if _is_frame(y):
        only = read_frame(y)
        if len(only.columns) != 1:
            raise TargetError(f"y has {len(only.columns)} columns: one target is needed")
        name, values = next(iter(only.columns.items()))
        declared = bool(only.categorical)
    else:
        values, declared = raw_column(name, y)
    return RawTarget(name=name, values=values, declared=declared)


def _is_frame(y: object) -> bool:
    return isinstance(y, Mapping) or (
        hasattr(y, "columns") and len(getattr(y, "shape", (0, 0))) == 2
    )
