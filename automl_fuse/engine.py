"""The whole run on one screen: from a frame to a fused pipeline."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse import report
from automl_fuse.artefact import save
from automl_fuse.budget import Deadline, Stopwatch, now, plan, usable_cores
from automl_fuse.compression import compress
from automl_fuse.eligibility import eligible_learners, unread_columns
from automl_fuse.errors import NothingFittedError, SettingsError
from automl_fuse.folds import cross_fitting, make_folds, seed_of
from automl_fuse.fusion import cross_fitted, fit_calibration, fit_final
from automl_fuse.host import discover
from automl_fuse.inventory import select, suggestion
from automl_fuse.metrics import METRICS, loss_of, resolve
from automl_fuse.observers import JsonLog, Observers, ProgressLine, is_terminal
from automl_fuse.pipeline import Member, Pipeline
from automl_fuse.report import Judged
from automl_fuse.run import open_run, read_pickle, write_array, write_json
from automl_fuse.schema import infer
from automl_fuse.search import MemberSearch, SearchLimits, choose_fusion
from automl_fuse.search.studies import Storage
from automl_fuse.specs import ExecutorContext, FusionContext, Settings, Teacher
from automl_fuse.table import prepare
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData
from automl_fuse.workers import open_executor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.budget import Plan
    from automl_fuse.calibration import Calibration
    from automl_fuse.compression import Front
    from automl_fuse.folds import Indices
    from automl_fuse.fusion import FittedFusion, Splits
    from automl_fuse.inventory import Plugins
    from automl_fuse.run import RunDirectory
    from automl_fuse.schema import Schema
    from automl_fuse.search import FinishedMember, FusionChoice, SearchOutcome
    from automl_fuse.specs import Array, Floats, FusionSpec, LearnerSpec, Loss, MetricSpec, Observer
    from automl_fuse.table import Dataset

_log = logging.getLogger("automl_fuse")

THREADS_PAY_ROWS = 50_000
"""Rows above which one fit with several threads beats several fits with one each."""
CROSS_FITTING_SPLITS = 3
FUSION_ROWS = 20_000
"""Rows, at most, that the choice among fusions reads; the chosen one is fitted on all."""


def fit(
    data: Any,
    y: Any = None,
    *,
    target: str | None = None,
    time_limit: float = 60.0,
    metric: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    settings: Settings | None = None,
) -> Pipeline:
    """Search for members, fuse them, and return one pipeline that predicts.

    Parameters
    ----------
    data : table
        A pandas, polars or Arrow table, a NumPy array, a dict of columns, a list of dicts, or
        the path of a CSV or Parquet file.
    y : array of shape (n_rows,), optional
        The target, if it is not a column of ``data``.
    target : str, optional
        The target column, if ``y`` is not given.
    time_limit : float
        Seconds that everything in here may take.
    metric : str, scikit-learn scorer, or callable, optional
        The objective: by default log-loss in classification, RMSE in regression.
    sample_weight : array of shape (n_rows,) or str, optional
        Weights, or the column that holds them.
    groups : array of shape (n_rows,) or str, optional
        Rows of one group are never in both the training and validation rows of a fold.
    settings : Settings, optional
        Every other option.

    Returns
    -------
    Pipeline
        The fitted, fused pipeline.

    Raises
    ------
    DataError
        If the table or target cannot be learned from.
    SettingsError
        If an option cannot work.
    PluginError
        If a required plugin is missing or two plugins collide.
    NothingFittedError
        If no member could be fitted: the message says why for each.
    """
    settings = settings or Settings()
    watch, times = Stopwatch(), plan(time_limit)
    plugins = discover(
        block=settings.block_plugins, modules=settings.plugins, require=settings.require_plugins
    )
    dataset = prepare(
        data, y, target=target, task=settings.task, sample_weight=sample_weight, groups=groups
    )
    schema = infer(dataset.table, settings.kinds)
    objective = resolve(metric, dataset.task, plugins.metrics)
    trial_data = _trial_data(dataset, schema, settings)
    fusions = select(settings.fusions, plugins.fusions, "fusion", plugins.missing)
    learners, skipped = eligible_learners(plugins, trial_data, settings.learners)
    notes = [*dataset.warnings, *schema.warnings, *unread_columns(plugins, trial_data, learners)]
    for note in notes:
        _log.warning(note)
    with open_run(settings.output) as run:
        session = _Session(
            settings=settings,
            plugins=plugins,
            fusions=tuple(fusions.values()),
            data=trial_data,
            objective=objective,
            run=run,
            storage=Storage(run.study if settings.output else None),
            watch=watch,
            times=times,
            observers=_observers(run, plugins, settings, watch),
        )
        session.started(learners)
        outcome = _search(session, learners)
        if settings.output:
            for member in outcome.members:
                write_array(run.oof(member.name), member.oof)
        searched = watch.seconds()
        fused = _fuse(session, outcome)
        summary = _summary(session, outcome, fused) | {"skipped": skipped, "warnings": notes}
        pipeline = _assemble(session, fused, dataset, schema)
        assembled = watch.seconds()
        summary["seconds"] = session.seconds(searched, assembled, outcome)
        pipeline = replace(pipeline, report=summary)
        if settings.output:
            save(pipeline, run.pipeline)
            summary["seconds"] = session.seconds(searched, assembled, outcome)
            write_json(run.report, summary)
        session.observers("run_finished", {"score": summary["score"]})
    return pipeline


@dataclass(frozen=True, kw_only=True)
class _Session:
    """What the stages of one run share."""

    settings: Settings
    plugins: Plugins
    fusions: tuple[FusionSpec, ...]
    data: TrialData
    objective: MetricSpec
    run: RunDirectory
    storage: Storage
    watch: Stopwatch
    times: Plan
    observers: Observers

    @property
    def guide(self) -> MetricSpec:
        """The metric that members and weights are chosen by.

        Labels are too coarse to choose weights by: log-loss is used in their place, and the
        threshold is tuned to the objective last.
        """
        return METRICS["log_loss"] if self.objective.needs == "label" else self.objective

    @property
    def loss(self) -> Loss:
        return loss_of(self.guide, self.data.task)

    @property
    def workers(self) -> tuple[int, int]:
        """Number of workers, and threads of each."""
        cores = usable_cores()
        few = len(self.data.y) <= THREADS_PAY_ROWS
        if self.settings.executor == "inline":
            return 1, 1 if few else cores
        n_workers = self.settings.workers or (cores if few else max(1, cores // 2))
        return n_workers, 1 if few else max(1, cores // n_workers)

    def fusion_context(self, until: float) -> FusionContext:
        """Return what fusions and compressors are told; ``until`` is seconds into the run."""
        return FusionContext(
            task=self.data.task,
            n_classes=self.data.n_classes,
            loss=self.loss,
            seed=seed_of(self.data.seed, "fusion"),
            deadline=Deadline(until - self.watch.seconds()),
        )

    def started(self, learners: Sequence[LearnerSpec]) -> None:
        """Tell the observers what begins."""
        details = {
            "started": now(),
            "time_limit": self.times.limit,
            "task": str(self.data.task),
            "metric": self.guide.name,
            "greater_is_better": self.guide.greater_is_better,
            "rows": len(self.data.y),
            "columns": len(self.data.columns.columns),
            "folds": len(self.data.folds),
            "learners": [spec.name for spec in learners],
        }
        self.observers("run_started", details)

    def seconds(self, searched: float, assembled: float, outcome: SearchOutcome) -> dict[str, Any]:
        """Return where the time went; the first two are when search and assembly ended."""
        wall = self.watch.seconds()
        n_workers, n_threads = self.workers
        return {
            "limit": self.times.limit,
            "wall": wall,
            "fitting": outcome.busy_seconds,
            "workers": n_workers,
            "threads": n_threads,
            "stages": {
                "start": outcome.started,
                "search": searched - outcome.started,
                "fuse": assembled - searched,
                "save": wall - assembled,
            },
        }


@dataclass(frozen=True, kw_only=True)
class _Fused:
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
        return tuple(self.members[position] for position in self.fitted.members)


def _trial_data(dataset: Dataset, schema: Schema, settings: Settings) -> TrialData:
    order = None
    if settings.time_column is not None:
        if settings.time_column not in dataset.table.columns:
            raise SettingsError(
                f"time_column={settings.time_column!r} is not a column of the table"
                + suggestion(settings.time_column, dataset.table.names)
            )
        order = _order(dataset.table.columns[settings.time_column], settings.time_column)
    return TrialData(
        columns=schema.convert(dataset.table),
        y=dataset.y,
        weight=dataset.weight,
        folds=make_folds(
            dataset.y,
            dataset.task,
            seed_of(settings.seed, "folds"),
            folds=settings.folds,
            groups=dataset.groups,
            order=order,
        ),
        task=dataset.task,
        n_classes=1 if dataset.classes is None else len(dataset.classes),
        seed=settings.seed,
    )


def _order(values: Array, name: str) -> Array:
    """Return the values that order rows in time as numbers or datetimes."""
    if values.dtype.kind in "Mfiu":
        return values
    try:
        return values.astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"time_column={name!r} holds neither numbers nor datetimes: {error}."
        ) from error


def _observers(
    run: RunDirectory, plugins: Plugins, settings: Settings, watch: Stopwatch
) -> Observers:
    own: list[Observer] = [JsonLog(run.log)] if settings.output else []
    if is_terminal() if settings.progress is None else settings.progress:
        own.append(ProgressLine())
    observers = Observers(own, watch)
    for spec in plugins.observers.values():
        observers.add(spec, str(run.root))
    return observers


def _search(session: _Session, learners: Sequence[LearnerSpec]) -> SearchOutcome:
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
        search = MemberSearch(
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
        outcome = search.run()
    finally:
        executor.close()
    if not outcome.members:
        raise NothingFittedError(_why_nothing(session, outcome))
    return replace(outcome, started=started)


def _why_nothing(session: _Session, outcome: SearchOutcome) -> str:
    if outcome.interrupted:
        return "Interrupted before the first member had a finished fold."
    if not outcome.failures:
        return (
            f"No member finished a fold within time_limit={session.times.limit:g} s on "
            f"{len(session.data.y)} rows: give it more time."
        )
    reasons = "\n".join(f"  {f.member}: {f.error.strip()}" for f in outcome.failures)
    return f"No member could be fitted. Of each, the reason:\n{reasons}"


def _fuse(session: _Session, outcome: SearchOutcome) -> _Fused:
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
    return _Fused(
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
    session: _Session,
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


def _summary(session: _Session, outcome: SearchOutcome, fused: _Fused) -> dict[str, Any]:
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


def _assemble(session: _Session, fused: _Fused, dataset: Dataset, schema: Schema) -> Pipeline:
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
