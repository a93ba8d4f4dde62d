"""The stages of a run, in order: search, fuse, sum up, assemble."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse import report
from automl_fuse.compression import compress
from automl_fuse.errors import NothingFittedError
from automl_fuse.folds import cross_fitting
from automl_fuse.fusion import cross_fitted, fit_calibration, fit_final
from automl_fuse.pipeline import Member, Pipeline
from automl_fuse.report import Judged
from automl_fuse.run import read_pickle, write_array
from automl_fuse.search import MemberSearch, SearchLimits, choose_fusion
from automl_fuse.specs import ExecutorContext, Teacher
from automl_fuse.trial import FoldRunner, PluginChoice
from automl_fuse.workers import open_executor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.calibration import Calibration
    from automl_fuse.compression import Front
    from automl_fuse.folds import Indices
    from automl_fuse.fusion import FittedFusion, Splits
    from automl_fuse.schema import Schema
    from automl_fuse.search import FinishedMember, FusionChoice, SearchOutcome
    from automl_fuse.session import Session
    from automl_fuse.specs import Array, Floats, LearnerSpec
    from automl_fuse.table import Dataset

_log = logging.getLogger("automl_fuse")

CROSS_FITTING_SPLITS = 3
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
    front: Front

    @property
    def kept(self) -> tuple[FinishedMember, ...]:
        """The members that the fusion needs."""
        return tuple(self.members[position] for position in self.fitted.members)


def search(session: Session, learners: Sequence[LearnerSpec]) -> SearchOutcome:
    """Try members until the search's share of the time is over."""
    n_workers, n_threads = session.workers
    choice = PluginChoice(modules=session.settings.plugins, block=session.settings.block_plugins)
    runner = FoldRunner(session.data, session.run, choice, n_threads)
    context = ExecutorContext(runner=runner, n_workers=n_workers, n_threads=n_threads)
    started = session.watch.seconds()
    executor = open_executor(
        session.settings.executor, context, session.run, session.plugins.executors
    )
    try:
        member_search = MemberSearch(
            learners,
            session.data,
            session.loss,
            executor,
            session.storage,
            SearchLimits(
                seconds=session.times.search - session.watch.seconds(),
                max_trials=session.settings.max_trials,
                slots=n_workers,
            ),
            session.observers,
            session.run.discard,
        )
        outcome = member_search.run()
    finally:
        executor.close()
    if not outcome.members:
        raise NothingFittedError(_why_nothing(session, outcome))
    if session.settings.output:
        for member in outcome.members:
            write_array(session.run.oof(member.name), member.oof)
    return replace(outcome, started=started)


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
    rows = np.flatnonzero(
        np.all([np.isfinite(member.oof).all(axis=1) for member in members], axis=0)
    )
    oof = np.stack([member.oof[rows] for member in members])
    y, weight = data.y[rows], None if data.weight is None else data.weight[rows]
    choosing = session.fusion_context(session.times.choose)
    few, splits = _sampled(y, choosing.seed)
    choice = choose_fusion(
        session.fusions,
        oof[:, few],
        (y[few], None if weight is None else weight[few]),
        splits,
        choosing,
        session.storage,
    )
    context = session.fusion_context(session.times.fuse)
    splits = cross_fitting(y, CROSS_FITTING_SPLITS, context.seed)
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
        front=_front(session, members, oof, (y, weight), choice, fitted, splits),
    )


def _sampled(y: Array, seed: int) -> tuple[Indices, Splits]:
    """Return the rows that the choice among fusions reads, and their splits."""
    parts = max(1, -(-len(y) // FUSION_ROWS))
    few = np.arange(len(y)) if parts == 1 else cross_fitting(y, parts, seed)[0][1]
    return few, cross_fitting(y[few], CROSS_FITTING_SPLITS, seed)


def _front(
    session: Session,
    members: Sequence[FinishedMember],
    oof: Floats,
    target: tuple[Array, Floats | None],
    choice: FusionChoice,
    fitted: FittedFusion,
    splits: Splits,
) -> Front:
    """Let the compressors propose smaller pipelines, and keep those that nothing beats."""
    kept = list(fitted.members)
    y, weight = target
    teacher = Teacher(
        oof=oof[kept],
        y=y,
        weight=weight,
        shares=fitted.weights,
        bytes=np.array([members[position].bytes for position in kept], dtype=float),
        seconds=np.array([members[position].row_seconds for position in kept]),
    )
    compressors = list(session.plugins.compressors.values())
    context = session.fusion_context(session.times.fuse)
    try:
        return compress(
            compressors, teacher, choice.result, choice.spec, choice.params, splits, context
        )
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        _log.exception("A compressor failed: only the fused pipeline is on the front.")
        return compress((), teacher, choice.result, choice.spec, choice.params, splits, context)


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
        "front": report.front_rows(fused.front, fused.judged),
        **report.search_summary(outcome),
        "plugins": report.plugin_summary(session.plugins),
        "observer_failures": list(session.observers.failures),
    }


def assemble(session: Session, fused: Fused, dataset: Dataset, schema: Schema) -> Pipeline:
    """Load the fold models of the members that the fusion kept, and their encoders."""
    members = tuple(
        Member(
            name=member.name,
            learner=member.learner,
            params=member.params,
            folds=tuple(
                read_pickle(session.run.fold_model(member.name, fold)) for fold in member.folds
            ),
        )
        for member in fused.kept
    )
    needed = {
        (model.fold, name)
        for member in members
        for model in member.folds
        for name in model.encoders
    }
    return Pipeline(
        schema=schema,
        task=dataset.task,
        target=dataset.target,
        classes_=dataset.classes,
        members=members,
        fusion=fused.fitted.fusion,
        calibration=fused.calibration,
        encoders={
            (fold, name): read_pickle(session.run.encoder(name, fold))
            for fold, name in sorted(needed)
        },
    )
