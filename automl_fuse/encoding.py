"""Features of a fold's rows: each encoder is fitted once a fold, what it gives is kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.features import FeatureFiles, beside, taken
from automl_fuse.folds import Fold, Indices, sampled, seed_of
from automl_fuse.members import FittedEncoder, Stored, locked
from automl_fuse.sizes import dense_features, usual_cells
from automl_fuse.specs import ALL_ROWS, FitContext, Matrix, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.budget import Deadline
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Columns, Encoder, EncoderSpec, Floats, Task

CACHE_BYTES: Final = 1 << 28
"""Features that one worker keeps between jobs."""
LARGE_BYTES: Final = 1 << 24
"""Features that are larger are not kept, but mapped again: they would fill memory with pages."""
_SAMPLE: Final = "@"


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

    def split(self, fold: int, max_rows: int | None = None) -> Fold:
        """Return a fold, or all rows to train on and none to validate for ``ALL_ROWS``.

        Parameters
        ----------
        fold : int
            Position of the fold, or ``ALL_ROWS``.
        max_rows : int, optional
            Of more training rows, a sample of about so many is returned: the same each time,
            and balanced on the target.
        """
        split = self._whole(fold)
        if max_rows is None or max_rows >= len(split.train):
            return split
        place = (fold, max_rows)
        if place not in self._samples:
            seed = seed_of(self.seed, "sample", *place)
            chosen = sampled(
                split.train, self.y, max_rows, seed, classes=self.task.is_classification
            )
            self._samples[place] = Fold(train=chosen, valid=split.valid)
        return self._samples[place]

    @cached_property
    def validated(self) -> Indices:
        """Positions of the rows that any fold validates, in rising order."""
        return np.unique(np.concatenate([fold.valid for fold in self.folds]))

    def _whole(self, fold: int) -> Fold:
        if fold != ALL_ROWS:
            return self.folds[fold]
        everything = np.arange(len(self.y))
        return Fold(train=everything, valid=everything[:0])

    @cached_property
    def fold_shape(self) -> Shape:
        """Size of the largest fit of a fold: what costs are predicted from."""
        return Shape(
            n_rows=max(len(fold.train) for fold in self.folds),
            n_features=max(1, len(self.columns.columns)),
            n_classes=self.n_classes,
            task=self.task,
            n_dense=dense_features(self.columns),
            cells=usual_cells(self.columns),
        )

    @cached_property
    def _samples(self) -> dict[tuple[int, int], Fold]:
        return {}

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

    An encoder is fitted to the training rows of its member: of a fold, or of a sample of them.
    It is told by a key: its name, and after ``@`` the rows of the sample, as in ``codes@50000``.

    Parameters
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where fitted encoders, and features of the folds' rows, are kept.
    specs : mapping of str to EncoderSpec
        Encoders by name.
    n_threads : int
        Threads that an encoder may use.
    blocked : tuple of str
        Encoders that nobody reads, whatever a learner asks for.
    """

    def __init__(
        self,
        data: TrialData,
        run: RunDirectory,
        specs: Mapping[str, EncoderSpec],
        n_threads: int,
        blocked: tuple[str, ...] = (),
    ) -> None:
        self._data = data
        self._run = run
        self._specs = specs
        self._n_threads = n_threads
        self._blocked = frozenset(blocked)
        self._files = FeatureFiles(run)
        self._cache: OrderedDict[tuple[object, ...], tuple[Matrix, ...]] = OrderedDict()

    def readable(
        self, names: tuple[str, ...], fold: int = ALL_ROWS, max_rows: int | None = None
    ) -> tuple[str, ...]:
        """Return the keys of the encoders that find columns of their kinds in this table.

        Parameters
        ----------
        names : tuple of str
            Names of encoders.
        fold : int
            Position of the fold, or ``ALL_ROWS``.
        max_rows : int, optional
            Training rows of the member, if it is to see a sample.

        Raises
        ------
        PluginError
            If none of them is installed.
        """
        names = tuple(name for name in names if name not in self._blocked)
        installed = tuple(name for name in names if name in self._specs)
        if names and not installed:
            raise PluginError(
                f"encoders {list(names)} are not installed: unblock or install the plugin that "
                "brings them."
            )
        kinds = {column.kind for column in self._data.columns.columns}
        n_rows = len(self._data.split(fold).train)
        sample = "" if max_rows is None or max_rows >= n_rows else f"{_SAMPLE}{max_rows}"
        return tuple(name + sample for name in installed if self._specs[name].kinds & kinds)

    def of_fold(
        self, fold: int, keys: tuple[str, ...], deadline: Deadline
    ) -> tuple[Matrix, Matrix]:
        """Return the features of the fold's training and validation rows, by these encoders."""
        split = self._data.split(fold, rows_of(keys))
        train, valid = [], []
        for key in keys:
            features = self._features(fold, key, deadline)
            train.append((key, features[0]))
            valid.append((key, features[1]))
        return locked(beside(train, len(split.train))), locked(beside(valid, len(split.valid)))

    def widths(self, fold: int, keys: tuple[str, ...], deadline: Deadline) -> dict[str, int]:
        """Return how many features each of these encoders gives in a fold."""
        return {key: len(self._features(fold, key, deadline)[0].names) for key in keys}

    def of_others(
        self,
        columns: Columns,
        fold: int,
        keys: tuple[str, ...],
        source: tuple[object, ...],
        deadline: Deadline,
    ) -> Matrix:
        """Return the features of rows outside the table, by encoders fitted in the fold.

        Parameters
        ----------
        columns : Columns
            The rows.
        fold : int
            Position of the fold, or ``ALL_ROWS``.
        keys : tuple of str
            The encoders.
        source : tuple
            What tells these rows from others: the same source, the same rows of a fold.
        deadline : Deadline
            For encoders that must be fitted first.
        """
        parts = []
        for key in keys:
            place = (fold, key, *source)
            if place not in self._cache:
                self._features(fold, key, deadline)
                fitted: FittedEncoder = self._run.seals.load(self._run.encoder(key, fold))
                features = fitted.transform(columns)
                self._remember(place, (locked(features),))
            self._cache.move_to_end(place)
            parts.append((key, self._cache[place][0]))
        return locked(beside(parts, columns.n_rows))

    def _features(self, fold: int, key: str, deadline: Deadline) -> tuple[Matrix, Matrix]:
        """Return features of the fold's rows; the first worker that needs them makes them."""
        place = (fold, key)
        if place in self._cache:
            self._cache.move_to_end(place)
            known_train, known_valid = self._cache[place]
            return known_train, known_valid
        features = self._files.read(fold, key)
        if features is None:
            with self._files.lock(fold, key):
                features = self._files.read(fold, key)
                if features is None:
                    features = self._files.write(fold, key, self._encoded(fold, key, deadline))
        if _size(features) <= LARGE_BYTES:
            self._remember(place, features)
        return features

    def _encoded(self, fold: int, key: str, deadline: Deadline) -> tuple[Matrix, Matrix]:
        """Fit and keep an encoder; return features of the fold's rows."""
        name = key.partition(_SAMPLE)[0]
        data, spec = self._data, self._specs[name]
        columns, split = data.columns.select(spec.kinds), data.split(fold, rows_of((key,)))
        context = FitContext(
            task=data.task,
            n_classes=data.n_classes,
            seed=seed_of(data.seed, name, fold),
            n_threads=self._n_threads,
            deadline=deadline,
        )
        encoder = spec.build(context)
        rows = taken(columns, split.train)
        train = encoder.fit_transform(rows, data.y[split.train], data.weights(split.train))
        path = self._run.encoder(key, fold)
        if path.exists():
            # Fold models were fitted with that one, and an encoder may choose by the clock.
            kept: FittedEncoder = self._run.seals.load(path)
            fresh, encoder = encoder, kept.encoder.get()
            train = _as_before(key, encoder, fresh, rows, train)
        else:
            fitted = FittedEncoder(kinds=spec.kinds, encoder=Stored(encoder))
            self._run.seals.dump(path, fitted)
        del rows  # a copy of most of the table, which need not lie beside that of the rest
        if not len(split.valid):
            # An encoder need not know what to do with no rows at all.
            return train, replace(train, values=train.values[:0])
        return train, encoder.transform(taken(columns, split.valid))

    def _remember(self, place: tuple[object, ...], features: tuple[Matrix, ...]) -> None:
        """Cache features, dropping those not used for longest when there are too many."""
        self._cache[place] = features
        while len(self._cache) > 1 and sum(map(_size, self._cache.values())) > CACHE_BYTES:
            self._cache.popitem(last=False)


def _as_before(key: str, kept: Encoder, fresh: Encoder, rows: Columns, train: Matrix) -> Matrix:
    """Return features of training rows that go with an encoder which fold models know.

    A new fit alone gives them out of fold, where the target is read. It is the fit of before, but
    for an encoder that chose otherwise by the clock, which the names of its features tell.

    Raises
    ------
    PluginError
        If such an encoder gives training rows features out of fold: nothing can repeat them.
    """
    if kept.transform(rows.take(np.arange(1))).names == train.names:
        return train
    if not np.array_equal(fresh.transform(rows).values, train.values, equal_nan=True):
        raise PluginError(
            f"encoder {key!r} chose other features than at its first fit in this fold, by the "
            "clock, and features of its training rows are not there any more: give the run more "
            f"time, or leave it out with block_encoders=({key.partition(_SAMPLE)[0]!r},)."
        )
    return kept.transform(rows)


def rows_of(keys: Sequence[str]) -> int | None:
    """Return the rows of the sample that encoders were fitted to; None for all of a fold."""
    samples = {key.partition(_SAMPLE)[2] for key in keys} - {""}
    return int(max(samples)) if samples else None


def _size(features: tuple[Matrix, ...]) -> int:
    return sum(matrix.values.nbytes for matrix in features)
