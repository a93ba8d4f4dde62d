"""What members cost in each of their forms: fold models, and one model of all rows."""

from __future__ import annotations

import logging
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cached_property
from queue import PriorityQueue
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from automl_fuse.augmentation import augment
from automl_fuse.budget import Stopwatch
from automl_fuse.compressing.stage import PRICING
from automl_fuse.compression import Form
from automl_fuse.errors import ExportError
from automl_fuse.folds import seed_of
from automl_fuse.measuring import Measured, measure
from automl_fuse.specs import ALL_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.compressing.stage import Stage
    from automl_fuse.search import FinishedMember
    from automl_fuse.specs import Columns

_log = logging.getLogger("automl_fuse")

MAX_FORMS: Final = 40
"""Forms that are mixed, at most."""
MAX_KEPT: Final = 8
"""Of those, members of the fused pipeline, by share; the others are the best by loss."""
FRESH_ROWS: Final = 300
"""Rows, made by augmentation, on which fold models are compared with each other."""


class PriceList:
    """Prices the teacher's members of largest share, and what is made after them.

    One fold model of a member is measured, and stands for the others: they differ little. The
    file of a pipeline is measured before it is chosen. Pricing goes on in a thread, so that
    whoever feeds the workers need not wait for it; use the list as a context manager.

    Parameters
    ----------
    stage : Stage
        The teacher and the time.

    Attributes
    ----------
    notes : list of str
        Members that cannot be written, for the user.
    unwritable : set of str
        Their names.
    fold_costs : dict of str to Measured
        Of all fold models of a member, by its name.
    seconds : dict of str to float
        How long it took to write and time one fold model of a member.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pricer = ThreadPoolExecutor(max_workers=1)
        self._priced: list[Future[None]] = []
        self._waiting: PriorityQueue[tuple[int, str]] = PriorityQueue()
        self._members: dict[str, FinishedMember] = {}
        self._folds: dict[str, Form] = {}
        self.notes: list[str] = []
        self.unwritable: set[str] = set()
        self.fold_costs: dict[str, Measured] = {}
        self.seconds: dict[str, float] = {}
        heaviest = np.argsort(-stage.fused.fitted.weights, kind="stable")[:MAX_KEPT]
        for position in heaviest:
            self.add(stage.kept[position])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pricer.shutdown(wait=False, cancel_futures=True)

    def add(self, member: FinishedMember) -> None:
        """Have a member priced: small ones first, for large ones can take all the time there is."""
        self._members[member.name] = member
        self._waiting.put((member.bytes, member.name))
        self._priced.append(self._pricer.submit(self._price_next))

    def forms(self) -> list[Form]:
        """Wait for prices while there is time, and return forms to mix: the best first.

        One member at least is priced, whatever the time.
        """
        stage = self._stage
        known = {member.name for member in stage.kept}
        others = [member for member in stage.fused.members if member.name not in known]
        for member in others:
            self.add(member)
        self._priced[0].result()
        seconds = max(0.0, stage.until(PRICING).remaining())
        wait(self._priced, timeout=seconds, return_when=FIRST_EXCEPTION)
        # What is being priced now is not waited for: a large forest takes seconds.
        self._pricer.shutdown(wait=False, cancel_futures=True)
        for priced in self._priced:
            if priced.done() and not priced.cancelled():
                priced.result()
        folds = dict(self._folds)
        return self._best(folds, self._singles(folds))

    def _best(self, folds: Mapping[str, Form], singles: Mapping[str, Form]) -> list[Form]:
        """Return the forms of the teacher's heaviest members, then of others by loss."""
        kept = {member.name for member in self._stage.kept}
        ranked = sorted(folds, key=lambda name: (name not in kept, self._members[name].loss, name))
        found: list[Form] = []
        for name in ranked:
            found += [forms[name] for forms in (folds, singles) if name in forms]
        return found[:MAX_FORMS]

    def _price_next(self) -> None:
        """Measure one fold model of the smallest member that waits, and compare two."""
        _, name = self._waiting.get()
        member = self._members[name]
        first, last = member.folds[0], member.folds[-1]
        watch = Stopwatch()
        try:
            pipelines = [self._stage.alone(member, [fold]) for fold in (first, last)]
            cost = measure(pipelines[0])
        except ExportError as error:
            self.unwritable.add(member.name)
            self.notes.append(f"{error}; the members that can be written stand in for it.")
            _log.warning(self.notes[-1])
            return
        self.seconds[member.name] = watch.seconds()
        n_folds = len(member.folds)
        whole = Measured(latency_ms=cost.latency_ms * n_folds, size_mb=cost.size_mb * n_folds)
        self.fold_costs[member.name] = whole
        one, other = (pipeline.fused(self._fresh) for pipeline in pipelines)
        self._folds[member.name] = Form(
            member=member.name,
            learner=member.learner,
            params=member.params,
            folds=member.folds,
            oof=member.predictions(self._stage.fused.rows),
            latency_ms=whole.latency_ms,
            size_mb=whole.size_mb,
            one=one,
            other=other,
        )

    def _singles(self, folds: Mapping[str, Form]) -> dict[str, Form]:
        """Return models of all rows, at the price of one fold model of their members."""
        singles = {}
        for name, form in folds.items():
            if not self._stage.assembler.has_model(name, ALL_ROWS):
                continue
            one = self._stage.alone(self._members[name], [ALL_ROWS]).fused(self._fresh)
            singles[name] = replace(
                form,
                folds=(ALL_ROWS,),
                latency_ms=form.latency_ms / len(form.folds),
                size_mb=form.size_mb / len(form.folds),
                one=one,
                other=one,
            )
        return singles

    @cached_property
    def _fresh(self) -> Columns:
        """Rows that no model has seen."""
        stage = self._stage
        sample = stage.assembler.sample
        few = sample.take(np.arange(min(FRESH_ROWS, sample.n_rows)))
        rows, _ = augment(few, 1, seed_of(stage.session.data.seed, "fresh"))
        return rows
