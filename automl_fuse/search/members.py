"""The search for members: keeps every worker busy with the fold that is worth most."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.budget import STOP, Deadline, Stopwatch
from automl_fuse.errors import DiskFullError
from automl_fuse.hyperparameters import learner_params
from automl_fuse.search.arms import (
    MAX_FAILURES,
    SAMPLE_ROWS,
    Choice,
    arm_of,
    arms_of,
    choose,
)
from automl_fuse.search.collecting import collected, fold_losses
from automl_fuse.search.incumbent import Incumbent
from automl_fuse.search.keeping import drop_excess
from automl_fuse.search.ledger import (
    FAILED,
    FINISHED,
    OPENED,
    PARTIAL,
    SEARCH_ENDED,
    STOPPED,
    Ledger,
)
from automl_fuse.search.opened import OpenMember, details_of, last_line, told_of
from automl_fuse.search.outcome import FinishedMember, SearchLimits, SearchOutcome, TrialFailure
from automl_fuse.search.plateau import Plateau
from automl_fuse.search.replay import as_details, is_over, replay
from automl_fuse.search.tally import MIN_GAIN, Tally
from automl_fuse.search.times import Times
from automl_fuse.search.together import at_once, folds_of, mates_of, seconds_each, stretch
from automl_fuse.workers import has_begun, last_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.search.arms import Way
    from automl_fuse.search.studies import Storage
    from automl_fuse.specs import Executor, Job, JobResult, LearnerSpec, Loss, Shape
    from automl_fuse.trial import TrialData

FOLDS_BEFORE_STOPPING = 4
"""A member is stopped after one of so many folds at the earliest: one fold is noisy."""
RESTART_SECONDS = 4.0
"""A fold whose member was stopped is left to end if that takes less: killing it would cost its
worker's start, imports and encoded features."""
FEATURE_SHARE = 0.5
"""Bytes of a member's features on a large table, as a share of those of its columns: encoding
and fitting hold up to four copies."""
LEAST_FEATURE_BYTES = 1 << 27
"""The same in bytes, where the share is less."""
POLL_SECONDS = 0.25

Notify = Callable[[str, Mapping[str, Any]], None]


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
    ledger : Ledger
        Where it is written what becomes of members; the search goes on from where it ends.
    ways : sequence of Way
        Other ways in which learners are fitted.

    Raises
    ------
    RunError
        If it cannot go on from there.
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
        ledger: Ledger,
        ways: Sequence[Way] = (),
    ) -> None:
        self._data = data
        self._executor = executor
        self._limits = limits
        self._notify = notify
        self._ledger = ledger
        self._discard = ledger.discard
        self._deadline = Deadline(limits.seconds)
        self._times = Times(limits=limits, deadline=self._deadline, n_folds=len(data.folds))
        self._arms = [
            arm
            for spec in learners
            for arm in arms_of(spec, storage, data.seed, with_log=limits.log_targets)
        ]
        self._arms += [arm_of(way, storage, data.seed) for way in ways]
        self._incumbent = Incumbent(data.y, data.weight, loss, data.validated)
        table_bytes = sum(getattr(v, "nbytes", 0) for v in data.columns.values.values())
        self._tally = Tally(
            incumbent=self._incumbent,
            plateau=Plateau(limits.patience),
            feature_bytes=max(LEAST_FEATURE_BYTES, FEATURE_SHARE * table_bytes),
        )
        self._shape = data.fold_shape
        self._open: dict[str, OpenMember] = {}
        self._unwanted: dict[tuple[str, int], tuple[Job, Stopwatch]] = {}
        self._exhausted = False
        self._disk_full = ""
        past = replay(ledger, self._arms, self._tally)
        self._reopened, self._partial = deque(past.open), past.partial

    def run(self) -> SearchOutcome:
        """Search until the time is over, nothing is left to try, or the user interrupts."""
        limits = self._limits
        was_over = is_over(self._ledger.lines, limits.until, limits.max_trials)
        interrupted = False
        try:
            if not was_over:
                self._search()
        except KeyboardInterrupt:
            interrupted = True
        except DiskFullError as error:
            self._disk_full = str(error)
        with contextlib.suppress(DiskFullError):
            self._abandon()
            if not was_over:
                self._write_end(interrupted=interrupted)
        tally = self._tally
        return SearchOutcome(
            members=tuple(tally.finished or self._partial),
            failures=tuple(tally.failures),
            stopped=tally.stopped,
            dropped=tally.dropped,
            busy_seconds=tally.busy,
            interrupted=interrupted,
            gainless_seconds=limits.patience if self._is_gainless() else None,
            disk_full=self._disk_full,
        )

    def _search(self) -> None:
        self._partial = []
        drop_excess(self._tally, self._ledger, self._limits.disk_bytes)
        while not self._deadline.expired() and not self._is_gainless() and not self._disk_full:
            self._fill()
            if not self._open:
                break
            for result in self._executor.collect(min(POLL_SECONDS, self._deadline.remaining())):
                self._take(result)
            self._kill_overrun()

    def _is_gainless(self) -> bool:
        """Return whether further search does not raise the ensemble, all portfolios done."""
        return self._tally.portfolios_done and self._tally.plateau.reached()

    def _write_end(self, *, interrupted: bool) -> None:
        """Write down by what the search was bounded: with more of it, it can go on."""
        details = {
            "interrupted": interrupted or STOP.is_requested or bool(self._disk_full),
            "until": self._limits.until,
            "max_trials": self._limits.max_trials,
        }
        self._ledger.write(SEARCH_ENDED, details)

    def _fill(self) -> None:
        """Give every idle worker a fold: of an open member first, else of a new one."""
        while self._executor.idle > 0:
            member = next((m for m in self._open.values() if m.pending), None) or self._begin()
            if member is None:
                return
            self._submit(member)

    def _begin(self) -> OpenMember | None:
        """Open what was open when the run was interrupted; then what is worth most."""
        if self._reopened:
            return self._opened(self._reopened.popleft())
        limit = self._limits.max_trials
        if self._exhausted or (limit is not None and self._tally.opened >= limit):
            return None
        if self._times.is_too_late:
            return None
        choice = self._choice()
        self._record_trouble()
        if choice is None:
            # Asked again only when a result has corrected the predicted costs.
            self._exhausted = True
            return None
        member = self._opened_anew(choice)
        for mate in self._mates(member):
            member.mates.append(self._opened_anew(mate))
        return member

    def _mates(self, member: OpenMember) -> Iterator[Choice]:
        """Return what is fitted in one job with a member, as far as trials are left."""
        if self._is_urgent:
            return iter(())
        choice, shape = member.choice, self._shape_of(member.choice)
        seconds = self._times.of_member(choice.seconds)
        mates = mates_of(choice, shape, len(self._data.folds), seconds)
        limit = self._limits.max_trials
        return islice(mates, None if limit is None else limit - self._tally.opened)

    def _choice(self) -> Choice | None:
        """Return what to try next."""
        finished = self._tally.finished
        allowance = self._times.allowance(self._tally.feature_bytes, is_first=not finished)
        choice = choose(self._arms, self._shape, allowance)
        if choice is None and not finished and not self._open:
            # Learners stop at their deadline: something late is better than no pipeline at all.
            whole = replace(allowance, given=allowance.left)
            choice = choose(self._arms, self._shape, whole, at_any_price=True)
        return choice

    def _opened_anew(self, choice: Choice) -> OpenMember:
        self._ledger.write(OPENED, details_of(choice))
        self._tally.open(is_drawn=choice.is_drawn)
        return self._opened(choice)

    def _opened(self, choice: Choice) -> OpenMember:
        member = OpenMember(choice=choice, pending=list(range(len(self._data.folds))))
        self._open[member.name] = member
        self._notify("trial_started", {"member": member.name, "learner": choice.arm.spec.name})
        return member

    def _submit(self, member: OpenMember) -> None:
        """Start a job of the next fold of a member, or of several that are fitted together."""
        choice, slots = member.choice, self._limits.slots
        shape, own = self._shape_of(choice), learner_params(choice.params)
        n = at_once(choice.arm.spec, shape, own, len(member.pending))
        n_waiting = len(member.pending)
        wave = self._times.of_wave(choice.seconds, n_waiting, is_urgent=self._is_urgent)
        seconds = wave / stretch(n_waiting, n, slots)
        folds = [(member, member.pending.pop(0)) for _ in range(n)]
        for mate in member.mates:
            folds += [(mate, fold) for fold in mate.pending]
            mate.pending.clear()
        first, *others = [each.job(fold, seconds) for each, fold in folds]
        job = replace(first, beside=tuple(others))
        member.running[job.fold] = (job, Stopwatch())
        self._executor.submit(job)

    @property
    def _is_urgent(self) -> bool:
        """Whether nothing is servable yet, of a table so large that it may last."""
        return not self._tally.finished and self._shape.n_rows > SAMPLE_ROWS

    def _shape_of(self, choice: Choice) -> Shape:
        n_rows = self._shape.n_rows
        return replace(self._shape, n_rows=min(choice.max_rows or n_rows, n_rows))

    def _take(self, result: JobResult) -> None:
        """Account for a finished job."""
        job, results = result.job, result.each
        member = self._open.get(job.member)
        if member is None or job.fold not in member.running:
            if self._unwanted.pop((job.member, job.fold), None) is not None:
                self._tally.busy += sum(each.fit_seconds + each.predict_seconds for each in results)
                self._discard(job.member)
            return
        del member.running[job.fold]
        self._exhausted = False
        for each in results:
            self._tally.busy += each.fit_seconds + each.predict_seconds
            self._take_fold(each, len(results))

    def _take_fold(self, result: JobResult, n_together: int) -> None:
        """Account for a finished fold, one of so many of its job."""
        member = self._open.get(result.job.member)
        if member is None:
            # Another fold of its job has ended it, and its files are gone.
            return
        if DiskFullError.__name__ in result.error:
            # It says nothing about the member, which stays open for when there is room.
            self._disk_full = last_line(result.error).partition(": ")[2]
            return
        if result.error or result.predictions is None:
            # A machine that was lost says nothing about the learner.
            self._fail(member, result.error, weight=0 if result.lost else 1)
            return
        member.results[result.job.fold] = result
        self._measure(member, result, n_together)
        if self._is_useless(member):
            self._stop(member)
        elif len(member.results) == len(self._data.folds):
            self._finish(member)

    def _measure(self, member: OpenMember, result: JobResult, n_together: int) -> None:
        """Compare predicted with measured seconds, and ask what the fold adds."""
        arm = member.choice.arm
        shape = replace(self._shape, n_rows=result.n_rows or self._shape.n_rows)
        own = learner_params(result.job.params)
        predicted = seconds_each(arm.spec, shape, own, n_together)
        member.costs.append((predicted, result.fit_seconds + result.predict_seconds))
        arm.costs.append(member.costs[-1])
        if result.predictions is not None:
            rows = self._data.folds[result.job.fold].valid
            member.gains.append(self._incumbent.gain(result.predictions, rows))

    def _is_useless(self, member: OpenMember) -> bool:
        """Return whether the finished folds show no gain, though there is an ensemble."""
        enough = len(member.gains) * FOLDS_BEFORE_STOPPING >= len(self._data.folds)
        if not enough or not member.pending or self._incumbent.is_empty:
            return False
        return float(np.mean(member.gains)) < MIN_GAIN * max(abs(self._incumbent.loss), 1e-12)

    def _stop(self, member: OpenMember) -> None:
        self._let_end(member)
        self._close(member)
        losses = self._fold_losses(member)
        mean = float(np.mean(losses))
        arm, loss = member.choice.arm, self._incumbent.loss
        self._write(STOPPED, member, {"loss": mean, "ensemble_loss": loss})
        self._tally.stop(arm, loss, member.fold_seconds, self._ledger.watch.seconds())
        member.choice.draw.stop(mean)
        self._discard(member.name)
        self._notify("trial_stopped", {"member": member.name, "folds": len(losses)})

    def _finish(self, member: OpenMember) -> None:
        self._close(member)
        finished = self._collected(member)
        blend = self._incumbent.best_blend(finished.oof)
        self._ledger.keep(member.name, finished.oof)
        ensemble = {"share": blend.share, "ensemble_loss": blend.loss, "gain": blend.gain}
        self._write(FINISHED, member, {**as_details(finished), **ensemble})
        self._incumbent.absorb(finished.oof, blend)
        choice, seconds = member.choice, self._ledger.watch.seconds()
        self._tally.finish(
            choice.arm, finished, blend, choice.draw.params, member.fold_seconds, seconds
        )
        choice.draw.finish(finished.loss)
        drop_excess(self._tally, self._ledger, self._limits.disk_bytes)
        told = {**told_of(finished), "ensemble_loss": self._incumbent.loss}
        self._notify("trial_finished", told)

    def _fail(self, member: OpenMember, error: str, weight: int = 1) -> None:
        self._close(member)
        self._write(FAILED, member, {"error": error, "weight": weight})
        failure = TrialFailure(
            member=member.name,
            learner=member.choice.arm.spec.name,
            params=member.choice.params,
            error=error,
        )
        self._tally.fail(member.choice.arm, failure, weight)
        member.choice.draw.fail(error)
        self._discard(member.name)
        self._notify("trial_failed", {"member": member.name, "error": last_line(error)})

    def _record_trouble(self) -> None:
        """Tell of learners of which nothing can be drawn."""
        for arm in self._arms:
            if arm.trouble:
                learner, error = arm.spec.name, arm.trouble
                failure = TrialFailure(member=arm.name, learner=learner, params={}, error=error)
                self._tally.failures.append(failure)
                self._notify("trial_failed", {"member": arm.name, "error": last_line(error)})
                arm.trouble = ""

    def _write(self, event: str, member: OpenMember, details: Mapping[str, Any]) -> None:
        """Write down the end of a member."""
        self._ledger.write(event, {**member.ended(), "busy": self._tally.busy, **details})

    def _let_end(self, member: OpenMember) -> None:
        """Leave those running folds of a stopped member alone that will soon be done."""
        expected = float(np.mean(member.fold_seconds))
        for fold, (_, watch) in list(member.running.items()):
            if expected - watch.seconds() < RESTART_SECONDS:
                self._unwanted[member.name, fold] = member.running.pop(fold)

    def _close(self, member: OpenMember) -> None:
        for job, watch in member.running.values():
            self._tally.busy += watch.seconds()
            self._executor.cancel(job)
        member.running.clear()
        self._open.pop(member.name)

    def _kill_overrun(self) -> None:
        """Fail members whose learners ignore their deadline: they would go on wasting workers."""
        for member in list(self._open.values()):
            for fold, (job, watch) in list(member.running.items()):
                if fold not in member.begun and has_begun(self._executor, job):
                    member.begun.add(fold)
                    member.running[fold] = (job, Stopwatch())
                elif self._is_overrun(job, watch, is_begun=fold in member.begun):
                    error = self._overrun(job, watch)
                    for name in dict.fromkeys(each.member for each in job.each):
                        self._fail(self._open[name], error, weight=MAX_FAILURES)
                    break
        for place, (job, watch) in list(self._unwanted.items()):
            if self._is_overrun(job, watch, is_begun=True):
                self._cancel_unwanted(place)

    def _is_overrun(self, job: Job, watch: Stopwatch, *, is_begun: bool) -> bool:
        return watch.seconds() > self._times.at_most(job.seconds, is_begun=is_begun)

    def _overrun(self, job: Job, watch: Stopwatch) -> str:
        """Return what is said of a job that was killed, with its last output."""
        output = last_output(self._executor, job)
        return (f"Its last output:\n{output}\n" if output else "") + (
            f"{folds_of(job)} was killed: it was given {job.seconds:.1f} s and had not stopped "
            f"after {watch.seconds():.1f} s."
        )

    def _cancel_unwanted(self, place: tuple[str, int]) -> None:
        job, watch = self._unwanted.pop(place)
        self._tally.busy += watch.seconds()
        self._executor.cancel(job)
        self._discard(job.member)

    def _abandon(self) -> None:
        """End what is still open; without any finished member, keep the furthest one's folds."""
        for place in list(self._unwanted):
            self._cancel_unwanted(place)
        unfinished = sorted(self._open.values(), key=lambda m: len(m.results), reverse=True)
        for member in unfinished:
            self._close(member)
            if member.results and not self._tally.finished and not self._partial:
                self._keep_partial(member)
            else:
                self._discard(member.name)
            member.choice.draw.stop(float("nan"))
        for choice in self._reopened:
            choice.draw.stop(float("nan"))

    def _keep_partial(self, member: OpenMember) -> None:
        found = self._collected(member)
        self._partial = [found]
        self._ledger.keep(member.name, found.oof)
        self._ledger.write(PARTIAL, {"member": member.name, **as_details(found)})

    def _collected(self, member: OpenMember) -> FinishedMember:
        params = member.choice.params
        loss_of = self._incumbent.loss_of
        found = collected(member.name, params, member.results, self._data, loss_of)
        return replace(found, max_rows=member.choice.max_rows)

    def _fold_losses(self, member: OpenMember) -> list[float]:
        return fold_losses(member.results, self._data, self._incumbent.loss_of)
