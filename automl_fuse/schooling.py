"""The rows that a student learns from: its fold's, and copies of them, as a teacher labels them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.augmentation import paired
from automl_fuse.encoding import rows_of
from automl_fuse.hyperparameters import COPIES, TAUGHT
from automl_fuse.lessons import (
    EARLIER_TEACHER,
    SMALLEST,
    mixed,
    read_augmented,
    repeated,
    softened,
    teacher_name,
)
from automl_fuse.specs import ALL_ROWS, Rows, Student

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.budget import Deadline
    from automl_fuse.encoding import FoldEncoder, TrialData
    from automl_fuse.folds import Indices
    from automl_fuse.members import FoldModel
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Floats, Job, LearnerSpec, Matrix


@dataclass(frozen=True, kw_only=True)
class _Lesson:
    """Labelled rows, in the terms of a learner.

    Attributes
    ----------
    X : Matrix
        Features, of shape (n_rows, n_features).
    labels : array of shape (n_rows, n_outputs)
        Probabilities of the classes that the learner knows, or standardised values.
    told : array of bool of shape (n_rows,)
        Whether a label is the teacher's alone.
    source : array of shape (n_rows,)
        Row of the training table that each is, or was made from.
    """

    X: Matrix
    labels: Floats
    told: NDArray[np.bool_]
    source: Indices

    def followed_by(self, other: _Lesson) -> _Lesson:
        """Return these rows, and then those of another lesson on the same features."""
        values = np.concatenate([self.X.values, other.X.values])
        return _Lesson(
            X=replace(self.X, values=values),
            labels=np.concatenate([self.labels, other.labels]),
            told=np.concatenate([self.told, other.told]),
            source=np.concatenate([self.source, other.source]),
        )


class School:
    """Replaces what a learner would read in a fold by what its teacher says.

    Parameters
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where labels and augmented rows of each teacher lie.
    encoder : FoldEncoder
        Encodes augmented rows.
    """

    def __init__(self, data: TrialData, run: RunDirectory, encoder: FoldEncoder) -> None:
        self._data = data
        self._run = run
        self._encoder = encoder

    def taught(
        self,
        job: Job,
        spec: LearnerSpec,
        model: FoldModel,
        rows: tuple[Rows, Rows | None],
        deadline: Deadline,
    ) -> tuple[Rows, Rows | None]:
        """Return what a student is fitted to; of any other member, the rows as they are.

        A teacher's out-of-fold label of a training row comes from models that saw the fold's
        validation rows, and a student that hears of them scores as if it had seen them itself
        (AUC 0.90 where the teacher had 0.80). So only a student of all rows, which is not
        scored, is told such labels; in a fold the teacher speaks of augmented rows alone, with
        the voice of the models that were fitted on the same training rows. Validation rows,
        which only decide when to stop, keep their true labels.

        Parameters
        ----------
        job : Job
            The fold, the student, and the hyperparameters of its learner.
        spec : LearnerSpec
            Whether the learner reads soft labels: rows are repeated for it if not.
        model : FoldModel
            The terms of the learner: its classes, or the scale of targets.
        rows : pair of Rows, or Rows and None
            Training rows and validation rows of the fold, with true labels.
        deadline : Deadline
            For encoders that must be fitted first.
        """
        train, held_out = rows
        if TAUGHT in job.params:
            lesson = self._of_earlier(job, model, train, deadline)
        elif job.student is None:
            return rows
        else:
            lesson = self._originals(job.fold, job.student, model, train)
            if job.student.copies > 0:
                name = teacher_name(job.student.teacher)
                copies = self._copies(name, job.fold, job.student, model, deadline)
                lesson = lesson.followed_by(copies)
        weight = self._data.weights(lesson.source)
        taught = Rows(X=lesson.X, y=lesson.labels[:, 0], weight=weight)
        if model.classes:
            taught = replace(taught, y=lesson.labels.argmax(axis=1), soft=lesson.labels)
        if _matches_changes(job):
            taught = _arranged(taught, *paired(lesson.source, lesson.told))
        if model.classes and held_out is not None:
            held_out = replace(held_out, soft=_as_outputs(held_out.y, len(model.classes)))
        if spec.soft_labels:
            return taught, held_out
        return repeated(taught), held_out and repeated(held_out)

    def _of_earlier(self, job: Job, model: FoldModel, train: Rows, deadline: Deadline) -> _Lesson:
        """Return training rows whose labels an earlier pipeline helped to make, and its own.

        It has seen none of the rows of this run, so that its labels tell nothing of a fold's
        validation rows.
        """
        source = self._data.split(job.fold, rows_of(model.encoders)).train
        student = Student(
            name=job.member,
            learner=job.learner,
            params={},
            alpha=float(job.params[TAUGHT]),
            copies=float(job.params.get(COPIES, 0.0)),
        )
        teacher = np.load(self._run.teacher(EARLIER_TEACHER))
        taught = _in_terms_of(model, teacher[source], student)
        labels = mixed(_as_outputs(train.y, len(model.classes)), taught, student.alpha)
        told = np.zeros(len(labels), dtype=bool)
        told |= np.isfinite(taught).all(axis=1) & (student.alpha == 1.0)
        lesson = _Lesson(
            X=train.X,
            labels=_with_every_class(labels, train.y, model),
            told=told,
            source=source,
        )
        if not student.copies:
            return lesson
        copies = self._copies(EARLIER_TEACHER, job.fold, student, model, deadline)
        return lesson.followed_by(copies)

    def _originals(self, fold: int, student: Student, model: FoldModel, train: Rows) -> _Lesson:
        """Return the training rows: with true labels, or mixed with the teacher's for all rows."""
        source = self._data.split(fold, rows_of(model.encoders)).train
        labels = _as_outputs(train.y, len(model.classes))
        told = np.zeros(len(labels), dtype=bool)
        if fold == ALL_ROWS:
            teacher = np.load(self._run.teacher(teacher_name(student.teacher)))
            taught = _in_terms_of(model, teacher[source], student)
            told |= np.isfinite(taught).all(axis=1) & (student.alpha == 1.0)
            labels = _with_every_class(mixed(labels, taught, student.alpha), train.y, model)
        return _Lesson(X=train.X, labels=labels, told=told, source=source)

    def _copies(
        self, name: str, fold: int, student: Student, model: FoldModel, deadline: Deadline
    ) -> _Lesson:
        """Return the augmented rows made from the training rows, as many as the student reads."""
        rows = read_augmented(self._run, name)
        copy = np.arange(len(rows.source)) // len(self._data.y)
        labels = rows.labels[fold]
        train = self._data.split(fold, rows_of(model.encoders)).train
        ours = np.isin(rows.source, train) & np.isfinite(labels).all(axis=1)
        share = np.random.default_rng(fold + 1).random(len(ours)) < student.copies - copy
        chosen = np.flatnonzero(ours & share)
        X = self._encoder.of_others(
            rows.columns.take(chosen), fold, model.encoders, (name, student.copies), deadline
        )
        return _Lesson(
            X=X,
            labels=_in_terms_of(model, labels[chosen], student),
            told=np.ones(len(chosen), dtype=bool),
            source=rows.source[chosen],
        )


def _as_outputs(y: Array, n_classes: int) -> Floats:
    """Return targets as (n_rows, n_outputs): one-hot classes, or values."""
    if n_classes:
        certain: Floats = np.eye(n_classes)[y]
        return certain
    return np.asarray(y, dtype=np.float64)[:, None]


def _in_terms_of(model: FoldModel, labels: Floats, student: Student) -> Floats:
    """Return a teacher's labels for the classes that a learner knows, or standardised."""
    if model.target is not None:
        return model.target.standardised(labels)
    known: Floats = np.maximum(labels[:, list(model.classes)], 1e-12)
    told = softened(known / known.sum(axis=1, keepdims=True), student)
    # The most probable class of a row without probabilities would look like a certain label.
    silent = ~np.isfinite(labels).all(axis=1, keepdims=True)
    return np.where(silent, np.nan, told)


def _with_every_class(labels: Floats, y: Array, model: FoldModel) -> Floats:
    """Return labels in which the rows of a class that nobody is told of keep their true one."""
    for code in np.flatnonzero(labels.max(axis=0) < SMALLEST) if model.classes else ():
        labels[y == code] = np.eye(labels.shape[1])[code]
    return labels


def _matches_changes(job: Job) -> bool:
    """Return whether the learner wants rows in pairs: see ``paired``."""
    strength = job.params.get("matching")
    return isinstance(strength, int | float) and strength > 0


def _arranged(rows: Rows, order: Array, share: Floats) -> Rows:
    """Return rows in another order, some more than once, with their weights times a share."""
    weight = share if rows.weight is None else share * rows.weight[order]
    return Rows(
        X=replace(rows.X, values=rows.X.values[order]),
        y=rows.y[order],
        weight=weight / weight.mean(),
        soft=None if rows.soft is None else rows.soft[order],
    )
