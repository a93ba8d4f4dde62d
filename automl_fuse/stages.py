"""The stages of a run up to the fused pipeline: search, fuse, sum up, assemble."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse import report
from automl_fuse.budget import STOP
from automl_fuse.errors import DiskFullError, NothingFittedError
from automl_fuse.features import forget_features
from automl_fuse.fusion import cross_fitted, fit_calibration, fit_final
from automl_fuse.remote import RemoteFolds
from automl_fuse.report import Judged
from automl_fuse.search import MemberSearch, SearchLimits, choose_fusion
from automl_fuse.specs import ExecutorContext
from automl_fuse.trial import FoldRunner, PluginChoice
from automl_fuse.workers import Noting, open_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from automl_fuse.assembly import Assembler
    from automl_fuse.calibration import Calibration
    from automl_fuse.folds import Indices
    from automl_fuse.fusion import FittedFusion
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.search import FinishedMember, FusionChoice, SearchOutcome
    from automl_fuse.session import Session
    from automl_fuse.specs import Executor, LearnerSpec

_log = logging.getLogger("automl_fuse")

_MOVE: Final = "name a run directory on another disk"

FUSION_ROWS = 20_000
"""Rows, at most, that the choice among fusions reads; the chosen one is fitted on all."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """The chosen fusion, its members, and the rows that it was judged on."""

    members: tuple[FinishedMember, ...]
    rows: Indices
    judged: Judged
    choice: FusionChoice
    fitted: FittedFusion
    calibration: Calibration

    @property
    def kept(self) -> tuple[FinishedMember, ...]:
        """The members that the fusion needs."""
        return tuple(self.members[position] for position in self.fitted.members)


@contextmanager
def executor_of(session: Session, learners: Sequence[LearnerSpec]) -> Iterator[Executor]:
    """Start the executor of a run for jobs of these learners, and close it at the end."""
    n_workers, n_threads = session.workers
    choice = PluginChoice(
        modules=session.settings.plugins,
        block=session.settings.block_plugins,
        learners=tuple(spec.name for spec in learners),
        block_encoders=session.settings.block_encoders,
    )
    runner = FoldRunner(session.data, session.run, choice, n_threads)
    context = ExecutorContext(
        runner=runner,
        n_workers=n_workers,
        n_threads=n_threads,
        remote=RemoteFolds(runner),
        options=session.settings.executor_options,
        memory_limit=session.settings.memory_bytes,
    )
    executor = open_executor(session.settings.executor, context, session.run, session.plugins)
    try:
        yield Noting(executor, session.notes)
    finally:
        executor.close()


def search(
    session: Session,
    learners: Sequence[LearnerSpec],
    executor: Executor,
    warm: Callable[[str, str], None],
) -> SearchOutcome:
    """Try members until the search's share of the time is over.

    ``warm(member, learner)`` hears of each finished member.
    """
    started = session.watch.seconds()

    def notify(event: str, details: Mapping[str, Any]) -> None:
        if event == "trial_finished":
            warm(details["member"], details["learner"])
        session.observers(event, details)

    member_search = MemberSearch(
        learners,
        session.data,
        session.loss,
        executor,
        session.storage,
        SearchLimits(
            seconds=session.times.search - session.watch.seconds(),
            max_trials=session.settings.max_trials,
            slots=session.workers[0],
            patience=session.patience,
            log_targets=session.log_targets,
            until=session.times.search,
            disk_bytes=session.members_bytes,
        ),
        notify,
        session.ledger,
        session.ways,
    )
    outcome = member_search.run()
    if outcome.interrupted:
        STOP.request()
    outcome = replace(outcome, started=started, interrupted=STOP.is_requested)
    if outcome.disk_full and not outcome.members:
        raise DiskFullError(f"{outcome.disk_full} No member had finished. Make room, or {_MOVE}.")
    if not outcome.members:
        raise NothingFittedError(_why_nothing(session, outcome))
    if outcome.disk_full:
        _make_room(session, outcome)
    return outcome


def _make_room(session: Session, outcome: SearchOutcome) -> None:
    """Leave the later stages what room there is, after a search that a full disk has ended."""
    _log.warning(
        "The search ended early, for the disk is full: %s The pipeline is made of the %d members "
        "that had finished. With more room, 'automl-fuse resume' goes on.",
        outcome.disk_full,
        len(outcome.members),
    )
    forget_features(session.run)


def _why_nothing(session: Session, outcome: SearchOutcome) -> str:
    if outcome.interrupted:
        return "Interrupted before the first member had a finished fold."
    if not outcome.failures:
        return (
            f"No member finished a fold within time_limit={session.times.limit:g} s on "
            f"{len(session.data.y)} rows: give it more time."
        )
    reasons = "\n".join(f"  {f.member}: {f.error.strip()}" for f in outcome.failures)
    return f"No member could be fitted. Of each, the reason:\n{reasons}"


def fuse(session: Session, outcome: SearchOutcome) -> Fused:
    """Choose a fusion on rows that did not choose its weights, then fit it on all rows."""
    data, members = session.data, outcome.members
    known = np.all([np.isfinite(member.oof).all(axis=1) for member in members], axis=0)
    rows = data.validated[known]
    oof = np.stack([member.oof[known] for member in members])
    y, weight = data.y[rows], None if data.weight is None else data.weight[rows]
    choosing = session.fusion_context(session.times.choose)
    few, splits = session.sampled(y, FUSION_ROWS)
    choice = choose_fusion(
        session.fusions,
        oof[:, few],
        (y[few], None if weight is None else weight[few]),
        splits,
        choosing,
        session.storage,
    )
    context = session.fusion_context(session.times.fuse)
    splits = session.splits(y)
    if len(few) < len(y):
        result = cross_fitted(choice.spec, choice.params, oof, y, weight, splits, context)
        choice = replace(choice, result=result)
    fitted = fit_final(choice.spec, choice.params, oof, y, weight, context)
    calibration = fit_calibration(
        session.objective, data.task, choice.result.prediction, y, weight, splits
    )
    session.observers("fused", {"fusion": choice.spec.name, "loss": choice.result.loss})
    return Fused(
        members=members,
        rows=rows,
        judged=Judged(task=data.task, metric=session.objective, y=y, weight=weight),
        choice=choice,
        fitted=fitted,
        calibration=calibration,
    )


def sum_up(session: Session, outcome: SearchOutcome, fused: Fused) -> dict[str, Any]:
    """Return the report of the run, as JSON values."""
    names = [member.name for member in fused.kept]
    weights = dict(zip(names, map(float, fused.fitted.weights), strict=True))
    return {
        "task": str(session.data.task),
        "metric": session.objective.name,
        "greater_is_better": session.objective.greater_is_better,
        "rows": len(session.data.y),
        "folds": len(session.data.folds),
        **report.fusion_summary(
            fused.choice, fused.fitted, fused.calibration.threshold, fused.judged
        ),
        "leaderboard": report.leaderboard(fused.members, weights, fused.rows, fused.judged),
        **report.search_summary(outcome),
        "plugins": report.plugin_summary(session.plugins),
        "observer_failures": list(session.observers.failures),
    }


def assemble(fused: Fused, assembler: Assembler, report: dict[str, Any]) -> Pipeline:
    """Put the fused pipeline together from the fold models of the members that it needs."""
    members = [
        assembler.member(member.name, member.learner, member.params, member.folds)
        for member in fused.kept
    ]
    return assembler.pipeline(members, fused.fitted.fusion, fused.calibration, report)
