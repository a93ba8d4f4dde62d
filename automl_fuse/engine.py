"""The whole run on one screen: from a frame to a fused pipeline."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.artefact import save
from automl_fuse.assembly import Assembler, fingerprint
from automl_fuse.budget import STOP, Stopwatch, plan, usable_cores
from automl_fuse.compressing import compress
from automl_fuse.configuration import ARGUMENTS, keep_configuration
from automl_fuse.eligibility import eligible_learners, unread_columns
from automl_fuse.errors import ExportError, SettingsError
from automl_fuse.folds import holdout_by_cost, make_folds, seed_of
from automl_fuse.fronts import BALANCED, QUALITY, Limits, check_preference
from automl_fuse.host import discover
from automl_fuse.inventory import select, suggestion, without_encoders
from automl_fuse.memory import within_limit
from automl_fuse.metrics import implied_task, resolve
from automl_fuse.observers import JsonLog, Observers, ProgressLine, is_terminal
from automl_fuse.report import compressed_summary
from automl_fuse.run import open_run, write_json, write_pickle
from automl_fuse.schema import infer
from automl_fuse.search.studies import Storage
from automl_fuse.session import Session
from automl_fuse.specs import Settings
from automl_fuse.stages import assemble, executor_of, fuse, search, sum_up
from automl_fuse.table import prepare
from automl_fuse.trial import TrialData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.inventory import Plugins
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.run import RunDirectory
    from automl_fuse.schema import Schema
    from automl_fuse.specs import Array, LearnerSpec, Observer
    from automl_fuse.table import Dataset

_log = logging.getLogger("automl_fuse")

GRACE: Final = 0.03
"""Share of the time limit by which writing the portable file may be late."""
GRACE_SECONDS: Final = 2.0
"""The same in seconds, where that is more."""


def fit(  # noqa: PLR0913 - each is an option of every run
    data: Any,
    y: Any = None,
    *,
    target: str | None = None,
    time_limit: float | str = 60.0,
    metric: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    prefer: str = BALANCED,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
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
    time_limit : float or str
        Seconds that everything in here may take, or a time such as ``"90m"``, ``"8h"``.
    metric : str, scikit-learn scorer, or callable, optional
        The objective: by default log-loss in classification, RMSE in regression. One that is for
        numbers alone, such as ``"rmse"``, makes it regression.
    sample_weight : array of shape (n_rows,) or str, optional
        Weights, or the column that holds them.
    groups : array of shape (n_rows,) or str, optional
        Rows of one group are never in both the training and validation rows of a fold.
    prefer : {"balanced", "quality", "speed"}
        Which pipeline of the front to return: the cheapest within one standard error of the
        best, the best, or the best of at most 0.05 ms a row and 1 MB. ``Pipeline.pick`` gives
        the others afterwards.
    max_latency_ms : float, optional
        Milliseconds that one row may take inside onnxruntime.
    max_size_mb : float, optional
        Megabytes that the portable file may have.
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
    said = {name: value for name, value in locals().items() if name in ARGUMENTS}
    settings = settings or Settings()
    watch, times = Stopwatch(), plan(time_limit, compress=prefer != QUALITY)
    limits = check_preference(prefer, Limits(latency_ms=max_latency_ms, size_mb=max_size_mb))
    plugins = discover(
        block=settings.block_plugins, modules=settings.plugins, require=settings.require_plugins
    )
    plugins = without_encoders(plugins, settings.block_encoders)
    read = partial(prepare, data, y, target=target, sample_weight=sample_weight, groups=groups)
    dataset = read(task=settings.task)
    meant = implied_task(metric, plugins.metrics)
    if settings.task is None and meant is not None and dataset.has_number_classes:
        dataset = read(task=meant)
    schema = infer(dataset.table, settings.kinds)
    objective = resolve(metric, dataset.task, plugins.metrics)
    trial_data = _trial_data(dataset, schema, settings, times.search)
    fusions = select(settings.fusions, plugins.fusions, "fusion", plugins.missing)
    chosen = settings.compressors
    compressors = (
        {} if chosen == () else select(chosen, plugins.compressors, "compressor", plugins.missing)
    )
    learners, skipped = eligible_learners(plugins, trial_data, settings.learners)
    notes = [*dataset.warnings, *schema.warnings, *unread_columns(plugins, trial_data, learners)]
    for note in notes:
        _log.warning(note)
    with open_run(settings.output) as run:
        if settings.output:
            keep_configuration(run, said, settings)
        session = Session(
            settings=within_limit(settings),
            plugins=plugins,
            fusions=tuple(fusions.values()),
            compressors=tuple(compressors.values()),
            data=trial_data,
            objective=objective,
            run=run,
            storage=Storage(run.study if settings.output else None),
            watch=watch,
            times=times,
            observers=_observers(run, plugins, settings, watch),
            prefer=prefer,
            limits=limits,
        )
        session.started(learners)
        assembler = Assembler(run, dataset, schema, trial_data.columns, settings.seed)
        known = {
            "skipped": skipped,
            "warnings": notes,
            "data_sha256": fingerprint(trial_data.columns, trial_data.y),
        }
        with STOP.heeded(), session.observers.failing_aloud():
            return _run(session, learners, assembler, known)


def _run(
    session: Session,
    learners: Sequence[LearnerSpec],
    assembler: Assembler,
    known: dict[str, Any],
) -> Pipeline:
    """Go through the stages; ``known`` is what the report says of the table."""
    watch, times, run = session.watch, session.times, session.run
    with executor_of(session, learners) as executor:
        session.enters("search")
        outcome = search(session, learners, executor, assembler.warm)
        ends = {"search": watch.seconds()}
        session.enters("fuse")
        if outcome.gainless_seconds is not None:
            session = _given_back(session, outcome.gainless_seconds)
        fused = fuse(session, outcome)
        summary = sum_up(session, outcome, fused) | known
        full = assemble(fused, assembler, summary)
        ends["fuse"] = watch.seconds()
        session.enters("compress")
        compressed = compress(session, assembler, fused, executor, learners, full)
    ends["compress"] = watch.seconds()
    session.enters("save")
    summary |= compressed_summary(compressed)
    pipeline = replace(full, report=summary, alternatives=compressed.pipelines)
    pipeline = pipeline.named(compressed.chosen)
    summary = {**pipeline.report, "seconds": session.seconds(outcome, ends)}
    pipeline = replace(pipeline, report=summary)
    if session.settings.output:
        # A file of hundreds of megabytes is left to the command line, rather than being late.
        spare = max(GRACE_SECONDS, GRACE * times.limit) + times.limit - watch.seconds()
        _keep(pipeline, run, is_in_time=compressed.seconds_to_write <= spare)
        summary["seconds"] = session.seconds(outcome, ends)
        write_json(run.report, summary)
    interrupted = summary["trials"]["interrupted"] or STOP.is_requested
    session.observers("run_finished", {"score": summary["score"], "interrupted": interrupted})
    return pipeline


def _given_back(session: Session, gainless_seconds: float) -> Session:
    """Say that the search ended by itself, and let the later stages follow at once."""
    searched = session.watch.seconds()
    _log.info(
        "The search ended after %.0f of %.0f s: in the last %.0f s nothing raised the ensemble.",
        searched,
        session.times.search,
        gainless_seconds,
    )
    session.observers("search_ended", {"gainless_seconds": gainless_seconds})
    return replace(session, times=session.times.with_search_until(searched))


def _keep(pipeline: Pipeline, run: RunDirectory, *, is_in_time: bool) -> None:
    """Write what a run leaves: the artefact, and all pipelines of the front to pick from."""
    write_pickle(run.pipelines, pipeline)
    if not is_in_time:
        _log.warning(
            "No portable file was written: this pipeline is so large that it would take longer "
            "than the time limit. 'automl-fuse export %s --output model.onnx' writes it; "
            "'automl-fuse compress %s --prefer speed' a smaller one.",
            run.root,
            run.root,
        )
        return
    try:
        save(pipeline, run.artefact)
    except ExportError as error:
        _log.warning("No portable file was written: %s", error)


def _trial_data(dataset: Dataset, schema: Schema, settings: Settings, seconds: float) -> TrialData:
    """Return what all trials share; ``seconds`` of search decide between folds and a holdout."""
    order = None
    if settings.time_column is not None:
        if settings.time_column not in dataset.table.columns:
            raise SettingsError(
                f"time_column={settings.time_column!r} is not a column of the table"
                + suggestion(settings.time_column, dataset.table.names)
            )
        order = _order(dataset.table.columns[settings.time_column], settings.time_column)
    n_classes = 1 if dataset.classes is None else len(dataset.classes)
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
            holdout=holdout_by_cost(
                len(dataset.y),
                len(dataset.table.columns),
                n_classes if n_classes > 2 else 1,
                seconds,
                settings.workers or usable_cores(),
            ),
        ),
        task=dataset.task,
        n_classes=n_classes,
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
