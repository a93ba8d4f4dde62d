"""One fold of one member, or several at the same time: encode, fit, predict, keep."""

from __future__ import annotations

import contextlib
import importlib
import logging
import pickle
import traceback
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.encoding import FoldEncoder, TrialData
from automl_fuse.errors import PluginError, RunError
from automl_fuse.features import with_stored_objects
from automl_fuse.host import Plugins, discover
from automl_fuse.hyperparameters import TARGET, learner_params
from automl_fuse.joining import learners_of, parts_of, read_by, require_alike
from automl_fuse.members import FoldModel, Stored
from automl_fuse.schooling import School
from automl_fuse.specs import ALL_ROWS, Fit, JobResult, Joint, Matrix, Rows
from automl_fuse.terms import Means, Terms, corrected, restated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Cluster, Floats, Job, Learner, LearnerSpec

__all__ = ["FoldRunner", "PluginChoice", "TrialData"]

_log = logging.getLogger("automl_fuse")


@dataclass(frozen=True, kw_only=True)
class PluginChoice:
    """Which plugins a worker discovers: the same as its parent did.

    Attributes
    ----------
    modules, block : tuple of str
        As in ``Settings.plugins`` and ``Settings.block_plugins``.
    learners : tuple of str
        Those that jobs may name: their libraries are worth importing beforehand.
    block_encoders : tuple of str
        As in ``Settings.block_encoders``.
    """

    modules: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()
    block_encoders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A job up to its fit.

    Attributes
    ----------
    job : Job
        The job.
    model : FoldModel
        Its model, whose learner is not fitted yet.
    features : pair of Matrix
        Of training and validation rows.
    rows : pair of Rows, or Rows and None; or None
        Training and validation rows with true labels; None where the model needs no learner.
    fit : Fit or None
        What its learner is fitted to.
    """

    job: Job
    model: FoldModel
    features: tuple[Matrix, Matrix]
    rows: tuple[Rows, Rows | None] | None = None
    fit: Fit | None = None

    def finished(self) -> FoldModel:
        """Return the model, once its learner is fitted."""
        return self.model if self.rows is None else corrected(self.model, self.rows[0])


class FoldRunner:
    """Runs jobs: picklable, so that an executor can send it anywhere.

    Parameters
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where fold models and encoders are kept.
    choice : PluginChoice
        Plugins to discover where the runner runs.
    n_threads : int
        Threads that a learner may use.
    """

    def __init__(
        self, data: TrialData, run: RunDirectory, choice: PluginChoice, n_threads: int
    ) -> None:
        self._data = data
        self._run = run
        self._choice = choice
        self._n_threads = n_threads

    def __getstate__(self) -> dict[str, object]:
        kept = ("_data", "_run", "_choice", "_n_threads")
        return {name: self.__dict__[name] for name in kept}

    def shared(self) -> FoldRunner:
        """Return a runner for many workers of this machine: what they cannot map lies in files."""
        columns = with_stored_objects(self._data.columns, self._run)
        data = replace(self._data, columns=columns)
        return FoldRunner(data, self._run, self._choice, self._n_threads)

    def at(self, run: RunDirectory) -> FoldRunner:
        """Return the same runner with another run directory."""
        return FoldRunner(self._data, run, self._choice, self._n_threads)

    @property
    def run(self) -> RunDirectory:
        """Where fold models and encoders are kept."""
        return self._run

    @cached_property
    def _plugins(self) -> Plugins:
        return discover(block=self._choice.block, modules=self._choice.modules)

    @cached_property
    def _encoder(self) -> FoldEncoder:
        encoders, blocked = self._plugins.encoders, self._choice.block_encoders
        return FoldEncoder(self._data, self._run, encoders, self._n_threads, blocked)

    @cached_property
    def _terms(self) -> Terms:
        return Terms(self._data, self._run, self._n_threads)

    @cached_property
    def _school(self) -> School:
        return School(self._data, self._run, self._encoder)

    def imports(self, learners: Sequence[str] | None = None) -> Iterator[None]:
        """Import the libraries that jobs may need, one at each step.

        One that fails is passed over: a job that needs it fails again, and is recorded.

        Parameters
        ----------
        learners : sequence of str, optional
            Those that jobs may name; by default all of ``PluginChoice.learners``.
        """
        names = self._choice.learners if learners is None else learners
        specs = [self._plugins.learners[name] for name in names]
        for name in dict.fromkeys(name for spec in specs for name in spec.requires):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
            yield

    def prepare(self, job: Job) -> None:
        """Import the libraries of a job's learner: that is no part of its time."""
        for name in self._plugins.learners[job.learner].requires:
            importlib.import_module(name)

    def spread_rows(self, job: Job) -> int:
        """Return the training rows of a job whose learner can use several machines; 0 otherwise."""
        spec = self._plugins.learners.get(job.learner)
        if spec is None or not spec.distributed or job.edit is not None:
            return 0
        every = job.fold == ALL_ROWS
        n_rows = len(self._data.y) if every else len(self._data.folds[job.fold].train)
        return n_rows if job.max_rows is None else min(n_rows, job.max_rows)

    def __call__(self, job: Job, cluster: Cluster | None = None) -> JobResult:
        """Run a job, and those beside it; whatever goes wrong is in the result's ``error``."""
        if not job.beside:
            return _guarded(job, lambda: self._run_fold(job, cluster))
        first, *others = self._run_together(job)
        return replace(first, job=job, beside=tuple(others))

    def _run_fold(self, job: Job, cluster: Cluster | None) -> JobResult:
        deadline = Deadline(job.seconds)
        self.prepare(job)
        # Costs are predicted without what happens once in a worker.
        watch = Stopwatch()
        sources = self._sources(job)
        if sources:
            features = self._encoder.of_fold(job.fold, read_by(sources), deadline)
            model = self._remade(job, sources, features[0], deadline)
            return self._kept(_Begun(job=job, model=model, features=features), watch.seconds())
        begun = self._begun(job, Means(deadline, cluster), {})
        if begun.fit is not None:
            begun.fit.learner.fit(begun.fit.train, begun.fit.valid)
            begun = replace(begun, fit=None)  # what a student was taught may be large
        return self._kept(begun, watch.seconds())

    def _run_together(self, job: Job) -> list[JobResult]:
        """Fit folds at the same time, or one after another where that fails: one may be broken."""
        deadline = Deadline(job.seconds)
        try:
            self.prepare(job)
            watch = Stopwatch()
            begun = self._fitted_together(job, deadline)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            _log.warning("%s is fitted fold by fold, for together it failed: %r", job.member, error)
            return [self(replace(each, seconds=deadline.remaining())) for each in job.each]
        share = watch.seconds() / len(begun)
        return [_guarded(each.job, partial(self._kept, each, share)) for each in begun]

    def _fitted_together(self, job: Job, deadline: Deadline) -> list[_Begun]:
        together = self._plugins.learners[job.learner].together
        if together is None:
            raise PluginError(f"learner {job.learner!r} fits one model at a time.")
        read: dict[object, _Begun] = {}
        begun = [self._begun(each, Means(deadline), read) for each in job.each]
        together.fit([each.fit for each in begun if each.fit is not None])
        return begun

    def _begun(self, job: Job, means: Means, read: dict[object, _Begun]) -> _Begun:
        """Return a job up to its fit; ``read`` holds those that read the same rows of a fold."""
        spec = self._plugins.learners[job.learner]
        encoders = self._encoders(job, spec)
        place = (job.fold, encoders, job.params.get(TARGET))
        same = read.get(place)
        if same is None:
            features = self._encoder.of_fold(job.fold, encoders, means.deadline)
        else:
            features = same.features
        model = self._terms.unfitted(job, spec, encoders, features[0], means)
        begun = _Begun(job=job, model=model, features=features)
        if model.learner is not None:
            rows = self._terms.rows(model, features) if same is None or not same.rows else same.rows
            train, valid = self._school.taught(job, spec, model, rows, means.deadline)
            fit = Fit(learner=model.learner.get(), train=train, valid=valid)
            begun = replace(begun, rows=rows, fit=fit)
        read.setdefault(place, begun)
        return begun

    def _kept(self, begun: _Begun, seconds: float) -> JobResult:
        """Keep a fitted model, and predict with it; ``seconds`` is what it took so far."""
        watch, job = Stopwatch(), begun.job
        train, valid = begun.features
        content = pickle.dumps(begun.finished(), protocol=pickle.HIGHEST_PROTOCOL)
        # What is kept is what is scored: a model that cannot be read again costs its trial.
        model: FoldModel = pickle.loads(content)
        if model.learner is not None:
            model.learner.get()
        fitted = watch.seconds()
        predictions = np.empty((0, self._data.n_classes))
        if job.fold != ALL_ROWS:
            shape = (len(valid.values), self._data.n_classes)
            predictions = _checked(model.predict(valid), job.learner, shape)
        predicted = watch.seconds() - fitted
        size = self._run.seals.write(self._run.fold_model(job.member, job.fold), content)
        return JobResult(
            job=job,
            predictions=predictions,
            fit_seconds=seconds + fitted,
            predict_seconds=predicted,
            bytes=size,
            n_features=len(train.names),
            n_rows=len(train.values),
        )

    def _encoders(self, job: Job, spec: LearnerSpec) -> tuple[str, ...]:
        names = spec.encoders_for(learner_params(job.params))
        return self._encoder.readable(names, job.fold, job.max_rows)

    def _sources(self, job: Job) -> list[FoldModel]:
        """Return the fold models that are to be edited or joined; none if the job fits one."""
        if job.edit is None:
            return []
        found: list[FoldModel] = []
        for name in (job.source, *job.others):
            path = self._run.fold_model(name, job.fold)
            if not path.exists():
                raise RunError(f"{path} is missing: there is no model of {name!r} to edit.")
            found.append(self._run.seals.load(path))
        require_alike(job, found)
        return found

    def _remade(
        self, job: Job, sources: Sequence[FoldModel], train: Matrix, deadline: Deadline
    ) -> FoldModel:
        """Return the first of these fold models edited, or joined with the others."""
        first = sources[0]
        if first.learner is None or job.edit is None:
            return first
        split = self._terms.split(first)
        y = restated(self._data.y[split.train], first)
        rows = Rows(X=train, y=y, weight=self._data.weights(split.train))
        if isinstance(job.edit, Joint):
            return self._joined(job, job.edit, sources, rows, deadline)
        learners = learners_of(job, sources)
        edited = _learner(
            f"edit {job.edit.name!r}", job.edit.edit(learners[0], rows, *learners[1:])
        )
        return replace(first, learner=Stored(edited))

    def _joined(
        self,
        job: Job,
        joint: Joint,
        sources: Sequence[FoldModel],
        rows: Rows,
        deadline: Deadline,
    ) -> FoldModel:
        """Return one model of several, which reads what any of them does."""
        encoders, first = read_by(sources), sources[0]
        parts = parts_of(job, sources, self._encoder.widths(job.fold, encoders, deadline))
        context = replace(self._terms.context(job, first.classes, Means(deadline)), earlier=None)
        joined = _learner(f"joint {joint.name!r}", joint.join(parts, rows, context))
        return corrected(replace(first, encoders=encoders, learner=Stored(joined)), rows)


def _learner(maker: str, made: Any) -> Learner:
    """Refuse what is no fitted learner."""
    if not callable(getattr(made, "predict", None)):
        raise PluginError(f"{maker} returned {made!r}: it must return a fitted learner.")
    learner: Learner = made
    return learner


def _guarded(job: Job, run: Callable[[], JobResult]) -> JobResult:
    """Return what becomes of a job; whatever goes wrong is in the result's ``error``."""
    watch = Stopwatch()
    try:
        return run()
    except (Exception, SystemExit):  # noqa: BLE001 - a plugin may raise anything: it is shown
        return JobResult(
            job=job,
            predictions=None,
            fit_seconds=watch.seconds(),
            predict_seconds=0.0,
            bytes=0,
            error=traceback.format_exc(),
        )


def _checked(predictions: Floats, learner: str, shape: tuple[int, int]) -> Floats:
    """Refuse predictions that would poison the fusion."""
    if predictions.shape != shape:
        raise PluginError(
            f"learner {learner!r} predicted an array of shape {predictions.shape} instead of "
            f"{shape}: predict must return (n_rows, n_classes), or (n_rows, 1) in regression."
        )
    if not np.isfinite(predictions).all():
        raise PluginError(f"learner {learner!r} predicted values that are not finite.")
    return np.ascontiguousarray(predictions, dtype=np.float64)
