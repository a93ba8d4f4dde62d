"""Fitted members: a learner and its encoders in each fold, in terms of the whole task."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from automl_fuse.specs import Columns, Encoder, Floats, Kind, Learner, Matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Params
    from automl_fuse.targets import TargetScale

T = TypeVar("T")


class Stored(Generic[T]):
    """A fitted object that stays pickled until it is used.

    Unpickling a learner imports its library, which takes seconds; the search, and whoever only
    saves a pipeline, need not wait for that.
    """

    def __init__(self, thing: T) -> None:
        self._thing: T | None = thing
        self._content = b""

    def get(self) -> T:
        """Return the object, unpickled on first use."""
        if self._thing is None:
            self._thing = pickle.loads(self._content)
            self._content = b""
        return self._thing

    def __getstate__(self) -> bytes:
        if self._thing is None:
            return self._content
        return pickle.dumps(self._thing, protocol=pickle.HIGHEST_PROTOCOL)

    def __setstate__(self, content: bytes) -> None:
        self._thing = None
        self._content = content


@dataclass(frozen=True, kw_only=True)
class FittedEncoder:
    """An encoder fitted in one fold, with the kinds of column that it reads."""

    kinds: frozenset[Kind]
    encoder: Stored[Encoder]

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of these rows."""
        return self.encoder.get().transform(columns.select(self.kinds))


@dataclass(frozen=True, kw_only=True)
class FoldModel:
    """A learner fitted on the training rows of one fold, in terms of the whole task.

    Attributes
    ----------
    fold : int
        Position of the fold.
    encoders : tuple of str
        Names of the encoders whose features the learner reads, in order.
    learner : Stored of Learner, or None
        The fitted learner; None if there was nothing to learn from: a single class in the
        training rows, or no feature that varies.
    prior : tuple of float
        What is predicted then: class frequencies of the training rows, or the mean target.
    classes : tuple of int
        Class codes that occurred in the training rows; empty in regression.
    n_outputs : int
        Columns of what ``predict`` returns: the number of all classes, or 1.
    target : TargetScale or None
        Regression: what the learner was told of the targets, and the way back.
    """

    fold: int
    encoders: tuple[str, ...]
    learner: Stored[Learner] | None
    prior: tuple[float, ...]
    classes: tuple[int, ...] = ()
    n_outputs: int = 1
    target: TargetScale | None = None

    def predict(self, features: Matrix) -> Floats:
        """Return probabilities of all classes (n_rows, n_outputs), or values (n_rows, 1)."""
        n_rows = len(features.values)
        if self.learner is None:
            return np.tile(self.prior, (n_rows, 1))
        raw = self.learner.get().predict(features)
        if self.target is not None:
            return self.target.restored(raw)
        if len(self.classes) == self.n_outputs:
            return raw
        spread = np.zeros((n_rows, self.n_outputs))
        spread[:, list(self.classes)] = raw
        return spread


@dataclass(frozen=True, kw_only=True)
class Member:
    """A learner with its hyperparameters, and its fold models."""

    name: str
    learner: str
    params: Params
    folds: tuple[FoldModel, ...]


def merge_features(parts: Sequence[tuple[str, Matrix]], n_rows: int) -> Matrix:
    """Put the features of several encoders side by side, with unique names."""
    seen: set[str] = set()
    renamed = []
    for encoder, part in parts:
        names = tuple(name if name not in seen else f"{name} ({encoder})" for name in part.names)
        seen.update(names)
        renamed.append(replace(part, names=names))
    return Matrix.concatenate(renamed, n_rows)


def locked(features: Matrix) -> Matrix:
    """Return the same features, which nobody can write into: several learners read them."""
    features.values.flags.writeable = False
    return features


def decompressed(model: FoldModel) -> FoldModel:
    """Return the fold model with a floating-point learner, if its learner can give one back."""
    give_back = getattr(model.learner and model.learner.get(), "decompress", None)
    return model if give_back is None else replace(model, learner=Stored(give_back()))


class Features:
    """Encodes rows with each encoder of a fold at most once."""

    def __init__(
        self, encoders: Mapping[tuple[int, str], FittedEncoder], columns: Columns, fold: int
    ) -> None:
        self._encoders = encoders
        self._columns = columns
        self._fold = fold
        self._parts: dict[str, Matrix] = {}
        self._merged: dict[tuple[str, ...], Matrix] = {}

    def of(self, names: tuple[str, ...]) -> Matrix:
        """Return the features of these encoders, side by side."""
        if names not in self._merged:
            parts = [(name, self._part(name)) for name in names]
            self._merged[names] = locked(merge_features(parts, self._columns.n_rows))
        return self._merged[names]

    def _part(self, name: str) -> Matrix:
        if name not in self._parts:
            encoder = self._encoders[self._fold, name]
            self._parts[name] = encoder.transform(self._columns)
        return self._parts[name]
