"""Pipelines put together from the fold models and encoders of a run directory."""

from __future__ import annotations

import contextlib
import hashlib
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.members import Member
from automl_fuse.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.calibration import Calibration
    from automl_fuse.members import FittedEncoder, FoldModel
    from automl_fuse.run import RunDirectory
    from automl_fuse.schema import Schema
    from automl_fuse.specs import Array, Columns, Fusion, Params
    from automl_fuse.table import Dataset

SAMPLE_ROWS: Final = 256
"""Training rows that a pipeline keeps, to be checked and measured with."""


class Assembler:
    """Reads each part of a run once, and puts pipelines together from them.

    Parameters
    ----------
    run : RunDirectory
        Where trials have put fold models and encoders.
    dataset : Dataset
        Task, target and classes.
    schema : Schema
        Columns.
    columns : Columns
        Typed training rows, of which a sample is kept.
    seed : int
        Of the sample.
    """

    def __init__(
        self, run: RunDirectory, dataset: Dataset, schema: Schema, columns: Columns, seed: int
    ) -> None:
        self._run = run
        self._dataset = dataset
        self._schema = schema
        rows = np.arange(columns.n_rows)
        if len(rows) > SAMPLE_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE_ROWS, replace=False))
        self.sample = columns.take(rows)
        self._models: dict[tuple[str, int], FoldModel] = {}
        self._encoders: dict[tuple[int, str], FittedEncoder] = {}
        self._warmed: set[str] = set()

    def model(self, member: str, fold: int) -> FoldModel:
        """Return a fold model."""
        if (member, fold) not in self._models:
            self._models[member, fold] = self._run.seals.load(self._run.fold_model(member, fold))
        return self._models[member, fold]

    def warm(self, member: str, learner: str) -> None:
        """Read a first model of a learner in the background.

        That imports its library, which takes seconds that the search need not wait for.
        """
        if learner not in self._warmed:
            self._warmed.add(learner)
            Thread(target=self._read, args=(member,), daemon=True).start()

    def _read(self, member: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # dropped in the meantime
            model: FoldModel = self._run.seals.load(self._run.fold_model(member, 0))
            if model.learner is not None:
                model.learner.get()

    def has_model(self, member: str, fold: int) -> bool:
        """Return whether there is such a fold model."""
        return self._run.fold_model(member, fold).exists()

    def member(self, name: str, learner: str, params: Params, folds: Sequence[int]) -> Member:
        """Return a member with the models of these folds."""
        models = tuple(self.model(name, fold) for fold in folds)
        return Member(name=name, learner=learner, params=params, folds=models)

    def pipeline(
        self, members: Sequence[Member], fusion: Fusion, calibration: Calibration, report: Any
    ) -> Pipeline:
        """Return a pipeline of these members, with the encoders that they read."""
        needed = {
            (model.fold, name)
            for member in members
            for model in member.folds
            for name in model.encoders
        }
        return Pipeline(
            schema=self._schema,
            task=self._dataset.task,
            target=self._dataset.target,
            classes_=self._dataset.classes,
            members=tuple(members),
            fusion=fusion,
            calibration=calibration,
            encoders={key: self._encoder(*key) for key in sorted(needed)},
            sample=self.sample,
            report=report,
        )

    def _encoder(self, fold: int, name: str) -> FittedEncoder:
        if (fold, name) not in self._encoders:
            self._encoders[fold, name] = self._run.seals.load(self._run.encoder(name, fold))
        return self._encoders[fold, name]


def content_of(cell: Any) -> bytes:
    """Return the bytes of a text, or of an array, picture or sound, its shape included."""
    if isinstance(cell, tuple):
        return b"".join(content_of(part) for part in cell)
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}".encode() + np.ascontiguousarray(cell).tobytes()
    return repr(cell).encode()


def fingerprint(columns: Columns, y: Array) -> str:
    """Return a digest of the typed training rows and their target: the same rows, the same one."""
    digest = hashlib.sha256()
    for column in columns.columns:
        values = columns.values[column.name]
        digest.update(column.name.encode())
        if values.dtype != object:
            digest.update(values.tobytes())
            continue
        for cell in values:
            digest.update(content_of(cell))
    digest.update(np.ascontiguousarray(y).tobytes())
    return digest.hexdigest()
