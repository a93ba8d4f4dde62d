"""One fold of one member: encode, fit, predict, keep."""

from __future__ import annotations

import pickle
import traceback
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.augmentation import paired
from automl_fuse.budget import Deadline, Stopwatch
from automl_fuse.errors import PluginError, RunError
from automl_fuse.folds import Fold, seed_of
from automl_fuse.host import Plugins, discover
from automl_fuse.lessons import (
    SMALLEST,
    Augmented,
    mixed,
    read_augmented,
    repeated,
    softened,
    teacher_name,
)
from automl_fuse.members import FittedEncoder, FoldModel, Stored, merge_features
from automl_fuse.run import RunDirectory, read_pickle, write_bytes, write_pickle
from automl_fuse.specs import ALL_ROWS, FitContext, JobResult, Matrix, Rows

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Columns, Floats, Job, LearnerSpec, Student, Task

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
        self._cache: OrderedDict[tuple[object, ...], tuple[Matrix, ...]] = OrderedDict()

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
        model, rows, held_out = self._prepare(job, spec, encoders, features, deadline)
        if model.learner is None:
            return model
        if job.student is not None:
            rows, held_out = self._taught(job, job.student, model, (rows, held_out), deadline)
            if not spec.soft_labels:
                rows, held_out = repeated(rows), held_out and repeated(held_out)
        model.learner.get().fit(rows, held_out)
        return model

    def _edited(self, job: Job, train: Matrix) -> FoldModel:
        """Return the fold model of the source with its learner changed."""
        path = self._run.fold_model(job.source, job.fold)
        if not path.exists():
            raise RunError(f"{path} is missing: there is no model of {job.source!r} to edit.")
        source: FoldModel = read_pickle(path)
        if source.learner is None or job.edit is None:
            return source
        split = self._split(job.fold)
        y = self._restated(self._data.y[split.train], source)
        rows = Rows(X=train, y=y, weight=_weights(self._data.weight, split.train))
        edited = job.edit.edit(source.learner.get(), rows)
        if not callable(getattr(edited, "predict", None)):
            raise PluginError(
                f"edit {job.edit.name!r} returned {edited!r}: it must return a fitted learner."
            )
        return replace(source, learner=Stored(edited))

    def _restated(self, y: Array, model: FoldModel) -> Array:
        """Return targets in the terms of a fold model's learner."""
        if model.classes:
            return np.searchsorted(model.classes, y)
        return (y - model.center) / model.scale

    def _split(self, fold: int) -> Fold:
        """Return a fold, or all rows to train on and none to validate."""
        if fold != ALL_ROWS:
            return self._data.folds[fold]
        everything = np.arange(len(self._data.y))
        return Fold(train=everything, valid=everything[:0])

    def _taught(
        self,
        job: Job,
        student: Student,
        model: FoldModel,
        rows: tuple[Rows, Rows | None],
        deadline: Deadline,
    ) -> tuple[Rows, Rows | None]:
        """Add a teacher's labels to the true ones, and augmented rows that it labelled.

        A teacher's out-of-fold label of a training row comes from models that saw the fold's
        validation rows, and a student that hears of them scores as if it had seen them itself
        (AUC 0.90 where the teacher had 0.80). So only a student of all rows, which is not
        scored, is told such labels; in a fold the teacher speaks of augmented rows alone, with
        the voice of the models that were fitted on the same training rows. Validation rows,
        which only decide when to stop, keep their true labels.
        """
        train, held_out = rows
        split = self._split(job.fold)
        labels = _as_outputs(train.y, len(model.classes))
        told = np.zeros(len(labels), dtype=bool)
        if job.fold == ALL_ROWS:
            teacher = np.load(self._run.teacher(teacher_name(student.teacher)))
            taught = self._in_terms_of(model, teacher[split.train], student)
            told |= np.isfinite(taught).all(axis=1) & (student.alpha == 1.0)
            labels = _with_every_class(mixed(labels, taught, student.alpha), train.y, model)
        X, source = train.X, split.train
        if student.copies > 0:
            extra, features = self._augmented(job, student, model, split, deadline)
            labels = np.concatenate([labels, self._in_terms_of(model, extra.labels, student)])
            told = np.concatenate([told, np.ones(len(extra.source), dtype=bool)])
            source = np.concatenate([source, extra.source])
            X = replace(X, values=np.concatenate([X.values, features.values]))
        taught_rows = Rows(X=X, y=labels[:, 0], weight=_weights(self._data.weight, source))
        if model.classes:
            taught_rows = replace(taught_rows, y=labels.argmax(axis=1), soft=labels)
        if _matches_changes(job):
            taught_rows = _arranged(taught_rows, *paired(source, told))
        if model.classes and held_out is not None:
            held_out = replace(held_out, soft=_as_outputs(held_out.y, len(model.classes)))
        return taught_rows, held_out

    def _in_terms_of(self, model: FoldModel, labels: Floats, student: Student) -> Floats:
        """Return a teacher's labels for the classes that a learner knows, or standardised."""
        if not model.classes:
            return (labels - model.center) / model.scale
        known: Floats = np.maximum(labels[:, list(model.classes)], 1e-12)
        told = softened(known / known.sum(axis=1, keepdims=True), student)
        # The most probable class of a row without probabilities would look like a certain label.
        silent = ~np.isfinite(labels).all(axis=1, keepdims=True)
        return np.where(silent, np.nan, told)

    def _augmented(
        self, job: Job, student: Student, model: FoldModel, split: Fold, deadline: Deadline
    ) -> tuple[Augmented, Matrix]:
        """Return the augmented rows of a fold's training rows, and their features."""
        name = teacher_name(student.teacher)
        rows = read_augmented(self._run.augmented(name))
        n_rows = len(self._data.y)
        copy = np.arange(len(rows.source)) // n_rows
        labels = rows.labels[job.fold]
        ours = np.isin(rows.source, split.train) & np.isfinite(labels).all(axis=1)
        share = np.random.default_rng(job.fold + 1).random(len(ours)) < student.copies - copy
        chosen = np.flatnonzero(ours & share)
        columns = rows.columns.take(chosen)
        parts = []
        for encoder in model.encoders:
            key = (job.fold, encoder, name, student.copies)
            if key not in self._cache:
                fitted = self._encoder(job.fold, encoder, deadline)
                self._remember(key, (fitted.transform(columns),))
            self._cache.move_to_end(key)
            parts.append((encoder, self._cache[key][0]))
        extra = Augmented(columns=columns, source=rows.source[chosen], labels=labels[chosen])
        return extra, merge_features(parts, len(chosen))

    def _encoder(self, fold: int, name: str, deadline: Deadline) -> FittedEncoder:
        """Return a fitted encoder of a fold."""
        self._encoded_part(fold, name, deadline)
        fitted: FittedEncoder = read_pickle(self._run.encoder(name, fold))
        return fitted

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
        fold = self._split(job.fold)
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
        split = self._split(fold)
        train = merge_features([(n, pair[0]) for n, pair in parts], len(split.train))
        valid = merge_features([(n, pair[1]) for n, pair in parts], len(split.valid))
        return train, valid

    def _encoded_part(self, fold: int, name: str, deadline: Deadline) -> tuple[Matrix, Matrix]:
        key = (fold, name)
        if key in self._cache:
            self._cache.move_to_end(key)
            known_train, known_valid = self._cache[key]
            return known_train, known_valid
        spec = self._plugins.encoders[name]
        columns = self._data.columns.select(spec.kinds)
        split = self._split(fold)
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
        # An encoder need not know what to do with no rows at all.
        empty = not len(split.valid)
        valid = _take(train, split.valid) if empty else encoder.transform(columns.take(split.valid))
        kept = FittedEncoder(kinds=spec.kinds, encoder=Stored(encoder))
        path = self._run.encoder(name, fold)
        if not path.exists():
            write_bytes(path, pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL))
        self._remember(key, (train, valid))
        return train, valid

    def _remember(self, key: tuple[object, ...], features: tuple[Matrix, ...]) -> None:
        """Cache features, dropping those not used for longest when there are too many."""
        for matrix in features:
            matrix.values.flags.writeable = False
        self._cache[key] = features
        while len(self._cache) > 1 and _size(self._cache) > CACHE_BYTES:
            self._cache.popitem(last=False)


def _size(cache: OrderedDict[tuple[object, ...], tuple[Matrix, ...]]) -> int:
    return sum(matrix.values.nbytes for features in cache.values() for matrix in features)


def _with_every_class(labels: Floats, y: Array, model: FoldModel) -> Floats:
    """Return labels in which the rows of a class that nobody is told of keep their true one."""
    for code in np.flatnonzero(labels.max(axis=0) < SMALLEST) if model.classes else ():
        labels[y == code] = np.eye(labels.shape[1])[code]
    return labels


def _matches_changes(job: Job) -> bool:
    """Return whether the learner wants rows in pairs: see ``paired``."""
    strength = job.params.get("matching")
    return isinstance(strength, int | float) and strength > 0


def _arranged(rows: Rows, order: Array, share: Floats) -> Rows:
    """Return rows in another order, some more than once, with their weights times a share."""
    weight = share if rows.weight is None else share * rows.weight[order]
    return Rows(
        X=replace(rows.X, values=rows.X.values[order]),
        y=rows.y[order],
        weight=weight / weight.mean(),
        soft=None if rows.soft is None else rows.soft[order],
    )


def _as_outputs(y: Array, n_classes: int) -> Floats:
    """Return targets as (n_rows, n_outputs): one-hot classes, or values."""
    if n_classes:
        certain: Floats = np.eye(n_classes)[y]
        return certain
    return np.asarray(y, dtype=np.float64)[:, None]


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
