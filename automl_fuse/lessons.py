"""What a student reads in place of a fold's training rows: soft labels, augmented rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import joblib
import numpy as np

from automl_fuse.specs import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Columns, Floats, Student

SMALLEST: Final = 0.01
"""Probability below which a class is left out where rows are repeated for their classes."""


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """Rows made from training rows, labelled by a teacher.

    Attributes
    ----------
    columns : Columns
        Typed columns: one copy of each training row in order, then the next of each.
    source : array of shape (n_augmented,)
        Training row that each was made from.
    labels : array of shape (n_folds + 1, n_augmented, n_outputs)
        What the teacher predicts, NaN where it was not asked. First, for each fold, by the models
        that did not see the fold's validation rows: a student that is scored on those must not
        hear of them. Last, for a student of all rows, by the models that did not see the row's
        source.
    """

    columns: Columns
    source: NDArray[np.intp]
    labels: Floats


EARLIER_TEACHER: Final = "earlier"
"""Name of the labels of an earlier pipeline."""


def teacher_name(members: tuple[int, ...]) -> str:
    """Return the name of a teacher's files: a digest of its members, or that of the fusion."""
    listed = ",".join(map(str, sorted(members)))
    return hashlib.sha256(listed.encode()).hexdigest()[:16] if members else "fusion"


def write_augmented(run: RunDirectory, teacher: str, rows: Augmented) -> None:
    """Write augmented rows, as a teacher labelled them, where workers can map them into memory."""
    run.seals.stream(run.augmented(teacher), partial(joblib.dump, rows))


def read_augmented(run: RunDirectory, teacher: str) -> Augmented:
    """Read what ``write_augmented`` wrote in this run."""
    path = run.augmented(teacher)
    run.seals.check(path)
    rows: Augmented = joblib.load(path, mmap_mode="r")
    return rows


def softened(labels: Floats, student: Student) -> Floats:
    """Return a teacher's probabilities as a student is told them.

    Parameters
    ----------
    labels : array of shape (n_rows, n_classes)
        Probabilities.
    student : Student
        Its temperature, and whether labels are hard. Hinton, Vinyals & Dean 2015, "Distilling
        the knowledge in a neural network", section 2.
    """
    if student.hard:
        certain: Floats = np.eye(labels.shape[1])[labels.argmax(axis=1)]
        return certain
    if student.temperature == 1.0:
        return labels
    logits = np.log(np.maximum(labels, 1e-12)) / student.temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    softer: Floats = powers / powers.sum(axis=1, keepdims=True)
    return softer


def mixed(truth: Floats, taught: Floats, alpha: float) -> Floats:
    """Return (1 - alpha) · truth + alpha · taught; the truth where the teacher says nothing."""
    known = np.isfinite(taught).all(axis=1, keepdims=True)
    result: Floats = np.where(known, (1 - alpha) * truth + alpha * taught, truth)
    return result


def repeated(rows: Rows) -> Rows:
    """Return rows with soft labels as rows with certain ones: each once for each likely class.

    The copies of a row share its weight by their probability.
    """
    if rows.soft is None:
        return rows
    likely = rows.soft >= np.minimum(SMALLEST, rows.soft.max(axis=1, keepdims=True))
    soft = np.where(likely, rows.soft, 0.0)
    soft /= soft.sum(axis=1, keepdims=True)
    row, code = np.nonzero(soft)
    weight = soft[row, code] * (1.0 if rows.weight is None else rows.weight[row])
    matrix = replace(rows.X, values=rows.X.values[row])
    return Rows(X=matrix, y=code.astype(np.int64), weight=weight / weight.mean())
