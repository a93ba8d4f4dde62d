"""One fold of one member: encode, fit, predict, keep."""

from __future__ import annotations

import pickle
import traceback
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.errors import PluginError
from automl_fuse.folds import Fold, seed_of
from automl_fuse.host import Plugins, discover
from automl_fuse.pipeline import FittedEncoder, FoldModel, Stored, merge_features
from automl_fuse.run import RunDirectory, write_bytes, write_pickle
from automl_fuse.specs import FitContext, JobResult, Matrix, Rows

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Columns, Floats, Job, LearnerSpec, Task

CACHE_BYTES = 1 << 30
"""Encoded features that one worker keeps between jobs."""


@dataclass(frozen=True, kw_only=True)
class TrialData:
    """What every trial of a run shares.

    Attributes
    ----------
    columns : Columns
        Typed columns of the training table.
    y : array of shape (n_rows,)
        Class codes, or values as the user gave them.
    weight : array of shape (n_rows,) or None
        Sample weights.
    folds : tuple of Fold
        The splits.
    task, n_classes : Task, int
        What is predicted; 1 class in regression.
    seed : int
        Seed of the run.
    """

    columns: Columns
    y: Array
    weight: Floats | None
    folds: tuple[Fold, ...]
    task: Task
    n_classes: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class PluginChoice:
    """Which plugins a worker discovers: the same as its parent did."""

    modules: tuple[str, ...] = ()
    block: tuple[str, ...] = ()


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
        self._cache: OrderedDict[tuple[int, str], tuple[Matrix, Matrix]] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        kept = ("_data", "_run", "_choice", "_n_threads")
        return {name: self.__dict__[name] for name in kept} | {"_cache": OrderedDict()}

    @cached_property
    def _plugins(self) -> Plugins:
        return discover(block=self._choice.block, modules=self._choice.modules)

    def __call__(self, job: Job) -> JobResult:
        """Run a job; whatever goes wrong is in the result's ``error``."""
        watch = Stopwatch()
        try:
            return self._run_fold(job, watch)
        except Exception:  # noqa: BLE001 - a plugin may raise anything; the report shows it
            return JobResult(
                job=job,
                predictions=None,
                fit_seconds=watch.seconds(),
                predict_seconds=0.0,
                bytes=0,
                error=traceback.format_exc(),
            )

    def _run_fold(self, job: Job, watch: Stopwatch) -> JobResult:
        deadline = Deadline(job.seconds)
        spec = self._plugins.learners[job.learner]
        encoders = self._readable(spec.encoders_for(job.params))
        train, valid = self._encoded(job.fold, encoders, deadline)
        model, rows, held_out = self._prepare(job, spec, encoders, (train, valid), deadline)
        if model.learner is not None:
            model.learner.get().fit(rows, held_out)
        fitted = watch.seconds()
        predictions = _checked(
            model.predict(valid), job.learner, (len(valid.values), self._data.n_classes)
        )
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

    def _readable(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the encoders that find columns of their kinds in this table."""
        specs = self._plugins.encoders
        missing = [name for name in names if name not in specs]
        if missing:
            raise PluginError(
                f"encoders {missing} are not installed: unblock or install the plugin that brings "
                "them."
            )
        kinds = {column.kind for column in self._data.columns.columns}
        return tuple(name for name in names if specs[name].kinds & kinds)

    def _prepare(
        self,
        job: Job,
        spec: LearnerSpec,
        encoders: tuple[str, ...],
        features: tuple[Matrix, Matrix],
        deadline: Deadline,
    ) -> tuple[FoldModel, Rows, Rows | None]:
        """Restate the fold in the learner's terms: classes that occur, or standard values."""
        fold = self._data.folds[job.fold]
        y = self._data.y[fold.train]
        scaling: dict[str, float] = {}
        classes: tuple[int, ...] = ()
        kept = np.arange(len(fold.valid))
        y_valid = self._data.y[fold.valid]
        if self._data.task.is_classification:
            present, y = np.unique(y, return_inverse=True)
            classes = tuple(present.tolist())
            kept = np.flatnonzero(np.isin(y_valid, present))
            y_valid = np.searchsorted(present, y_valid[kept])
        else:
            scaling = _scaling(y)
            y = (y - scaling["center"]) / scaling["scale"]
            y_valid = (y_valid - scaling["center"]) / scaling["scale"]
        learnable = len(classes) != 1 and bool(features[0].names)
        context = self._context(job, len(classes) or 1, deadline)
        learner = spec.build(job.params, context) if learnable else None
        model = FoldModel(
            fold=job.fold,
            encoders=encoders,
            learner=None if learner is None else Stored(learner),
            prior=self._prior(fold.train),
            classes=classes,
            n_outputs=self._data.n_classes,
            **scaling,
        )
        train, valid = features
        rows = Rows(X=train, y=y, weight=_weights(self._data.weight, fold.train))
        if not len(kept):
            return model, rows, None
        held_out = Rows(
            X=_take(valid, kept),
            y=y_valid,
            weight=_weights(self._data.weight, fold.valid[kept]),
        )
        return model, rows, held_out

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
        y, weight = self._data.y[rows], _weights(self._data.weight, rows)
        if not self._data.task.is_classification:
            return (float(np.average(y, weights=weight)),)
        counts = np.bincount(y, weights=weight, minlength=self._data.n_classes)
        return tuple((counts / counts.sum()).tolist())

    def _encoded(
        self, fold: int, names: tuple[str, ...], deadline: Deadline
    ) -> tuple[Matrix, Matrix]:
        """Return the features of the fold's training and validation rows."""
        parts = [(name, self._encoded_part(fold, name, deadline)) for name in names]
        split = self._data.folds[fold]
        train = merge_features([(n, pair[0]) for n, pair in parts], len(split.train))
        valid = merge_features([(n, pair[1]) for n, pair in parts], len(split.valid))
        return train, valid

    def _encoded_part(self, fold: int, name: str, deadline: Deadline) -> tuple[Matrix, Matrix]:
        key = (fold, name)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        spec = self._plugins.encoders[name]
        columns = self._data.columns.select(spec.kinds)
        split = self._data.folds[fold]
        context = FitContext(
            task=self._data.task,
            n_classes=self._data.n_classes,
            seed=seed_of(self._data.seed, name, fold),
            n_threads=self._n_threads,
            deadline=deadline,
        )
        encoder = spec.build(context)
        train = encoder.fit_transform(
            columns.take(split.train),
            self._data.y[split.train],
            _weights(self._data.weight, split.train),
        )
        valid = encoder.transform(columns.take(split.valid))
        kept = FittedEncoder(kinds=spec.kinds, encoder=Stored(encoder))
        path = self._run.encoder(name, fold)
        if not path.exists():
            write_bytes(path, pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL))
        self._remember(key, (train, valid))
        return train, valid

    def _remember(self, key: tuple[int, str], pair: tuple[Matrix, Matrix]) -> None:
        """Cache features, dropping those not used for longest when there are too many."""
        for matrix in pair:
            matrix.values.flags.writeable = False
        self._cache[key] = pair
        while len(self._cache) > 1 and _size(self._cache) > CACHE_BYTES:
            self._cache.popitem(last=False)


def _size(cache: OrderedDict[tuple[int, str], tuple[Matrix, Matrix]]) -> int:
    return sum(matrix.values.nbytes for pair in cache.values() for matrix in pair)


def _scaling(y: Array) -> dict[str, float]:
    spread = float(np.std(y))
    return {
        "center": float(np.mean(y)),
        "scale": spread if spread > 0 else 1.0,
        "low": float(np.min(y)),
        "high": float(np.max(y)),
    }


def _weights(weight: Floats | None, rows: Array) -> Floats | None:
    if weight is None:
        return None
    chosen: Floats = weight[rows]
    mean_one: Floats = chosen / chosen.mean()
    return mean_one


def _take(matrix: Matrix, rows: Array) -> Matrix:
    if len(rows) == len(matrix.values):
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
