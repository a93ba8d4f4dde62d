"""A pipeline loaded from its portable file: it needs NumPy and onnxruntime, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.artefact.feeding import Feeder
from automl_fuse.budget import usable_cores
from automl_fuse.errors import (
    ArtefactError,
    DataError,
    MissingDependencyError,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from automl_fuse.artefact.manifest import Manifest
    from automl_fuse.schema import Schema
    from automl_fuse.specs import Array, Columns, Floats, Task

CHUNK_ROWS: Final = 2_000
"""Rows predicted at a time: their features stay in the processor's cache."""


class PortablePipeline:
    """A fitted, fused pipeline: what ``load`` returns.

    Parameters
    ----------
    manifest : Manifest
        What the file states.
    session : onnxruntime.InferenceSession
        What computes its graph, each call in one thread.
    threads : int or None
        Threads that one prediction may use; None for as many as there are processors.

    Attributes
    ----------
    manifest, session
        As above.
    schema : Schema
        What each column of the training table held, and why it was taken for that; print it.
    task : Task
        What is predicted.
    target : str
        Name of the target.
    classes_ : array of shape (n_classes,) or None
        Class labels in the order of ``predict_proba``'s columns; None in regression.
    """

    def __init__(self, manifest: Manifest, session: Any, threads: int | None = None) -> None:
        self.manifest = manifest
        self.session = session
        self._threads = usable_cores() if threads is None else threads
        self.schema: Schema = manifest.schema
        self.task: Task = manifest.task
        self.target = manifest.target
        self.classes_: Array | None = manifest.classes
        self._feeder = Feeder(manifest)
        self._outputs = list(manifest.outputs())
        self._shapes = [()] if self.classes_ is None else [(), (len(self.classes_),)]

    def __repr__(self) -> str:
        n_members = len(self.manifest.members)
        return f"PortablePipeline({self.task.value} of {self.target!r}, {n_members} members)"

    @property
    def feature_names_in_(self) -> tuple[str, ...]:
        """Names of the columns that the table had at fit."""
        return tuple(column.name for column in self.schema.columns)

    @property
    def columns_read_(self) -> tuple[str, ...]:
        """Names of the columns that are needed to predict."""
        return tuple(column.name for column in self.manifest.columns)

    @property
    def report(self) -> Mapping[str, Any]:
        """How the run went, as JSON values: leaderboard, scores, warnings, seconds."""
        report: Mapping[str, Any] = self.manifest.content["report"]
        return report

    def predict(self, data: Any) -> Array:
        """Predict class labels, or values.

        Parameters
        ----------
        data : table
            A frame of pandas, polars or Arrow, a NumPy array, a dict of columns, a dict of single
            values (one row), a list of dicts, or the path of a CSV or Parquet file; with at
            least the columns of ``columns_read_``, in any order.

        Returns
        -------
        array of shape (n_rows,)
            Labels of the type of the training target, or float64 values.

        Raises
        ------
        DataError
            If columns are missing or hold values of another kind.
        """
        first, *_ = self._outputs_for(data)
        return first

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
            raise SettingsError(
                f"predict_proba is for classification; this pipeline predicts the number "
                f"{self.target!r}: use predict."
            )
        return self._outputs_for(data)[-1]

    def predict_typed(self, columns: Columns) -> tuple[Array, Floats]:
        """Predict typed rows: labels or values (n_rows,), and the numbers behind them.

        Returns probabilities (n_rows, n_classes) beside labels, and values (n_rows, 1) beside
        values, as ``Pipeline.predict_typed`` does.
        """
        first, *rest = self._computed(columns)
        return first, rest[0] if rest else first[:, None]

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
        from automl_fuse.table import read_labelled

        rows = read_labelled(
            data, y, target=self.target, classes=self.classes_, sample_weight=sample_weight
        )
        prediction = self._computed(self._feeder.columns(rows.table))[-1]
        prediction = prediction.reshape(len(rows.truth), -1)
        threshold = self.manifest.calibration.threshold
        return score_all(self.task, rows.truth, prediction, rows.weight, threshold)

    def leaderboard(self) -> pd.DataFrame:
        """Return one row a member, best first: ``report["leaderboard"]`` as a frame.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "leaderboard() returns a frame of pandas: pip install pandas, or read "
                "report['leaderboard']"
            ) from error
        return pd.DataFrame(self.report.get("leaderboard", []))

    def graph_inputs(self, data: Any) -> dict[str, Array]:
        """Return what the graph is fed for a table: arrays by name of input, (n_rows, width).

        This is what a program without automl_fuse must make itself: see ``docs/artefact.md``.

        Raises
        ------
        DataError
            If columns are missing or hold values of another kind.
        """
        few = self._feeder.few(data)
        return self.typed_inputs(self._feeder.columns(data)) if few is None else few

    def typed_inputs(self, columns: Columns) -> dict[str, Array]:
        """Return what the graph is fed for typed rows."""
        return self._feeder.feeds(columns, slice(0, columns.n_rows))

    def verify(self) -> None:
        """Predict the rows that the file carries, and compare; ``load`` has done so.

        Raises
        ------
        ArtefactError
            If labels differ, or numbers by more than the tolerance of the file.
        """
        golden = self.manifest.golden
        try:
            results = self._computed(self._feeder.columns(golden.columns))
        except DataError as error:
            raise ArtefactError(f"it cannot predict the rows that it carries: {error}") from error
        prediction = results[-1].reshape(len(results[-1]), -1)
        scale = np.maximum(1.0, np.abs(golden.prediction))
        same = prediction.shape == golden.prediction.shape and bool(
            (np.abs(prediction - golden.prediction) <= self.manifest.tolerance * scale).all()
        )
        if same and self.classes_ is not None and golden.label is not None:
            codes = self.manifest.calibration.labels(results[-1])
            same = np.array_equal(results[0], golden.label) and np.array_equal(
                results[0], self.classes_[codes]
            )
        if not same:
            raise ArtefactError(
                "it predicts the rows that it carries otherwise than it states: export the "
                "pipeline again, and report it if this happens again"
            )

    def _outputs_for(self, data: Any) -> list[Array]:
        feeds = self._feeder.few(data)
        if feeds is not None:
            return self._checked(feeds, 0, len(next(iter(feeds.values()))))
        return self._computed(self._feeder.columns(data))

    def _computed(self, columns: Columns) -> list[Array]:
        """Return label and probabilities, or value."""
        starts = range(0, columns.n_rows, CHUNK_ROWS)
        chunks = [slice(start, start + CHUNK_ROWS) for start in starts]
        if not chunks:
            return self._nothing()
        if len(chunks) == 1:
            return self._run(columns, chunks[0])
        parts = self._run_all(columns, chunks)
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _run_all(self, columns: Columns, chunks: Sequence[slice]) -> list[list[Array]]:
        """Run several chunks, in threads: onnxruntime lets go of the interpreter."""
        if self._threads == 1:
            return [self._run(columns, rows) for rows in chunks]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(self._threads, len(chunks))) as pool:
            return list(pool.map(lambda rows: self._run(columns, rows), chunks))

    def _run(self, columns: Columns, rows: slice) -> list[Array]:
        n_rows = min(rows.stop, columns.n_rows) - rows.start
        return self._checked(self._feeder.feeds(columns, rows), rows.start, n_rows)

    def _checked(self, feeds: Mapping[str, Array], start: int, n_rows: int) -> list[Array]:
        """Run the graph on rows from ``start`` on; require one finite prediction for each."""
        try:
            results: list[Array] = self.session.run(self._outputs, feeds)
        except Exception as error:
            raise ArtefactError(f"onnxruntime cannot compute the graph: {error}") from error
        if [result.shape for result in results] != [(n_rows, *rest) for rest in self._shapes]:
            raise ArtefactError("the graph does not make one prediction for each row")
        finite = np.isfinite(results[-1])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(n_rows, -1).all(axis=1))[0])
            raise DataError(f"Row {row} has no finite prediction: check its values.")
        if self.classes_ is not None:
            results[0] = results[0].astype(self.classes_.dtype, copy=False)
        return results

    def _nothing(self) -> list[Array]:
        """Return the outputs of no rows."""
        if self.classes_ is None:
            return [np.empty(0)]
        return [np.empty(0, self.classes_.dtype), np.empty((0, len(self.classes_)))]
