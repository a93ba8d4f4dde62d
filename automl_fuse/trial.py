"""One fold of one member: encode, fit, predict, keep."""

from __future__ import annotations

import contextlib
import importlib
import pickle
import traceback
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.earlier import earlier_of
from automl_fuse.encoding import FoldEncoder, TrialData, rows_of
from automl_fuse.errors import PluginError, RunError
from automl_fuse.features import with_stored_objects
from automl_fuse.folds import seed_of
from automl_fuse.host import Plugins, discover
from automl_fuse.hyperparameters import learner_params
from automl_fuse.members import FoldModel, Stored
from automl_fuse.schooling import School
from automl_fuse.specs import ALL_ROWS, FitContext, JobResult, Matrix, Rows
from automl_fuse.targets import TargetScale, transform_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automl_fuse.folds import Fold
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Cluster, Floats, Job, LearnerSpec

__all__ = ["FoldRunner", "PluginChoice", "TrialData"]

CORRECTING_ROWS: Final = 10_000
"""Training rows, at most, that correct the mean of a model of logarithms."""


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
        """Run a job; whatever goes wrong is in the result's ``error``."""
        watch = Stopwatch()
        try:
            return self._run_fold(job, cluster)
        except (Exception, SystemExit):  # noqa: BLE001 - a plugin may raise anything: it is shown
            return JobResult(
                job=job,
                predictions=None,
                fit_seconds=watch.seconds(),
                predict_seconds=0.0,
                bytes=0,
                error=traceback.format_exc(),
            )

    def _run_fold(self, job: Job, cluster: Cluster | None) -> JobResult:
        deadline = Deadline(job.seconds)
        self.prepare(job)
        spec = self._plugins.learners[job.learner]
        # Costs are predicted without what happens once in a worker.
        watch = Stopwatch()
        source = None if job.edit is None else self._source(job)
        encoders = self._encoders(job, spec) if source is None else source.encoders
        train, valid = self._encoder.of_fold(job.fold, encoders, deadline)
        if source is not None:
            model = self._edited(job, source, train)
        else:
            unfitted = self._unfitted(job, spec, encoders, train, (deadline, cluster))
            model = self._fitted(job, spec, unfitted, (train, valid), deadline)
        content = pickle.dumps(model, protocol=pickle.HIGHEST_PROTOCOL)
        # What is kept is what is scored: a model that cannot be read again costs its trial.
        model = pickle.loads(content)
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
            fit_seconds=fitted,
            predict_seconds=predicted,
            bytes=size,
            n_features=len(train.names),
            n_rows=len(train.values),
        )

    def _encoders(self, job: Job, spec: LearnerSpec) -> tuple[str, ...]:
        names = spec.encoders_for(learner_params(job.params))
        return self._encoder.readable(names, job.fold, job.max_rows)

    def _fitted(
        self,
        job: Job,
        spec: LearnerSpec,
        model: FoldModel,
        features: tuple[Matrix, Matrix],
        deadline: Deadline,
    ) -> FoldModel:
        """Fit a learner to the training rows of a fold, or to what a teacher says of them."""
        if model.learner is None:
            return model
        rows = self._rows(model, features)
        train, held_out = self._school.taught(job, spec, model, rows, deadline)
        model.learner.get().fit(train, held_out)
        return _corrected(model, rows[0])

    def _source(self, job: Job, name: str = "") -> FoldModel:
        """Return the fold model that is to be edited, or that of another member by its name."""
        name = name or job.source
        path = self._run.fold_model(name, job.fold)
        if not path.exists():
            raise RunError(f"{path} is missing: there is no model of {name!r} to edit.")
        source: FoldModel = self._run.seals.load(path)
        return source

    def _edited(self, job: Job, source: FoldModel, train: Matrix) -> FoldModel:
        """Return the fold model of the source with its learner changed."""
        if source.learner is None or job.edit is None:
            return source
        split = self._split(source)
        y = _restated(self._data.y[split.train], source)
        rows = Rows(X=train, y=y, weight=self._data.weights(split.train))
        others = [self._source(job, name) for name in job.others]
        if any(m.learner is None or m.encoders != source.encoders for m in others):
            raise PluginError(f"{job.source!r} and {job.others} do not read the same features.")
        learners = [model.learner.get() for model in others if model.learner is not None]
        edited = job.edit.edit(source.learner.get(), rows, *learners)
        if not callable(getattr(edited, "predict", None)):
            raise PluginError(
                f"edit {job.edit.name!r} returned {edited!r}: it must return a fitted learner."
            )
        return replace(source, learner=Stored(edited))

    def _unfitted(
        self,
        job: Job,
        spec: LearnerSpec,
        encoders: tuple[str, ...],
        features: Matrix,
        means: tuple[Deadline, Cluster | None],
    ) -> FoldModel:
        """Return a model that knows its terms, classes that occur or standard values, only."""
        train = self._data.split(job.fold, rows_of(encoders)).train
        y = self._data.y[train]
        target: TargetScale | None = None
        classes: tuple[int, ...] = ()
        if self._data.task.is_classification:
            classes = tuple(np.unique(y).tolist())
        else:
            target = TargetScale.of(y, transform_of(job.params, job.learner))
        learner = None
        if features.names and len(classes) != 1:
            context = self._context(job, classes, *means)
            learner = Stored(spec.build(learner_params(job.params), context))
        return FoldModel(
            fold=job.fold,
            encoders=encoders,
            learner=learner,
            prior=self._prior(train),
            classes=classes,
            n_outputs=self._data.n_classes,
            target=target,
        )

    def _split(self, model: FoldModel) -> Fold:
        """Return the rows that a fold model is fitted to, and those that validate it."""
        return self._data.split(model.fold, rows_of(model.encoders))

    def _rows(self, model: FoldModel, features: tuple[Matrix, Matrix]) -> tuple[Rows, Rows | None]:
        """Return training rows, and validation rows of classes that the learner knows, if any."""
        split = self._split(model)
        y, y_valid = self._data.y[split.train], self._data.y[split.valid]
        train = Rows(X=features[0], y=_restated(y, model), weight=self._data.weights(split.train))
        kept = np.arange(len(y_valid))
        if model.classes:
            kept = np.flatnonzero(np.isin(y_valid, model.classes))
        if not len(kept):
            return train, None
        held_out = Rows(
            X=_take(features[1], kept),
            y=_restated(y_valid[kept], model),
            weight=self._data.weights(split.valid[kept]),
        )
        return train, held_out

    def _context(
        self, job: Job, classes: tuple[int, ...], deadline: Deadline, cluster: Cluster | None
    ) -> FitContext:
        return FitContext(
            task=self._data.task,
            n_classes=len(classes) or 1,
            seed=seed_of(self._data.seed, job.member, job.fold),
            n_threads=self._n_threads,
            deadline=deadline,
            earlier=earlier_of(self._run, job, classes),
            cluster=cluster,
        )

    def _prior(self, rows: Array) -> tuple[float, ...]:
        """Return class frequencies, or the mean target, of these rows."""
        y, weight = self._data.y[rows], self._data.weights(rows)
        if not self._data.task.is_classification:
            return (float(np.average(y, weights=weight)),)
        counts = np.bincount(y, weights=weight, minlength=self._data.n_classes)
        return tuple((counts / counts.sum()).tolist())


def _restated(y: Array, model: FoldModel) -> Array:
    """Return targets in the terms of a fold model's learner."""
    if model.target is not None:
        return model.target.standardised(y)
    return np.searchsorted(model.classes, y)


def _corrected(model: FoldModel, train: Rows) -> FoldModel:
    """Correct the mean of a model of logarithms by what it predicts for training rows."""
    if model.learner is None or model.target is None or model.target.offset is None:
        return model
    some = np.arange(0, len(train.y), -(-len(train.y) // CORRECTING_ROWS))
    predictions = model.learner.get().predict(_take(train.X, some))
    weight = None if train.weight is None else train.weight[some]
    return replace(model, target=model.target.corrected(train.y[some], predictions, weight))


def _take(matrix: Matrix, rows: Array) -> Matrix:
    if len(rows) == len(matrix.values) and np.array_equal(rows, np.arange(len(rows))):
        return matrix
    return replace(matrix, values=matrix.values[rows])


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
