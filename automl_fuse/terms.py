"""Fold models before their fit, and rows in their terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.earlier import earlier_of
from automl_fuse.encoding import TrialData, rows_of
from automl_fuse.folds import seed_of
from automl_fuse.hyperparameters import learner_params
from automl_fuse.members import FoldModel, Stored
from automl_fuse.specs import FitContext, Matrix, Rows
from automl_fuse.targets import TargetScale, transform_of

if TYPE_CHECKING:
    from automl_fuse.budget import Deadline
    from automl_fuse.folds import Fold
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Cluster, Job, LearnerSpec

CORRECTING_ROWS: Final = 10_000
"""Training rows, at most, that correct the mean of a model of logarithms."""


@dataclass(frozen=True)
class Means:
    """What a job may use: its time, and other machines."""

    deadline: Deadline
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Terms:
    """Makes fold models that know their terms only, and states rows in these.

    Attributes
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where models of an earlier run may lie.
    n_threads : int
        Threads that a learner may use.
    """

    data: TrialData
    run: RunDirectory
    n_threads: int

    def unfitted(
        self,
        job: Job,
        spec: LearnerSpec,
        encoders: tuple[str, ...],
        features: Matrix,
        means: Means,
    ) -> FoldModel:
        """Return a model that knows its terms, classes that occur or standard values, only."""
        train = self.data.split(job.fold, rows_of(encoders)).train
        y = self.data.y[train]
        target: TargetScale | None = None
        classes: tuple[int, ...] = ()
        if self.data.task.is_classification:
            classes = tuple(np.unique(y).tolist())
        else:
            target = TargetScale.of(y, transform_of(job.params, job.learner))
        learner = None
        if features.names and len(classes) != 1:
            context = self.context(job, classes, means)
            learner = Stored(spec.build(learner_params(job.params), context))
        return FoldModel(
            fold=job.fold,
            encoders=encoders,
            learner=learner,
            prior=self._prior(train),
            classes=classes,
            n_outputs=self.data.n_classes,
            target=target,
        )

    def split(self, model: FoldModel) -> Fold:
        """Return the rows that a fold model is fitted to, and those that validate it."""
        return self.data.split(model.fold, rows_of(model.encoders))

    def rows(self, model: FoldModel, features: tuple[Matrix, Matrix]) -> tuple[Rows, Rows | None]:
        """Return training rows, and validation rows of classes that the learner knows, if any."""
        split = self.split(model)
        y, y_valid = self.data.y[split.train], self.data.y[split.valid]
        train = Rows(X=features[0], y=restated(y, model), weight=self.data.weights(split.train))
        kept = np.arange(len(y_valid))
        if model.classes:
            kept = np.flatnonzero(np.isin(y_valid, model.classes))
        if not len(kept):
            return train, None
        held_out = Rows(
            X=_take(features[1], kept),
            y=restated(y_valid[kept], model),
            weight=self.data.weights(split.valid[kept]),
        )
        return train, held_out

    def context(self, job: Job, classes: tuple[int, ...], means: Means) -> FitContext:
        """Return what the learner of a job is told, given the classes that occur."""
        return FitContext(
            task=self.data.task,
            n_classes=len(classes) or 1,
            seed=seed_of(self.data.seed, job.member, job.fold),
            n_threads=self.n_threads,
            deadline=means.deadline,
            earlier=earlier_of(self.run, job, classes),
            cluster=means.cluster,
        )

    def _prior(self, rows: Array) -> tuple[float, ...]:
        """Return class frequencies, or the mean target, of these rows."""
        y, weight = self.data.y[rows], self.data.weights(rows)
        if not self.data.task.is_classification:
            return (float(np.average(y, weights=weight)),)
        counts = np.bincount(y, weights=weight, minlength=self.data.n_classes)
        return tuple((counts / counts.sum()).tolist())


def restated(y: Array, model: FoldModel) -> Array:
    """Return targets in the terms of a fold model's learner."""
    if model.target is not None:
        return model.target.standardised(y)
    return np.searchsorted(model.classes, y)


def corrected(model: FoldModel, train: Rows) -> FoldModel:
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
