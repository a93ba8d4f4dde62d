"""One fold of one member: encode, fit, predict, keep."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.encoding import FoldEncoder, TrialData
from automl_fuse.errors import PluginError, RunError
from automl_fuse.folds import seed_of
from automl_fuse.host import Plugins, discover
from automl_fuse.members import FoldModel, Stored
from automl_fuse.run import RunDirectory, read_pickle, write_pickle
from automl_fuse.schooling import School
from automl_fuse.specs import ALL_ROWS, FitContext, JobResult, Matrix, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Array, Floats, Job, LearnerSpec

__all__ = ["FoldRunner", "PluginChoice", "TrialData"]


@dataclass(frozen=True, kw_only=True)
class PluginChoice:
    """Which plugins a worker discovers: the same as its parent did.

    Attributes
    ----------
    modules, block : tuple of str
        As in ``Settings.plugins`` and ``Settings.block_plugins``.
    learners : tuple of str
        Those that jobs may name: their libraries are worth importing beforehand.
    """

    modules: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()


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

    @cached_property
    def _plugins(self) -> Plugins:
        return discover(block=self._choice.block, modules=self._choice.modules)

    @cached_property
    def _encoder(self) -> FoldEncoder:
        return FoldEncoder(self._data, self._run, self._plugins.encoders, self._n_threads)

    @cached_property
    def _school(self) -> School:
        return School(self._data, self._run, self._encoder)

    def imports(self) -> Iterator[None]:
        """Import the libraries that jobs may need, one at each step.

        One that fails is passed over: a job that needs it fails again, and is recorded.
        """
        specs = [self._plugins.learners[name] for name in self._choice.learners]
        for name in dict.fromkeys(name for spec in specs for name in spec.requires):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
            yield

    def __call__(self, job: Job) -> JobResult:
        """Run a job; whatever goes wrong is in the result's ``error``."""
        watch = Stopwatch()
        try:
            return self._run_fold(job)
        except Exception:  # noqa: BLE001 - a plugin may raise anything; the report shows it
            return JobResult(
                job=job,
                predictions=None,
                fit_seconds=watch.seconds(),
                predict_seconds=0.0,
                bytes=0,
                error=traceback.format_exc(),
            )

    def _run_fold(self, job: Job) -> JobResult:
        deadline = Deadline(job.seconds)
        spec = self._plugins.learners[job.learner]
        for name in spec.requires:
            importlib.import_module(name)
        # Costs are predicted without what happens once in a worker.
        watch = Stopwatch()
        encoders = self._encoder.readable(spec.encoders_for(job.params))
        train, valid = self._encoder.of_fold(job.fold, encoders, deadline)
        if job.edit is not None:
            model = self._edited(job, train)
        else:
            model = self._fitted(job, spec, encoders, (train, valid), deadline)
        fitted = watch.seconds()
        predictions = np.empty((0, self._data.n_classes))
        if job.fold != ALL_ROWS:
            shape = (len(valid.values), self._data.n_classes)
            predictions = _checked(model.predict(valid), job.learner, shape)
        predicted = watch.seconds() - fitted
        size = write_pickle(self._run.fold_model(job.member, job.fold), model)
        return JobResult(
            job=job,
            predictions=predictions,
            fit_seconds=fitted,
            predict_seconds=predicted,
            bytes=size,
            n_features=len(train.names),
        )

    def _fitted(
        self,
        job: Job,
        spec: LearnerSpec,
        encoders: tuple[str, ...],
        features: tuple[Matrix, Matrix],
        deadline: Deadline,
    ) -> FoldModel:
        """Fit a learner to the training rows of a fold, or to what a teacher says of them."""
        model = self._unfitted(job, spec, encoders, features[0], deadline)
        if model.learner is None:
            return model
        rows = self._rows(job.fold, model, features)
        train, held_out = self._school.taught(job, spec, model, rows, deadline)
        model.learner.get().fit(train, held_out)
        return model

    def _edited(self, job: Job, train: Matrix) -> FoldModel:
        """Return the fold model of the source with its learner changed."""
        path = self._run.fold_model(job.source, job.fold)
        if not path.exists():
            raise RunError(f"{path} is missing: there is no model of {job.source!r} to edit.")
        source: FoldModel = read_pickle(path)
        if source.learner is None or job.edit is None:
            return source
        split = self._data.split(job.fold)
        y = _restated(self._data.y[split.train], source)
        rows = Rows(X=train, y=y, weight=self._data.weights(split.train))
        edited = job.edit.edit(source.learner.get(), rows)
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
        deadline: Deadline,
    ) -> FoldModel:
        """Return a model that knows its terms, classes that occur or standard values, only."""
        train = self._data.split(job.fold).train
        y = self._data.y[train]
        scaling: dict[str, float] = {}
        classes: tuple[int, ...] = ()
        if self._data.task.is_classification:
            classes = tuple(np.unique(y).tolist())
        else:
            scaling = _scaling(y)
        learner = None
        if features.names and len(classes) != 1:
            context = self._context(job, len(classes) or 1, deadline)
            learner = Stored(spec.build(job.params, context))
        return FoldModel(
            fold=job.fold,
            encoders=encoders,
            learner=learner,
            prior=self._prior(train),
            classes=classes,
            n_outputs=self._data.n_classes,
            **scaling,
        )

    def _rows(
        self, fold: int, model: FoldModel, features: tuple[Matrix, Matrix]
    ) -> tuple[Rows, Rows | None]:
        """Return training rows, and validation rows of classes that the learner knows, if any."""
        split = self._data.split(fold)
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

    def _context(self, job: Job, n_classes: int, deadline: Deadline) -> FitContext:
        return FitContext(
            task=self._data.task,
            n_classes=n_classes,
            seed=seed_of(self._data.seed, job.member, job.fold),
            n_threads=self._n_threads,
            deadline=deadline,
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
    if model.classes:
        return np.searchsorted(model.classes, y)
    return (y - model.center) / model.scale


def _scaling(y: Array) -> dict[str, float]:
    spread = float(np.std(y))
    return {
        "center": float(np.mean(y)),
        "scale": spread if spread > 0 else 1.0,
        "low": float(np.min(y)),
        "high": float(np.max(y)),
    }


def _take(matrix: Matrix, rows: Array) -> Matrix:
    if len(rows) == len(matrix.values) and np.array_equal(rows, np.arange(len(rows))):
        return matrix
    return Matrix(
        values=matrix.values[rows], names=matrix.names, cardinalities=matrix.cardinalities
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
