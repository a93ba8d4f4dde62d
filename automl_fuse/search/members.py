"""The search for members: keeps every worker busy with the fold that is worth most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.search.arms import (
    MAX_FAILURES,
    SAMPLE_GROWTH,
    SAMPLE_ROWS,
    Allowance,
    Candidate,
    Choice,
    arms_of,
    choose,
)
from automl_fuse.search.collecting import collected, fold_losses
from automl_fuse.search.incumbent import Incumbent
from automl_fuse.search.outcome import FinishedMember, SearchLimits, SearchOutcome, TrialFailure
from automl_fuse.search.plateau import Plateau
from automl_fuse.specs import Job, JobResult, Shape
from automl_fuse.targets import learner_params
from automl_fuse.workers import has_begun, last_output

if TYPE_CHECKING:
    from automl_fuse.search.studies import Storage
    from automl_fuse.specs import Executor, LearnerSpec, Loss, Params
    from automl_fuse.trial import TrialData

FIRST_SHARE = 0.5
"""Share of the search that the first member may take: something must be servable soon."""
FIRST_SECONDS = 6.0
"""Seconds of a fold of the first member, at most, where the table is large."""
SHARE = 0.4
"""Share of the remaining search that a later member may take."""
MARGIN = 0.95
"""Share of the time to the end of the search that the last jobs are given."""
OVERRUN = (1.25, 5.0)
"""A job is killed after its seconds times the first number plus the second."""
START = (0.5, 10.0, 60.0)
"""A worker may take this share of the search to start and to import a job's library, but at least
the second number of seconds and at most the third: long where a machine has much else to do."""
MIN_GAIN = 5e-5
"""Relative gain of the ensemble below which a member is stopped."""
FOLDS_BEFORE_STOPPING = 4
"""A member is stopped after one of so many folds at the earliest: one fold is noisy."""
RESTART_SECONDS = 4.0
"""A fold whose member was stopped is left to end if that takes less: killing it would cost its
worker's start, imports and encoded features."""
LAST_START = 0.01
"""Share of the search before whose end no member is begun."""
POLL_SECONDS = 0.25
MAX_KEPT = 100
"""Finished members that are kept; beyond it the one of the greatest loss is dropped."""
KEPT_BYTES = 1 << 29
"""Bytes of OOF predictions that are kept, likewise."""

Notify = Callable[[str, Mapping[str, Any]], None]


@dataclass(kw_only=True)
class _Open:
    """A member whose folds are being worked on."""

    name: str
    choice: Choice
    pending: list[int]
    running: dict[int, tuple[Job, Stopwatch]] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    results: dict[int, JobResult] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)


class MemberSearch:
    """Tries members until the time is over.

    Parameters
    ----------
    learners : sequence of LearnerSpec
        What may be tried.
    data : TrialData
        Target, folds, task and seed.
    loss : callable
        The objective, lower is better.
    executor : Executor
        Where folds are fitted.
    storage : Storage
        Where the learners' studies are kept.
    limits : SearchLimits
        When to stop.
    notify : callable
        Is told of every event and its details.
    discard : callable
        Removes what the trials of a member have written, given its name.
    """

    def __init__(
        self,
        learners: Sequence[LearnerSpec],
        data: TrialData,
        loss: Loss,
        executor: Executor,
        storage: Storage,
        limits: SearchLimits,
        notify: Notify,
        discard: Callable[[str], None],
    ) -> None:
        self._data = data
        self._executor = executor
        self._limits = limits
        self._notify = notify
        self._discard = discard
        self._deadline = Deadline(limits.seconds)
        self._watch = Stopwatch()
        self._plateau = Plateau(limits.patience)
        self._arms = [
            arm
            for spec in learners
            for arm in arms_of(spec, storage, data.seed, with_log=limits.log_targets)
        ]
        covered = np.unique(np.concatenate([fold.valid for fold in data.folds]))
        self._incumbent = Incumbent(data.y, data.weight, loss, covered)
        self._shape = Shape(
            n_rows=max(len(fold.train) for fold in data.folds),
            n_features=max(1, len(data.columns.columns)),
            n_classes=data.n_classes,
            task=data.task,
        )
        self._open: dict[str, _Open] = {}
        self._unwanted: dict[tuple[str, int], tuple[Job, Stopwatch]] = {}
        self._finished: list[FinishedMember] = []
        self._failures: list[TrialFailure] = []
        self._opened = self._stopped = self._dropped = 0
        self._busy = 0.0
        self._exhausted = self._portfolios_done = False

    def run(self) -> SearchOutcome:
        """Search until the time is over, nothing is left to try, or the user interrupts."""
        interrupted = False
        try:
            while not self._deadline.expired() and not self._is_over():
                self._fill()
                if not self._open:
                    break
                for result in self._executor.collect(min(POLL_SECONDS, self._deadline.remaining())):
                    self._take(result)
                self._kill_overrun()
        except KeyboardInterrupt:
            interrupted = True
        self._abandon()
        return SearchOutcome(
            members=tuple(self._finished),
            failures=tuple(self._failures),
            stopped=self._stopped,
            dropped=self._dropped,
            busy_seconds=self._busy,
            interrupted=interrupted,
            gainless_seconds=self._limits.patience if self._is_over() else None,
        )

    def _is_over(self) -> bool:
        """Return whether further search does not raise the ensemble, all portfolios done."""
        return self._portfolios_done and self._plateau.reached()

    def _fill(self) -> None:
        """Give every idle worker a fold: of an open member first, else of a new one."""
        while self._executor.idle > 0:
            member = next((m for m in self._open.values() if m.pending), None) or self._begin()
            if member is None:
                return
            self._submit(member)

    def _begin(self) -> _Open | None:
        limit = self._limits.max_trials
        if self._exhausted or (limit is not None and self._opened >= limit):
            return None
        remaining = self._deadline.remaining()
        if remaining < LAST_START * self._limits.seconds:
            return None
        n_folds = len(self._data.folds)
        left = remaining / math.ceil(n_folds / self._limits.slots)
        seconds = left * (SHARE if self._finished else FIRST_SHARE)
        choice = choose(self._arms, self._shape, Allowance(given=seconds, left=left))
        if choice is None and not self._finished and not self._open:
            # Learners stop at their deadline: something late is better than no pipeline at all.
            whole = Allowance(given=left, left=left)
            choice = choose(self._arms, self._shape, whole, at_any_price=True)
        self._record_trouble()
        if choice is None:
            # Asked again only when a result has corrected the predicted costs.
            self._exhausted = True
            return None
        self._opened += 1
        self._portfolios_done = choice.is_drawn
        name = choice.name
        member = _Open(name=name, choice=choice, pending=list(range(n_folds)))
        self._open[name] = member
        self._notify("trial_started", {"member": name, "learner": choice.arm.spec.name})
        return member

    def _submit(self, member: _Open) -> None:
        waves = math.ceil(len(member.pending) / self._limits.slots)
        seconds = min(member.choice.seconds, MARGIN * self._deadline.remaining() / waves)
        if not self._finished and self._shape.n_rows > SAMPLE_ROWS:
            seconds = min(seconds, FIRST_SECONDS)
        fold = member.pending.pop(0)
        job = Job(
            member=member.name,
            learner=member.choice.arm.spec.name,
            params=member.choice.params,
            fold=fold,
            seconds=max(seconds, 0.0),
            max_rows=member.choice.max_rows,
        )
        member.running[fold] = (job, Stopwatch())
        self._executor.submit(job)

    def _take(self, result: JobResult) -> None:
        """Account for a finished fold."""
        member = self._open.get(result.job.member)
        if member is None or result.job.fold not in member.running:
            if self._unwanted.pop((result.job.member, result.job.fold), None) is not None:
                self._busy += result.fit_seconds + result.predict_seconds
                self._discard(result.job.member)
            return
        del member.running[result.job.fold]
        self._exhausted = False
        self._busy += result.fit_seconds + result.predict_seconds
        if result.error or result.predictions is None:
            self._fail(member, result.error)
            if result.lost:
                # A machine that was lost says nothing about the learner.
                member.choice.arm.failures -= 1
            return
        member.results[result.job.fold] = result
        self._measure(member, result)
        if self._is_useless(member):
            self._stop(member)
        elif not member.pending and not member.running:
            self._finish(member)

    def _measure(self, member: _Open, result: JobResult) -> None:
        """Compare predicted with measured seconds, and ask what the fold adds."""
        arm = member.choice.arm
        shape = replace(self._shape, n_rows=result.n_rows or self._shape.n_rows)
        predicted = arm.spec.cost(shape, learner_params(result.job.params)).seconds
        arm.costs.append((predicted, result.fit_seconds + result.predict_seconds))
        if result.predictions is not None:
            rows = self._data.folds[result.job.fold].valid
            member.gains.append(self._incumbent.gain(result.predictions, rows))

    def _is_useless(self, member: _Open) -> bool:
        """Return whether the finished folds show no gain, though there is an ensemble."""
        enough = len(member.gains) * FOLDS_BEFORE_STOPPING >= len(self._data.folds)
        if not enough or not member.pending or self._incumbent.is_empty:
            return False
        return float(np.mean(member.gains)) < MIN_GAIN * max(abs(self._incumbent.loss), 1e-12)

    def _stop(self, member: _Open) -> None:
        self._stopped += 1
        self._let_end(member)
        self._close(member)
        losses = self._fold_losses(member)
        member.choice.draw.stop(float(np.mean(losses)))
        member.choice.arm.record(0.0, self._incumbent.loss, _fold_seconds(member))
        self._plateau.record(self._watch.seconds(), self._incumbent.loss)
        self._discard(member.name)
        self._notify("trial_stopped", {"member": member.name, "folds": len(losses)})

    def _finish(self, member: _Open) -> None:
        self._close(member)
        finished = self._collected(member)
        self._finished.append(finished)
        gain = self._incumbent.absorb(finished.oof)
        member.choice.arm.record(gain, self._incumbent.loss, _fold_seconds(member))
        self._plateau.record(self._watch.seconds(), self._incumbent.loss)
        member.choice.draw.finish(finished.loss)
        if member.choice.max_rows is not None and gain > MIN_GAIN * abs(self._incumbent.loss):
            member.choice.arm.portfolio.append(
                Candidate(
                    params=member.choice.draw.params,
                    merit=1.0,
                    max_rows=SAMPLE_GROWTH * member.choice.max_rows,
                )
            )
        self._drop_excess()
        self._notify(
            "trial_finished",
            {
                "member": member.name,
                "learner": finished.learner,
                "loss": finished.loss,
                "ensemble_loss": self._incumbent.loss,
                "fit_seconds": finished.fit_seconds,
                "predict_seconds": finished.predict_seconds,
                "bytes": finished.bytes,
                "params": dict(finished.params),
            },
        )

    def _drop_excess(self) -> None:
        most = max(1, min(MAX_KEPT, KEPT_BYTES // self._finished[0].oof.nbytes))
        if len(self._finished) > most:
            worst = max(self._finished, key=lambda kept: (not np.isfinite(kept.loss), kept.loss))
            self._finished.remove(worst)
            self._dropped += 1
            self._discard(worst.name)

    def _fail(self, member: _Open, error: str) -> None:
        self._close(member)
        member.choice.arm.failures += 1
        member.choice.draw.fail(error)
        self._discard(member.name)
        learner = member.choice.arm.spec.name
        self._record_failure(member.name, learner, member.choice.params, error)

    def _record_trouble(self) -> None:
        """Tell of learners of which nothing can be drawn."""
        for arm in self._arms:
            if arm.trouble:
                self._record_failure(arm.name, arm.spec.name, {}, arm.trouble)
                arm.trouble = ""

    def _record_failure(self, member: str, learner: str, params: Params, error: str) -> None:
        failure = TrialFailure(member=member, learner=learner, params=params, error=error)
        self._failures.append(failure)
        last_line = error.strip().rsplit("\n", 1)[-1]
        self._notify("trial_failed", {"member": member, "error": last_line})

    def _let_end(self, member: _Open) -> None:
        """Leave those running folds of a stopped member alone that will soon be done."""
        expected = float(np.mean(_fold_seconds(member)))
        for fold, (_, watch) in list(member.running.items()):
            if expected - watch.seconds() < RESTART_SECONDS:
                self._unwanted[member.name, fold] = member.running.pop(fold)

    def _close(self, member: _Open) -> None:
        for job, watch in member.running.values():
            self._busy += watch.seconds()
            self._executor.cancel(job)
        member.running.clear()
        self._open.pop(member.name)

    def _kill_overrun(self) -> None:
        for member in list(self._open.values()):
            for fold, (job, watch) in list(member.running.items()):
                if fold not in member.begun and has_begun(self._executor, job):
                    member.begun.add(fold)
                    member.running[fold] = (job, Stopwatch())
                elif watch.seconds() > self._most_seconds(job, is_begun=fold in member.begun):
                    # A learner that ignores its deadline would go on wasting workers.
                    member.choice.arm.failures = MAX_FAILURES
                    output = last_output(self._executor, job)
                    self._fail(
                        member,
                        (f"Its last output:\n{output}\n" if output else "")
                        + f"fold {job.fold} was killed: it was given {job.seconds:.1f} s and had "
                        f"not stopped after {watch.seconds():.1f} s.",
                    )
                    break
        for place, (job, watch) in list(self._unwanted.items()):
            if watch.seconds() > self._most_seconds(job, is_begun=True):
                self._cancel_unwanted(place)

    def _most_seconds(self, job: Job, *, is_begun: bool) -> float:
        """Return how long a job may run, or its worker may take to begin it."""
        if is_begun:
            factor, extra = OVERRUN
            return factor * job.seconds + extra
        share, least, most = START
        return min(max(least, share * self._limits.seconds), most)

    def _cancel_unwanted(self, place: tuple[str, int]) -> None:
        job, watch = self._unwanted.pop(place)
        self._busy += watch.seconds()
        self._executor.cancel(job)
        self._discard(job.member)

    def _abandon(self) -> None:
        """End what is still open; without any finished member, keep the furthest one's folds."""
        for place in list(self._unwanted):
            self._cancel_unwanted(place)
        unfinished = sorted(self._open.values(), key=lambda m: len(m.results), reverse=True)
        for member in unfinished:
            self._close(member)
            if member.results and not self._finished:
                self._finished.append(self._collected(member))
            else:
                self._discard(member.name)
            member.choice.draw.stop(float("nan"))

    def _collected(self, member: _Open) -> FinishedMember:
        params = member.choice.params
        loss_of = self._incumbent.loss_of
        found = collected(member.name, params, member.results, self._data, loss_of)
        return replace(found, max_rows=member.choice.max_rows)

    def _fold_losses(self, member: _Open) -> list[float]:
        return fold_losses(member.results, self._data, self._incumbent.loss_of)


def _fold_seconds(member: _Open) -> list[float]:
    return [result.fit_seconds + result.predict_seconds for result in member.results.values()]
