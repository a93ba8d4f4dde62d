"""A training table prepared for a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import DataError, TargetError
from automl_fuse.table.columns import check_columns, where_missing
from automl_fuse.table.dataset import Dataset
from automl_fuse.table.labels import encode_target
from automl_fuse.table.reading import read_frame
from automl_fuse.table.sides import checked_weight, group_codes, take_side
from automl_fuse.table.target import RawTarget, take_target
from automl_fuse.table.tasks import wanted_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats


def prepare(
    data: object,
    y: object = None,
    *,
    target: str | None = None,
    task: str | None = None,
    sample_weight: object = None,
    groups: object = None,
) -> Dataset:
    """Read a training table, take its target out, and find the task.

    Parameters
    ----------
    data : object
        Anything that ``read_table`` reads.
    y : object, optional
        The target, one value a row: array, series, list, or a frame of one column.
    target : str, optional
        Name of the target column in ``data``; either this or ``y`` is needed.
    task : {"classification", "binary", "multiclass", "regression"}, optional
        Inferred from the target if absent.
    sample_weight, groups : object, optional
        One value a row, or the name of a column of ``data``.

    Returns
    -------
    Dataset
        Features, target and what is known about them.

    Raises
    ------
    TargetError
        If the target is absent or cannot be learned.
    DataError
        If the table or the weights cannot be used.
    SettingsError
        If ``task`` is not one of those above.
    """
    wanted = wanted_task(task)
    frame = read_frame(data)
    column = take_target(frame, y, target, n_rows=frame.n_rows)
    weights = take_side(frame, sample_weight, "sample_weight")
    group_values = take_side(frame, groups, "groups")
    if not frame.columns:
        raise DataError(f"the table has no feature beside the target {column.name!r}: add columns")
    _check_rows(frame.n_rows, column)
    table = check_columns(frame)
    notes = list(table.warnings)
    weight = None if weights is None else checked_weight(weights, table.n_rows)
    codes = None if group_values is None else group_codes(group_values, table.n_rows)
    rows = _usable_rows(column, weight, notes)
    encoded = encode_target(column, rows, wanted=wanted, notes=notes)
    return Dataset(
        table=table if len(rows) == table.n_rows else table.take(rows),
        y=encoded.y,
        classes=encoded.classes,
        task=encoded.task,
        task_reason=encoded.reason,
        weight=None if weight is None else weight[rows] / weight[rows].mean(),
        groups=None if codes is None else codes[rows],
        target=column.name,
        rows=rows,
        warnings=tuple(notes),
    )


def _check_rows(n_rows: int, target: RawTarget) -> None:
    if n_rows == 0:
        raise DataError("the table has no rows")
    if n_rows == 1:
        raise DataError("the table has one row: nothing can be learned from it")
    if where_missing(target.values).all():
        raise TargetError(f"target {target.name!r}: every value is missing")


def _usable_rows(target: RawTarget, weight: Floats | None, notes: list[str]) -> NDArray[np.intp]:
    """Return the rows with a target and a weight above zero."""
    keep = ~where_missing(target.values)
    if not keep.all():
        notes.append(_left_out(int((~keep).sum()), f"without a target ({target.name!r})"))
    if weight is not None:
        idle = keep & (weight == 0)
        if idle.any():
            notes.append(_left_out(int(idle.sum()), "of weight 0"))
        keep &= weight > 0
    rows = np.flatnonzero(keep)
    if len(rows) < 2:
        raise TargetError(
            f"target {target.name!r}: fewer than two rows have a target and a weight above 0"
        )
    return rows


def _left_out(count: int, which: str) -> str:
    rows = "1 row" if count == 1 else f"{count} rows"
    return f"{rows} {which} {'is' if count == 1 else 'are'} left out"
