"""The fitted thing that predicts: schema, encoders, fold models, fusion, calibration.

Nothing of the search can be reached from here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.budget import usable_cores
from automl_fuse.errors import DataError, SettingsError
from automl_fuse.members import Features, decompressed
from automl_fuse.table import Table, read_labelled, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from automl_fuse.calibration import Calibration
    from automl_fuse.members import FittedEncoder, Member
    from automl_fuse.schema import Schema
    from automl_fuse.specs import Array, Columns, Floats, Fusion, Task

FRONT_COLUMNS = (
    "pipeline", "members", "models", "score", "relative_loss", "latency_ms", "size_mb", "measured",
    "chosen",
)  # fmt: skip
"""What ``front`` shows of each pipeline."""
SMALL_BATCH = 500
"""Rows below which threads cost more than they save."""
CHUNK_ROWS = 50_000
"""Rows predicted at a time: bounds the memory that encoded features take."""


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
    sample : Columns
        Some training rows, typed: what an artefact is checked with before it is written.
    report : mapping
        How the run went, as JSON values: leaderboard, scores, failures, warnings, seconds.
    alternatives : mapping of str to Pipeline
        The other pipelines of the run's front, by name; ``pick`` chooses among them.
    """

    schema: Schema
    task: Task
    target: str
    classes_: Array | None
    members: tuple[Member, ...]
    fusion: Fusion
    calibration: Calibration
    encoders: Mapping[tuple[int, str], FittedEncoder] = field(repr=False)
    sample: Columns = field(repr=False)
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)
    alternatives: Mapping[str, Pipeline] = field(default_factory=dict, repr=False)

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
        return self.predict_typed(self._columns(data))[0]

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
        """Return the pipelines of this run that no other beats on quality, latency and bytes.

        The fused pipeline itself, ``all members``, is listed in any case.

        Best first. Columns: pipeline, members and models (how many), score (of the run's metric,
        on rows that did not train it), relative_loss (against the best: 0.01 for one per cent
        more), latency_ms (one row of the artefact in onnxruntime,
        with one thread), size_mb (megabytes of the artefact), measured (whether there was time to
        measure both on the file, or they are sums over its members), chosen.
        """
        import pandas as pd

        return pd.DataFrame(self.report.get("front", []), columns=list(FRONT_COLUMNS))

    def plot_front(self, path: str | None = None) -> Any:
        """Draw the front: score against latency, areas in proportion to bytes.

        Parameters
        ----------
        path : str, optional
            A PNG, SVG or PDF file to write.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        from automl_fuse.plotting import plot_front

        return plot_front(self.report, path)

    def pick(
        self,
        *,
        max_latency_ms: float | None = None,
        max_size_mb: float | None = None,
        max_loss: float | None = None,
        prefer: str = "balanced",
    ) -> Pipeline:
        """Return another pipeline of the same run, without fitting anything.

        Parameters
        ----------
        max_latency_ms : float, optional
            Milliseconds that one row may take inside onnxruntime.
        max_size_mb : float, optional
            Megabytes that the artefact may have.
        max_loss : float, optional
            Loss against the best pipeline of the run, relative: 0.01 for one per cent.
        prefer : {"quality", "balanced", "speed"}
            Among those within the limits: the best; the cheapest within one standard error of
            the best; the best of at most 0.05 ms and 1 MB.

        Raises
        ------
        SettingsError
            If nothing is within the limits: the message names what is nearest.
        """
        from automl_fuse.fronts import Limits, Point, pick

        rows = self.report.get("front", [])
        if not rows:
            raise SettingsError("This pipeline has no front: its run had no time to make one.")
        points = [
            Point(
                name=row["pipeline"],
                loss=row["loss"],
                error=row["loss_error"],
                latency_ms=row["latency_ms"],
                size_mb=row["size_mb"],
            )
            for row in rows
        ]
        limits = Limits(latency_ms=max_latency_ms, size_mb=max_size_mb, loss=max_loss)
        return self.named(pick(points, prefer, limits).name)

    def named(self, name: str) -> Pipeline:
        """Return the pipeline of the front that has this name.

        Raises
        ------
        SettingsError
            If there is none.
        """
        if name not in self.alternatives:
            names = ", ".join(map(repr, self.alternatives))
            raise SettingsError(f"The front has no pipeline {name!r}: there are {names}.")
        other = self.alternatives[name]
        front = [{**row, "chosen": row["pipeline"] == name} for row in self.report["front"]]
        report = {**self.report, **other.report, "front": front}
        return replace(other, report=report, alternatives=self.alternatives)

    def decompress(self) -> Pipeline:
        """Return this pipeline with quantised parts as floating-point numbers again.

        They carry the error that quantising made; parts that were not quantised stay.
        """
        members = tuple(
            replace(member, folds=tuple(decompressed(model) for model in member.folds))
            for member in self.members
        )
        return replace(self, members=members)

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

        rows = read_labelled(
            data, y, target=self.target, classes=self.classes_, sample_weight=sample_weight
        )
        fused = self._fused(rows.table)
        return score_all(self.task, rows.truth, fused, rows.weight, self.calibration.threshold)

    def save(self, path: str | Path) -> None:
        """Write the pipeline into one portable ONNX file, which ``automl_fuse.load`` reads.

        The file is described in ``docs/artefact.md``. It is not written unless it predicts what
        this object predicts, on training rows and on awkward ones.

        Parameters
        ----------
        path : str or Path
            Where to; the name must end in ``.onnx``.

        Raises
        ------
        ExportError
            If a part cannot be written into such a file, or predicts otherwise from it.
        ArtefactError
            If the path does not end in ``.onnx``, or cannot be written.
        """
        from automl_fuse.artefact import save

        save(self, path)

    def predict_typed(self, columns: Columns) -> tuple[Array, Floats]:
        """Predict typed rows: labels or values (n_rows,), and the numbers behind them.

        Parameters
        ----------
        columns : Columns
            As the schema converts tables.

        Returns
        -------
        pair of arrays
            Labels and probabilities (n_rows, n_classes); in regression the values, (n_rows,) and
            (n_rows, 1).
        """
        fused = self.fused(columns)
        if self.classes_ is None:
            return fused[:, 0], fused
        return self.classes_[self.calibration.labels(fused)], fused

    def _columns(self, data: Any) -> Columns:
        return self.schema.convert(data if isinstance(data, Table) else read_table(data))

    def _fused(self, data: Any) -> Floats:
        return self.fused(self._columns(data))

    def fused(self, columns: Columns) -> Floats:
        """Return fused, calibrated predictions (n_rows, n_outputs) of typed rows.

        Raises
        ------
        DataError
            If one is not finite.
        """
        fused = self._unchecked(columns)
        if not np.isfinite(fused).all():
            row = int(np.flatnonzero(~np.isfinite(fused).all(axis=1))[0])
            raise DataError(f"Row {row} has no finite prediction: check its values.")
        return fused

    def predictable(self, columns: Columns) -> Array:
        """Return which typed rows have a prediction, (n_rows,): an infinite value may have none."""
        return np.asarray(np.isfinite(self._unchecked(columns)).all(axis=1))

    def _unchecked(self, columns: Columns) -> Floats:
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
        return fused

    def _member_predictions(self, columns: Columns) -> Floats:
        stacked = np.zeros((len(self.members), columns.n_rows, self.n_outputs))
        folds = sorted({model.fold for member in self.members for model in member.folds})
        workers = 1 if columns.n_rows < SMALL_BATCH else min(len(folds), usable_cores())
        if workers == 1:
            for fold in folds:
                for position, prediction in self.fold_predictions(fold, columns):
                    stacked[position] += prediction
        else:
            # The libraries let go of the interpreter while they predict, and nothing is shared
            # between folds. Sums are made here, in order, so that threads change no digit.
            with ThreadPoolExecutor(workers) as pool:
                for parts in pool.map(partial(self.fold_predictions, columns=columns), folds):
                    for position, prediction in parts:
                        stacked[position] += prediction
        n_folds = np.array([len(member.folds) for member in self.members])
        stacked /= n_folds[:, None, None]
        return stacked

    def fold_predictions(self, fold: int, columns: Columns) -> list[tuple[int, Floats]]:
        """Predict with the members' models of one fold: pairs of member position, prediction."""
        features = Features(self.encoders, columns, fold)
        return [
            (position, model.predict(features.of(model.encoders)))
            for position, member in enumerate(self.members)
            for model in member.folds
            if model.fold == fold
        ]
