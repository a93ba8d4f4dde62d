"""Makes what compressors propose: students, edited and joined members, models of all rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.search.collecting import collected
from automl_fuse.search.outcome import FinishedMember, TrialFailure
from automl_fuse.specs import ALL_ROWS, Job, JobResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from automl_fuse.specs import Array, Deadline, Edit, Executor, Floats, Joint, Params, Student
    from automl_fuse.trial import TrialData

POLL_SECONDS = 0.1
MARGIN = 0.9
"""Share of the time left that one fit may take."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made.

    Attributes
    ----------
    name : str
        Member whose files are written.
    learner, params
        What is fitted; for an edit, those of its source.
    folds : tuple of int
        Folds to fit, or none where only the model of all rows is wanted.
    seconds : float
        Predicted seconds of one fold; 0 where nothing is known.
    student, edit, source, others
        As in ``Job``.
    all_rows : bool
        Whether a model of all rows is wanted after the folds.
    max_rows : int or None
        Training rows that are read, at most; all if None.
    """

    name: str
    learner: str
    params: Params
    folds: tuple[int, ...]
    seconds: float = 0.0
    student: Student | None = None
    edit: Edit | Joint | None = None
    source: str = ""
    others: tuple[str, ...] = ()
    all_rows: bool = True
    max_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """An order that was carried out.

    Attributes
    ----------
    order : Order
        What was asked.
    member : FinishedMember or None
        Its folds; None where none were asked for.
    single_bytes : int
        Bytes of the model of all rows; 0 where there is none.
    """

    order: Order
    member: FinishedMember | None
    single_bytes: int


@dataclass(kw_only=True)
class _Open:
    order: Order
    pending: list[int]
    running: set[int] = field(default_factory=set)
    results: dict[int, JobResult] = field(default_factory=dict)
    waits_for_all: bool = False


class Workshop:
    """Carries out orders on an executor until they or the time are over.

    Parameters
    ----------
    data : TrialData
        Target and folds.
    executor : Executor
        Where models are fitted.
    slots : int
        Jobs that run at once.
    loss_of : callable
        ``loss_of(prediction, rows)``, lower is better.
    tuned : callable
        ``tuned(name, folds)`` gives what early stopping decided in the folds of a member, to
        be added to its params for a fit on all rows.
    has_model : callable
        ``has_model(name, fold)``: an edit of all rows needs its source's.
    deadline : Deadline
        No job outlives it.
    """

    def __init__(
        self,
        data: TrialData,
        executor: Executor,
        slots: int,
        loss_of: Callable[[Floats, Array], float],
        tuned: Callable[[str, tuple[int, ...]], Mapping[str, Any]],
        has_model: Callable[[str, int], bool],
        deadline: Deadline,
    ) -> None:
        self._data = data
        self._executor = executor
        self._slots = slots
        self._loss_of = loss_of
        self._tuned = tuned
        self._has_model = has_model
        self._deadline = deadline
        self._open: dict[str, _Open] = {}
        self._jobs: dict[tuple[str, int], Job] = {}
        self.made: list[Made] = []
        self.failures: list[TrialFailure] = []

    def carry_out(
        self, orders: Iterator[Order], finished: Callable[[Made], None] = lambda _made: None
    ) -> None:
        """Take orders one after the other; ``finished`` hears of each that is done.

        An iterator may wait for what it hears before it gives the next order. Where the time is
        over, what is open is dropped, but for students whose folds are done.
        """
        more = True
        while not self._deadline.expired():
            more = self._fill(orders, more=more)
            if not self._open:
                if not more:
                    break
                continue
            timeout = max(0.0, min(POLL_SECONDS, self._deadline.remaining()))
            for result in self._executor.collect(timeout):
                self._take(result, finished)
        self._abandon(finished)

    def _fill(self, orders: Iterator[Order], *, more: bool) -> bool:
        """Keep every worker busy; return whether there may be more orders."""
        while self._executor.idle > 0 and not self._deadline.expired():
            if self._submit_next():
                continue
            order = next(orders, None) if more else None
            if order is None:
                return False
            if self._affordable(order):
                self._begin(order)
        return more

    def _affordable(self, order: Order) -> bool:
        n_fits = len(order.folds) + order.all_rows
        waves = -(-n_fits // self._slots)
        return order.seconds * waves <= self._deadline.remaining()

    def _begin(self, order: Order) -> None:
        opened = _Open(order=order, pending=list(order.folds))
        self._open[order.name] = opened
        if not order.folds:
            self._want_all(opened)

    def _submit_next(self) -> bool:
        """Start a job of an open order; return whether there was one."""
        opened = next((each for each in self._open.values() if each.pending), None)
        if opened is None:
            return False
        fold = opened.pending.pop(0)
        order = opened.order
        params = order.params
        if fold == ALL_ROWS and order.edit is None:
            source_folds = order.folds or tuple(range(len(self._data.folds)))
            params = {**params, **self._tuned(order.name, source_folds)}
        job = Job(
            member=order.name,
            learner=order.learner,
            params=params,
            fold=fold,
            seconds=max(0.0, MARGIN * self._deadline.remaining()),
            student=order.student,
            edit=order.edit,
            source=order.source,
            others=order.others,
            max_rows=order.max_rows,
        )
        opened.running.add(fold)
        self._jobs[order.name, fold] = job
        self._executor.submit(job)
        return True

    def _want_all(self, opened: _Open) -> None:
        opened.waits_for_all = True
        opened.pending.insert(0, ALL_ROWS)

    def _take(self, result: JobResult, finished: Callable[[Made], None]) -> None:
        name, fold = result.job.member, result.job.fold
        opened = self._open.get(name)
        if opened is None or fold not in opened.running:
            return
        opened.running.discard(fold)
        if result.error or result.predictions is None:
            self._fail(opened, result.error)
            return
        opened.results[fold] = result
        if opened.pending or opened.running:
            return
        order = opened.order
        sources = (order.source, *order.others)
        possible = order.edit is None or all(self._has_model(s, ALL_ROWS) for s in sources)
        if opened.order.all_rows and possible and not opened.waits_for_all:
            self._want_all(opened)
        else:
            self._finish(opened, finished)

    def _finish(self, opened: _Open, finished: Callable[[Made], None]) -> None:
        order = opened.order
        self._open.pop(order.name, None)
        folds = {fold: r for fold, r in opened.results.items() if fold != ALL_ROWS}
        single = opened.results.get(ALL_ROWS)
        made = Made(
            order=order,
            member=collected(order.name, order.params, folds, self._data, self._loss_of)
            if folds
            else None,
            single_bytes=0 if single is None else single.bytes,
        )
        self.made.append(made)
        finished(made)

    def _fail(self, opened: _Open, error: str) -> None:
        self._close(opened)
        order = opened.order
        self.failures.append(
            TrialFailure(member=order.name, learner=order.learner, params=order.params, error=error)
        )

    def _close(self, opened: _Open) -> None:
        for fold in opened.running:
            self._executor.cancel(self._jobs[opened.order.name, fold])
        opened.running.clear()
        self._open.pop(opened.order.name, None)

    def _abandon(self, finished: Callable[[Made], None]) -> None:
        """Close what is open; an order whose folds are all done counts without its last fit."""
        for opened in list(self._open.values()):
            self._close(opened)
            done = [fold for fold in opened.results if fold != ALL_ROWS]
            if opened.order.folds and len(done) == len(opened.order.folds):
                self._finish(opened, finished)


def medians(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each number over the folds; integers stay integers."""
    names = {name for point in points for name in point}
    found: dict[str, Any] = {}
    for name in sorted(names):
        values = [point[name] for point in points if name in point]
        middle = float(np.median(values))
        whole = all(isinstance(value, int | np.integer) for value in values)
        found[name] = max(1, round(middle)) if whole else middle
    return found
