"""What a teacher says: labels of training rows, out-of-fold, and of rows made from them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from automl_fuse.augmentation import augment
from automl_fuse.budget import Deadline
from automl_fuse.folds import seed_of
from automl_fuse.lessons import Augmented, teacher_name, write_augmented
from automl_fuse.run import write_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automl_fuse.folds import Indices
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import Order
    from automl_fuse.session import Session
    from automl_fuse.specs import Columns, Floats
    from automl_fuse.stages import Fused

MAX_COPIES: Final = 3
MAX_ROWS: Final = 200_000
"""Augmented rows, at most."""
LABELLING: Final = 0.25
"""Share of the time left that labelling augmented rows may take."""
MOST_WAITING: Final = 8
"""Students, at most, that wait for labels while others go first."""


class Teaching:
    """Writes what students learn from into the run directory, each once.

    Augmented rows are labelled in a thread, while students that need none are fitted. Use it as
    a context manager: at the end it waits for that thread.

    Parameters
    ----------
    session : Session
        Data, folds and the run directory.
    fused : Fused
        The teacher: its members and their fusion.
    full : Pipeline
        The same, able to label new rows.
    deadline : Deadline
        When students must be done.
    """

    def __init__(self, session: Session, fused: Fused, full: Pipeline, deadline: Deadline) -> None:
        self._session = session
        self._fused = fused
        self._full = full
        self._deadline = deadline
        self._copies: dict[str, Future[int]] = {}
        self._labeller = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._labeller.shutdown(cancel_futures=True)

    def prepared(self, orders: Iterable[Order]) -> Iterator[Order]:
        """Give each order once what its student reads is written.

        Students that need augmented rows let others pass until those are labelled. Where there
        is no time for that, they go without.
        """
        waiting: list[Order] = []
        for order in orders:
            if order.student is not None and order.student.copies > 0:
                self._begin_labelling(order.student.teacher)
                waiting.append(order)
            else:
                yield self._told(order)
            while waiting and (self._is_labelled(waiting[0]) or len(waiting) >= MOST_WAITING):
                yield self._told(waiting.pop(0))
        yield from map(self._told, waiting)

    def _begin_labelling(self, teacher: tuple[int, ...]) -> None:
        name = teacher_name(teacher)
        if name not in self._copies:
            self._copies[name] = self._labeller.submit(self._augmented, teacher)

    def _is_labelled(self, order: Order) -> bool:
        assert order.student is not None  # noqa: S101 - only students wait
        return self._copies[teacher_name(order.student.teacher)].done()

    def _told(self, order: Order) -> Order:
        """Return the order of a student with as many augmented rows as there are."""
        student = order.student
        if student is None:
            return order
        name = teacher_name(student.teacher)
        path = self._session.run.teacher(name)
        if not path.exists():
            write_array(path, self._out_of_fold(student.teacher))
        copies = student.copies and min(student.copies, float(self._copies[name].result()))
        return replace(order, student=replace(student, copies=copies))

    def _out_of_fold(self, teacher: tuple[int, ...]) -> Floats:
        """Return what a teacher predicts for training rows that its models have not seen."""
        rows = self._fused.rows
        oof = np.stack([member.predictions(rows) for member in self._fused.kept])
        labels = np.full((len(self._session.data.y), oof.shape[2]), np.nan)
        labels[rows] = self._combined(oof, teacher)
        return labels

    def _combined(self, predictions: Floats, teacher: tuple[int, ...]) -> Floats:
        """Fuse predictions of all members as a teacher does: some of them by their shares."""
        if not teacher:
            fused = self._fused.fitted.fusion.combine(predictions)
        else:
            shares = np.maximum(self._fused.fitted.weights[list(teacher)], 1e-6)
            fused = np.tensordot(shares / shares.sum(), predictions[list(teacher)], axes=1)
        if self._full.classes_ is None:
            return fused
        return self._fused.calibration.probabilities(fused)

    def _augmented(self, teacher: tuple[int, ...]) -> int:
        """Write augmented rows with a teacher's labels; return how many copies of each row."""
        data = self._session.data
        n_rows, n_folds = len(data.y), len(data.folds)
        seconds = max(0.0, LABELLING * self._deadline.remaining() / n_folds)
        affordable = int(seconds / max(self._seconds_a_row(teacher), 1e-9))
        n_asked = min(affordable, MAX_COPIES * n_rows, MAX_ROWS // n_folds)
        copies = -(-n_asked // n_rows)
        if copies:
            columns, source = self._copied(copies, n_asked)
            labels = self._labelled(columns, source, teacher, n_asked)
            write_augmented(
                self._session.run,
                teacher_name(teacher),
                Augmented(columns=columns, source=source, labels=labels),
            )
        return copies

    def _copied(self, copies: int, n_asked: int) -> tuple[Columns, Indices]:
        """Return augmented rows, whole copies of the table in random order, and their sources.

        Where less than one copy is asked for, they are made from a sample of the rows.
        """
        data = self._session.data
        rng = np.random.default_rng(data.seed)
        order = rng.permutation(len(data.y))[:n_asked]
        few = data.columns if len(order) == len(data.y) else data.columns.take(order)
        columns, source = augment(few, copies, seed_of(data.seed, "augment"))
        if few is not data.columns:
            return columns, order[source]
        order = (order + len(order) * np.arange(copies)[:, None]).ravel()
        return columns.take(order), source[order]

    def _seconds_a_row(self, teacher: tuple[int, ...]) -> float:
        """Return how long the models of one fold take to label a row."""
        kept = self._fused.kept
        members = [kept[position] for position in teacher] if teacher else kept
        return sum(m.row_seconds / max(1, len(m.folds)) for m in members)

    def _labelled(
        self, columns: Columns, source: Indices, teacher: tuple[int, ...], n_asked: int
    ) -> Floats:
        """Label some rows with the models of each fold, and all asked with those blind to them.

        Returns what ``Augmented.labels`` holds.
        """
        folds = self._session.data.folds
        labels = np.full((len(folds) + 1, columns.n_rows, self._full.n_outputs), np.nan)
        deadline = Deadline(LABELLING * self._deadline.remaining())
        for fold, split in enumerate(folds):
            rows = np.flatnonzero(~np.isin(source, split.valid))[:n_asked]
            blind = np.flatnonzero(np.isin(source, split.valid))[: -(-n_asked // len(folds))]
            both = np.concatenate([rows, blind])
            if deadline.expired():
                break
            predictions = np.zeros((len(self._full.members), len(both), self._full.n_outputs))
            for position, prediction in self._full.fold_predictions(fold, columns.take(both)):
                predictions[position] = prediction
            found = self._combined(predictions, teacher)
            labels[fold, rows] = found[: len(rows)]
            labels[-1, blind] = found[len(rows) :]
        return labels
