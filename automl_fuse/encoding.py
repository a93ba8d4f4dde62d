"""Features of a fold's rows: each encoder is fitted once a fold, what it gives is kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.folds import Fold, seed_of
from automl_fuse.members import FittedEncoder, Stored, merge_features
from automl_fuse.run import read_pickle, write_pickle
from automl_fuse.specs import ALL_ROWS, FitContext, Matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.budget import Deadline
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Columns, EncoderSpec, Floats, Task

CACHE_BYTES: Final = 1 << 30
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

    def split(self, fold: int) -> Fold:
        """Return a fold, or all rows to train on and none to validate for ``ALL_ROWS``."""
        if fold != ALL_ROWS:
            return self.folds[fold]
        everything = np.arange(len(self.y))
        return Fold(train=everything, valid=everything[:0])

    def weights(self, rows: Array) -> Floats | None:
        """Return the sample weights of the rows at these positions, with mean 1, if there are any.

        Parameters
        ----------
        rows : int array of shape (n_chosen,)
            Positions, which may repeat.
        """
        if self.weight is None:
            return None
        chosen: Floats = self.weight[rows]
        mean_one: Floats = chosen / chosen.mean()
        return mean_one


class FoldEncoder:
    """Encodes rows in the folds of a run.

    Parameters
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where fitted encoders are kept.
    specs : mapping of str to EncoderSpec
        Encoders by name.
    n_threads : int
        Threads that an encoder may use.
    """

    def __init__(
        self,
        data: TrialData,
        run: RunDirectory,
        specs: Mapping[str, EncoderSpec],
        n_threads: int,
    ) -> None:
        self._data = data
        self._run = run
        self._specs = specs
        self._n_threads = n_threads
        self._cache: OrderedDict[tuple[object, ...], tuple[Matrix, ...]] = OrderedDict()

    def readable(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the encoders that find columns of their kinds in this table.

        Raises
        ------
        PluginError
            If one is not installed.
        """
        missing = [name for name in names if name not in self._specs]
        if missing:
            raise PluginError(
                f"encoders {missing} are not installed: unblock or install the plugin that brings "
                "them."
            )
        kinds = {column.kind for column in self._data.columns.columns}
        return tuple(name for name in names if self._specs[name].kinds & kinds)

    def of_fold(
        self, fold: int, names: tuple[str, ...], deadline: Deadline
    ) -> tuple[Matrix, Matrix]:
        """Return the features of the fold's training and validation rows, by these encoders."""
        parts = [(name, self._fitted(fold, name, deadline)) for name in names]
        split = self._data.split(fold)
        train = merge_features([(n, pair[0]) for n, pair in parts], len(split.train))
        valid = merge_features([(n, pair[1]) for n, pair in parts], len(split.valid))
        return train, valid

    def of_others(
        self,
        columns: Columns,
        fold: int,
        names: tuple[str, ...],
        key: tuple[object, ...],
        deadline: Deadline,
    ) -> Matrix:
        """Return the features of rows outside the table, by encoders fitted in the fold.

        Parameters
        ----------
        columns : Columns
            The rows.
        fold : int
            Position of the fold, or ``ALL_ROWS``.
        names : tuple of str
            The encoders.
        key : tuple
            What tells these rows from others: the same key, the same rows of a fold.
        deadline : Deadline
            For encoders that must be fitted first.
        """
        parts = []
        for name in names:
            place = (fold, name, *key)
            if place not in self._cache:
                self._fitted(fold, name, deadline)
                fitted: FittedEncoder = read_pickle(self._run.encoder(name, fold))
                self._remember(place, (fitted.transform(columns),))
            self._cache.move_to_end(place)
            parts.append((name, self._cache[place][0]))
        return merge_features(parts, columns.n_rows)

    def _fitted(self, fold: int, name: str, deadline: Deadline) -> tuple[Matrix, Matrix]:
        """Fit and keep an encoder, unless that is done; return features of the fold's rows."""
        place = (fold, name)
        if place in self._cache:
            self._cache.move_to_end(place)
            known_train, known_valid = self._cache[place]
            return known_train, known_valid
        data, spec = self._data, self._specs[name]
        columns, split = data.columns.select(spec.kinds), data.split(fold)
        context = FitContext(
            task=data.task,
            n_classes=data.n_classes,
            seed=seed_of(data.seed, name, fold),
            n_threads=self._n_threads,
            deadline=deadline,
        )
        encoder = spec.build(context)
        train = encoder.fit_transform(
            columns.take(split.train), data.y[split.train], data.weights(split.train)
        )
        if len(split.valid):
            valid = encoder.transform(columns.take(split.valid))
        else:
            # An encoder need not know what to do with no rows at all.
            valid = replace(train, values=train.values[:0])
        path = self._run.encoder(name, fold)
        if not path.exists():
            write_pickle(path, FittedEncoder(kinds=spec.kinds, encoder=Stored(encoder)))
        self._remember(place, (train, valid))
        return train, valid

    def _remember(self, place: tuple[object, ...], features: tuple[Matrix, ...]) -> None:
        """Cache features, dropping those not used for longest when there are too many."""
        for matrix in features:
            matrix.values.flags.writeable = False
        self._cache[place] = features
        while len(self._cache) > 1 and _size(self._cache) > CACHE_BYTES:
            self._cache.popitem(last=False)


def _size(cache: OrderedDict[tuple[object, ...], tuple[Matrix, ...]]) -> int:
    return sum(matrix.values.nbytes for features in cache.values() for matrix in features)
