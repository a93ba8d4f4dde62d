"""The task that a target asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import SettingsError
from automl_fuse.table.columns import EXACT_INTEGERS
from automl_fuse.table.names import describe_near

if TYPE_CHECKING:
    from automl_fuse.specs import Array

_MAX_INTEGER_CLASSES = 20
_MIN_ROWS_PER_INTEGER_CLASS = 10


def wanted_task(task: str | None) -> str:
    """Return the task that the user asks for, empty if none."""
    known = ("binary", "classification", "multiclass", "regression")
    if task is not None and task not in known:
        raise SettingsError(f"task {task!r} is unknown: {describe_near(str(task), known)}")
    return "" if task is None else str(task)


def infer_task(values: Array, n_classes: int, *, declared: bool) -> tuple[bool, str]:
    """Return whether to classify, and why."""
    if declared:
        return True, "the target is declared categorical"
    if values.dtype == object:
        return True, "the target holds text"
    if values.dtype.kind == "b":
        return True, "the target is true or false"
    if not are_integers(values):
        return False, "the target holds numbers with fractions"
    if n_classes == 2:
        return True, "the target has two distinct values"
    count = f"the target holds {n_classes} distinct integers over {len(values):,} rows"
    few = n_classes <= _MAX_INTEGER_CLASSES
    if few and len(values) >= _MIN_ROWS_PER_INTEGER_CLASS * n_classes:
        return True, f"{count}, few enough to be classes; task='regression' makes them numbers"
    return False, f"{count}, too many to be classes; task='multiclass' makes them classes"


def are_integers(values: Array) -> bool:
    """Return whether all numbers are integers that a float holds exactly."""
    if values.dtype.kind in "iu":
        return True
    finite = np.isfinite(values) & (np.abs(values) <= EXACT_INTEGERS)
    return bool(finite.all() and (values == np.floor(values)).all())
