"""The fitted thing that predicts: schema, encoders, fold models, fusion, calibration.

Nothing of the search can be reached from here.
"""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from automl_fuse.budget import usable_cores
from automl_fuse.errors import DataError, SettingsError
from automl_fuse.specs import Array, Columns, Encoder, Floats, Fusion, Kind, Learner, Matrix, Task
from automl_fuse.table import Table, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from automl_fuse.calibration import Calibration
    from automl_fuse.schema import Schema
    from automl_fuse.specs import Params

SMALL_BATCH = 500
"""Rows below which threads cost more than they save."""
CHUNK_ROWS = 50_000
"""Rows predicted at a time: bounds the memory that encoded features take."""


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
    center, scale, low, high : float
        Regression: the learner works on (y - center) / scale; low and high are the smallest
        and largest training targets, to which predictions are clipped.
    """

    fold: int
    encoders: tuple[str, ...]
    learner: Stored[Learner] | None
    prior: tuple[float, ...]
    classes: tuple[int, ...] = ()
    n_outputs: int = 1
    center: float = 0.0
    scale: float = 1.0
    low: float = -np.inf
    high: float = np.inf

    def predict(self, features: Matrix) -> Floats:
        """Return probabilities of all classes (n_rows, n_outputs), or values (n_rows, 1)."""
        n_rows = len(features.values)
        if self.learner is None:
            return np.tile(self.prior, (n_rows, 1))
        raw = self.learner.get().predict(features)
        if not self.classes:
            return np.clip(raw * self.scale + self.center, self.low, self.high)
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
        renamed.append(Matrix(values=part.values, names=names, cardinalities=part.cardinalities))
    return Matrix.concatenate(renamed, n_rows)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A fitted, fused pipeline: what ``fit`` and ``load`` return.

    Attributes
    ----------
    schema : Schema
        What each column holds, and why it was taken for that; print it.
    task : Task
        What is predicted.
    target : str
        Name of the target.
    classes_ : array of shape (n_classes,) or None
        Class labels in the order of ``predict_proba``'s columns; None in regression.
    members : tuple of Member
        What is fused.
    fusion : Fusion
        The rule that combines them.
    calibration : Calibration
        Temperature and decision threshold.
    encoders : mapping of (int, str) to FittedEncoder
        Fitted encoders by fold and name, shared by members.
    report : mapping
        How the run went, as JSON values: leaderboard, scores, failures, warnings, seconds.
    """

    schema: Schema
    task: Task
    target: str
    classes_: Array | None
    members: tuple[Member, ...]
    fusion: Fusion
    calibration: Calibration
    encoders: Mapping[tuple[int, str], FittedEncoder]
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_outputs(self) -> int:
        """Number of classes, or 1 in regression."""
        return 1 if self.classes_ is None else len(self.classes_)

    @property
    def feature_names_in_(self) -> tuple[str, ...]:
        """Names of the columns that the table had at fit."""
        return tuple(column.name for column in self.schema.columns)

    def predict(self, data: Any) -> Array:
        """Predict class labels, or values.

        Parameters
        ----------
        data : table
            Anything ``fit`` takes, with the same columns in any order; others are ignored.

        Returns
        -------
        array of shape (n_rows,)
            Labels of the dtype of the training target, or float64 values.

        Raises
        ------
        DataError
            If columns are missing or hold values of another kind.
        """
        fused = self._fused(data)
        if self.classes_ is None:
            return fused[:, 0]
        labels: Array = self.classes_[self.calibration.labels(fused)]
        return labels

    def predict_proba(self, data: Any) -> Floats:
        """Predict class probabilities, (n_rows, n_classes), in the order of ``classes_``.

        Raises
        ------
        SettingsError
            In regression.
        DataError
            If columns are missing or hold values of another kind.
        """
        if self.classes_ is None:
            raise SettingsError("predict_proba is for classification; this pipeline predicts "
                                f"the number {self.target!r}: use predict.")  # fmt: skip
        return self._fused(data)

    def preload(self) -> None:
        """Unpickle every part now, so that the first prediction is as fast as the next."""
        for member in self.members:
            for model in member.folds:
                if model.learner is not None:
                    model.learner.get()
        for fitted in self.encoders.values():
            fitted.encoder.get()

    def leaderboard(self) -> pd.DataFrame:
        """Return one row a member, best first.

        Columns: member, learner, score (out-of-fold, of the run's metric), std (over folds),
        fit_s and predict_s (seconds over all folds), bytes, weight in the fusion.
        """
        import pandas as pd

        return pd.DataFrame(
            self.report.get("leaderboard", []),
            columns=[
                "member", "learner", "score", "std", "fit_s", "predict_s", "bytes", "weight",
            ],
        )  # fmt: skip

    def front(self) -> pd.DataFrame:
        """Return the pipelines of this run that no other beats on score, seconds and bytes.

        Columns: pipeline, members (how many), score (cross-fitted), std, seconds (to predict
        one row), bytes.
        """
        import pandas as pd

        return pd.DataFrame(
            self.report.get("front", []),
            columns=["pipeline", "members", "score", "std", "seconds", "bytes"],
        )

    def rules(self, member: str, fold: int = 0) -> str:
        """Return how a member decides, in words, if its learner can tell (``decision_tree`` can).

        Parameters
        ----------
        member : str
            Name of a member that the fusion kept: see ``members`` or the leaderboard.
        fold : int
            Which of its fold models.

        Raises
        ------
        SettingsError
            If the pipeline has no such member or fold, or its learner has no rules.
        """
        found = next((m for m in self.members if m.name == member), None)
        if found is None or not 0 <= fold < len(found.folds):
            names = ", ".join(m.name for m in self.members)
            raise SettingsError(f"No fold {fold} of a member {member!r}: there are {names}.")
        learner = found.folds[fold].learner
        tell = getattr(learner and learner.get(), "rules", None)
        if tell is None:
            raise SettingsError(f"Member {member!r} has no rules: its learner cannot tell them.")
        return str(tell())

    def evaluate(self, data: Any, y: Any = None, *, sample_weight: Any = None) -> dict[str, float]:
        """Score the pipeline on labelled rows.

        Parameters
        ----------
        data : table
            With the target column, unless ``y`` is given.
        y : array of shape (n_rows,), optional
            Target.
        sample_weight : array of shape (n_rows,), optional
            Weights.

        Returns
        -------
        dict of str to float
            Every metric of the task.

        Raises
        ------
        DataError
            If the target is missing, or holds a class that was not there at fit.
        """
        from automl_fuse.metrics import score_all
        from automl_fuse.table import read_target

        table = read_table(data)
        truth, known, weight = read_target(
            table, y, target=self.target, classes=self.classes_, sample_weight=sample_weight
        )
        if not known.all():
            table = table.take(np.flatnonzero(known))
        fused = self._fused(table)
        threshold = self.calibration.threshold
        return score_all(self.task, truth, fused, weight, threshold=threshold)

    def save(self, path: str) -> None:
        """Write the pipeline into a folder that ``automl_fuse.load`` reads.

        The format is described in ``docs/artefact.md``. It holds Python objects: load such
        folders only from people you trust.

        Raises
        ------
        ArtefactError
            If the path exists and is not such a folder, or cannot be written.
        """
        from automl_fuse.artefact import save

        save(self, path)

    def _fused(self, data: Any) -> Floats:
        columns = self.schema.convert(data if isinstance(data, Table) else read_table(data))
        if columns.n_rows == 0:
            return np.empty((0, self.n_outputs))
        chunks = [
            self._fuse_rows(columns.take(np.arange(start, min(start + CHUNK_ROWS, columns.n_rows))))
            for start in range(0, columns.n_rows, CHUNK_ROWS)
        ]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def _fuse_rows(self, columns: Columns) -> Floats:
        fused = self.fusion.combine(self._member_predictions(columns))
        if self.classes_ is not None:
            fused = self.calibration.probabilities(fused)
        if not np.isfinite(fused).all():
            row = int(np.flatnonzero(~np.isfinite(fused).all(axis=1))[0])
            raise DataError(f"Row {row} has no finite prediction: check its values.")
        return fused

    def _member_predictions(self, columns: Columns) -> Floats:
        stacked = np.zeros((len(self.members), columns.n_rows, self.n_outputs))
        folds = sorted({model.fold for member in self.members for model in member.folds})
        workers = 1 if columns.n_rows < SMALL_BATCH else min(len(folds), usable_cores())
        if workers == 1:
            for fold in folds:
                for position, prediction in self._fold_predictions(fold, columns):
                    stacked[position] += prediction
        else:
            # The libraries let go of the interpreter while they predict, and nothing is shared
            # between folds. Sums are made here, in order, so that threads change no digit.
            with ThreadPoolExecutor(workers) as pool:
                for parts in pool.map(partial(self._fold_predictions, columns=columns), folds):
                    for position, prediction in parts:
                        stacked[position] += prediction
        n_folds = np.array([len(member.folds) for member in self.members])
        stacked /= n_folds[:, None, None]
        return stacked

    def _fold_predictions(self, fold: int, columns: Columns) -> list[tuple[int, Floats]]:
        """Predict with the members' models of one fold: pairs of member position, prediction."""
        features = _Features(self.encoders, columns, fold)
        return [
            (position, model.predict(features.of(model.encoders)))
            for position, member in enumerate(self.members)
            for model in member.folds
            if model.fold == fold
        ]


class _Features:
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
        if names not in self._merged:
            parts = [(name, self._part(name)) for name in names]
            self._merged[names] = merge_features(parts, self._columns.n_rows)
        return self._merged[names]

    def _part(self, name: str) -> Matrix:
        if name not in self._parts:
            encoder = self._encoders[self._fold, name]
            self._parts[name] = encoder.transform(self._columns)
        return self._parts[name]
