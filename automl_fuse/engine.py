"""The whole run on one screen: from a frame to a fused pipeline."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.artefact import save
from automl_fuse.budget import STOP, Stopwatch, plan
from automl_fuse.compressing import compress
from automl_fuse.configuration import ARGUMENTS, keep_configuration
from automl_fuse.errors import ExportError
from automl_fuse.fronts import BALANCED, QUALITY, Limits, check_preference
from automl_fuse.memory import within_limit
from automl_fuse.observers import JsonLog, Observers, ProgressLine, is_terminal
from automl_fuse.preparation import prepare_run
from automl_fuse.processes import give_back
from automl_fuse.report import compressed_summary
from automl_fuse.resuming import recall
from automl_fuse.run import load_run, open_run, write_json
from automl_fuse.search.ledger import Ledger, elapsed
from automl_fuse.search.studies import Storage
from automl_fuse.session import Session
from automl_fuse.specs import Settings
from automl_fuse.stages import assemble, executor_of, fuse, search, sum_up
from automl_fuse.transfer import offered, read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from automl_fuse.assembly import Assembler
    from automl_fuse.inventory import Plugins
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.preparation import Prepared
    from automl_fuse.resuming import Past
    from automl_fuse.run import RunDirectory
    from automl_fuse.search.ledger import Line
    from automl_fuse.specs import LearnerSpec, Observer
    from automl_fuse.transfer import Source

_log = logging.getLogger("automl_fuse")

SECONDS: Final = 60.0
"""The time limit of a run that is given none."""
GRACE: Final = 0.03
"""Share of the time limit by which writing the portable file may be late."""
GRACE_SECONDS: Final = 2.0
"""The same in seconds, where that is more."""


def fit(  # noqa: PLR0913 - each is an option of every run
    data: Any = None,
    y: Any = None,
    *,
    target: str | None = None,
    time_limit: float | str | None = None,
    metric: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    prefer: str | None = None,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    transfer_from: Any = None,
    settings: Settings | None = None,
    resume: str | Path | None = None,
    accept_changes: bool = False,
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
        Seconds that everything in here may take, or a time such as ``"90m"``, ``"8h"``; 60
        seconds by default.
    metric : str, scikit-learn scorer, or callable, optional
        The objective: by default log-loss in classification, RMSE in regression. One that is for
        numbers alone, such as ``"rmse"``, makes it regression.
    sample_weight : array of shape (n_rows,) or str, optional
        Weights, or the column that holds them.
    groups : array of shape (n_rows,) or str, optional
        Rows of one group are never in both the training and validation rows of a fold.
    prefer : {"balanced", "quality", "speed"}
        Which pipeline of the front to return: by default the cheapest within one standard error
        of the best, or the best, or the best of at most 0.05 ms a row and 1 MB.
        ``Pipeline.pick`` gives the others afterwards.
    max_latency_ms : float, optional
        Milliseconds that one row may take inside onnxruntime.
    max_size_mb : float, optional
        Megabytes that the portable file may have.
    transfer_from : str, Path or Pipeline, optional
        An earlier run to start from, of another task or other rows: its directory, its portable
        file, or its pipeline. Its rows should not be among those of ``data``.
    settings : Settings, optional
        Every other option.
    resume : str or Path, optional
        Run directory to go on with, of a run that was interrupted, killed, or is to have more
        time. What is not given is as it was; a table in memory must be given again. The time
        limit is that of the whole run, with what it has taken so far.
    accept_changes : bool
        Whether to go on though data of the same rows and columns, or the settings or plugins that
        make members, have changed since.

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
    RunError
        If the run directory cannot be used, or holds no run that can go on.
    """
    said = {name: value for name, value in locals().items() if name in ARGUMENTS}
    watch = Stopwatch()
    past = None if resume is None else recall(resume, accept_changes=accept_changes)
    if past is not None:
        said, settings = past.completed(said, settings, has_y=y is not None)
    defaults = {"time_limit": SECONDS, "prefer": BALANCED}
    said = {name: defaults.get(name) if value is None else value for name, value in said.items()}
    try:
        return _fit(said, y, settings or Settings(), past, watch)
    finally:
        give_back()


def _fit(
    said: dict[str, Any], y: Any, settings: Settings, past: Past | None, watch: Stopwatch
) -> Pipeline:
    """Prepare a run and carry it out; ``said`` are arguments of ``fit`` by name."""
    prefer = said["prefer"]
    times = plan(said["time_limit"], compress=prefer != QUALITY)
    source = None if said["transfer_from"] is None else read_source(said["transfer_from"])
    limits = check_preference(
        prefer, Limits(latency_ms=said["max_latency_ms"], size_mb=said["max_size_mb"])
    )
    before = None if past is None else past.identity
    search_seconds = times.search if before is None else before.search_seconds
    prepared = prepare_run(said, y, settings, search_seconds)
    _warn(prepared.notes)
    identity = prepared.identity({**vars(settings), **said}, search_seconds)
    with open_run(settings.output, resume=past is not None, disk_bytes=settings.disk_bytes) as run:
        lines: list[Line] = []
        if past is not None:
            identity = past.check(identity)
            if past.is_answered(run, identity):
                return load_run(run.root)
            lines = _taken_up(past, run, watch, times.search)
        if settings.output:
            keep_configuration(run, said, settings)
            identity.write(run)
        with Storage(run.study if run.is_kept else None, settings.storage, identity.id) as storage:
            session = Session(
                settings=within_limit(settings),
                plugins=prepared.plugins,
                fusions=prepared.fusions,
                compressors=prepared.compressors,
                data=prepared.data,
                objective=prepared.objective,
                run=run,
                ledger=Ledger(run, watch, lines),
                storage=storage,
                watch=watch,
                times=times,
                observers=_observers(run, prepared.plugins, settings, watch),
                prefer=prefer,
                limits=limits,
                notes=prepared.notes,
            )
            return _begun(session, prepared, source)


def _begun(session: Session, prepared: Prepared, source: Source | None) -> Pipeline:
    """Begin with what the source of a transfer offers, if there is one, and go through the run."""
    run, known, learners = session.run, prepared.known(), prepared.learners
    if source is not None:
        offer = offered(source, learners, prepared.dataset, prepared.data, run, session.times.limit)
        learners, session = offer.learners, replace(session, ways=tuple(offer.ways))
        known["transfer"] = offer.summary
        _warn(offer.notes)
    session.started(learners)
    give_back()
    assembler = prepared.assembler(run, session.settings.seed)
    with STOP.heeded(), session.observers.failing_aloud():
        return _run(session, learners, assembler, known)


def _warn(notes: Iterable[str]) -> None:
    for note in notes:
        _log.warning(note)


def _taken_up(past: Past, run: RunDirectory, watch: Stopwatch, search_end: float) -> list[Line]:
    """Go back to where the ledger of a run ends, which is returned, in its files and in time."""
    lines = past.lines(run)
    run.report.unlink(missing_ok=True)
    # What follows the search has its time, however late the last attempt was ended.
    watch.advance(min(elapsed(lines), max(0.0, search_end - watch.seconds())))
    return lines


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
        if outcome.disk_full:
            # What is left of the room is for the pipeline.
            session = replace(session, storage=Storage(None), compressors=())
        if outcome.gainless_seconds is not None:
            session = _given_back(session, outcome.gainless_seconds)
        fused = fuse(session, outcome)
        summary = sum_up(session, outcome, fused) | known
        full = assemble(fused, assembler, summary)
        ends["fuse"] = watch.seconds()
        give_back()
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
    run.seals.dump(run.pipelines, pipeline)
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
