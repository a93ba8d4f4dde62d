"""A raw target turned into what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.errors import TargetError
from automl_fuse.specs import Array, Floats, Task
from automl_fuse.table.cells import family_of
from automl_fuse.table.codes import class_codes
from automl_fuse.table.columns import normalise, normalise_objects, where_missing
from automl_fuse.table.parsing import parse_numbers
from automl_fuse.table.tasks import are_integers, infer_task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.table.target import RawTarget

LARGEST = 1e100
"""Size of a target, at most: sums of its squares stay finite."""


@dataclass(frozen=True)
class EncodedTarget:
    """A target as codes or values.

    Attributes
    ----------
    y : array of shape (n_rows,)
        Class codes (int64) or values (float64).
    classes : array of shape (n_classes,) or None
        Labels in code order; None in regression.
    task : Task
        What is predicted.
    reason : str
        Why it was taken for that task, in words for the user.
    """

    y: Array
    classes: Array | None
    task: Task
    reason: str


def encode_target(
    target: RawTarget, rows: NDArray[np.intp], *, wanted: str, notes: list[str]
) -> EncodedTarget:
    """Find the task of a target, and return its values at the rows that are used.

    Parameters
    ----------
    target : RawTarget
        Of all rows.
    rows : intp array of shape (n_used,)
        Rows that are used: each has a target.
    wanted : str
        The task that the user asks for, empty if it is to be inferred.
    notes : list of str
        What looks doubtful is added to it, in words for the user.

    Raises
    ------
    TargetError
        If the target cannot be learned.
    """
    name, had_missing = target.name, bool(where_missing(target.values).any())
    values = label_values(name, target.values[rows], had_missing=had_missing, notes=notes)
    check_finite(name, values, rows)
    codes, classes = class_codes(values)
    if len(classes) < 2:
        raise TargetError(
            f"target {name!r} is always {classes.tolist()[0]!r}: at least two classes "
            "or values are needed"
        )
    classify, reason = (
        (wanted != "regression", f"task={wanted!r} was given")
        if wanted
        else infer_task(values, len(classes), declared=target.declared)
    )
    if not classify:
        return EncodedTarget(regression_values(name, values), None, Task.REGRESSION, reason)
    _check_classes(name, codes, classes, wanted, notes)
    task = Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    return EncodedTarget(codes, classes, task, reason)


def label_values(name: str, labels: Array, *, had_missing: bool, notes: list[str]) -> Array:
    """Return labels, none missing, as bool, integer, float or str objects."""
    kind = labels.dtype.kind
    if kind in "biu":
        return labels
    if kind == "O" and all(_is_integer(t) for t in set(map(type, labels.tolist()))):
        integers = [int(label) for label in labels.tolist()]
        if all(abs(integer) < 2**63 for integer in integers):
            return np.array(integers, dtype=np.int64)
    if kind == "f":
        values = labels.astype(np.float64)
    else:
        values = (
            normalise(name, labels, []) if kind != "O" else normalise_objects(name, labels, notes)
        )
    if values.dtype.kind == "M" or (
        values.dtype == object and not all(isinstance(v, str) for v in values)
    ):
        raise TargetError(
            f"target {name!r} holds {labels[0]!r}: only numbers, text and booleans can be predicted"
        )
    # Integers with missing values arrive as floats, from CSV files above all.
    if kind == "f" and had_missing and are_integers(values):
        return values.astype(np.int64)
    return values


def _is_integer(kind: type) -> bool:
    return family_of(kind) == "number" and issubclass(kind, Integral)


def check_finite(name: str, values: Array, rows: NDArray[np.intp]) -> None:
    """Refuse a target with infinite values; ``rows`` are their positions for the user."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TargetError(f"target {name!r} is {values[at]} at row {rows[at]}: drop or mend it")
    beyond = np.abs(values) > LARGEST if values.dtype.kind == "f" else np.zeros(0, dtype=bool)
    if beyond.any():
        at = int(np.argmax(beyond))
        raise TargetError(
            f"target {name!r} is {values[at]} at row {rows[at]}: squares of values beyond "
            f"±{LARGEST:g} cannot be summed. Use another unit, or drop the row."
        )


def regression_values(name: str, values: Array) -> Floats:
    """Return labels as numbers, or say which is none."""
    if values.dtype != object:
        return values.astype(np.float64)
    numbers, bad = parse_numbers(values)
    if bad < 0 and np.isnan(numbers).any():
        bad = int(np.argmax(np.isnan(numbers)))
    if bad >= 0:
        raise TargetError(
            f"target {name!r} holds text such as {values[bad]!r}: regression needs numbers"
        )
    return numbers


def _check_classes(
    name: str, codes: NDArray[np.int64], classes: Array, wanted: str, notes: list[str]
) -> None:
    n_classes, n_rows = len(classes), len(codes)
    if wanted == "binary" and n_classes > 2:
        shown = ", ".join(repr(label) for label in classes.tolist()[:5])
        raise TargetError(
            f"target {name!r} has {n_classes} classes ({shown}{', …' if n_classes > 5 else ''}), "
            "not two as task='binary' says: use task='multiclass'"
        )
    if n_classes > 2 and n_classes > n_rows / 2:
        raise TargetError(
            f"target {name!r} has {n_classes} classes over {n_rows} rows, for example "
            f"{classes.tolist()[0]!r}: it looks like an identifier, free text or a quantity"
        )
    if wanted == "multiclass" and n_classes == 2:
        notes.append(f"target {name!r} has two classes: it is learned as a binary task")
    lone = np.flatnonzero(np.bincount(codes) == 1)
    if len(lone):
        shown = ", ".join(repr(label) for label in classes[lone[:5]].tolist())
        have = "class has one row" if len(lone) == 1 else "classes have one row each"
        notes.append(
            f"target {name!r}: {len(lone)} {have} ({shown}): such a class "
            "cannot be in every fold, and its score means little"
        )
