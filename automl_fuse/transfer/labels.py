"""What an earlier pipeline says of the rows of this run, and of rows made from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.augmentation import augment
from automl_fuse.budget import Stopwatch
from automl_fuse.errors import AutoFuseError
from automl_fuse.folds import seed_of
from automl_fuse.lessons import EARLIER_TEACHER, Augmented, write_augmented
from automl_fuse.run import write_array
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array, Column, Columns, Floats
    from automl_fuse.table import Dataset, Table
    from automl_fuse.transfer.sources import Source
    from automl_fuse.trial import TrialData

TEACHING_SHARE: Final = 0.05
"""Share of the time limit that the teacher's labels may take, and as much those of more rows."""
TIMED_ROWS: Final = 100
"""Rows whose labels tell how long all will take."""
MAX_COPIES: Final = 5
"""Rows made from each row, at most."""
MAX_LABELS: Final = 20_000_000
"""Labels of made rows, over all folds and outputs, at most: they are held in memory."""


class CannotTeach(Exception):  # noqa: N818 - always caught, and told as a note
    """The earlier pipeline has nothing to say of this table."""


def places_of(source: Source, dataset: Dataset) -> tuple[int, ...]:
    """Return where each class of this run is among those of the earlier one; -1 for nowhere.

    In regression, and where one of the two is: 0 for the same target.
    """
    if source.classes is None or dataset.classes is None:
        is_same = source.classes is None and dataset.classes is None
        return (0 if is_same and source.target == dataset.target else -1,)
    known = {label: place for place, label in enumerate(source.classes.tolist())}
    return tuple(known.get(label, -1) for label in dataset.classes.tolist())


def write_labels(
    source: Source, dataset: Dataset, data: TrialData, run: RunDirectory, seconds: float
) -> int:
    """Write the earlier pipeline's labels of all rows, and of rows made from them.

    Parameters
    ----------
    source : Source
        The earlier run.
    dataset, data : Dataset, TrialData
        This run's rows.
    run : RunDirectory
        Where they are written.
    seconds : float
        Time limit of the run.

    Returns
    -------
    int
        How many rows were made from each.

    Raises
    ------
    CannotTeach
        If there are no labels: the message says why.
    """
    places = places_of(source, dataset)
    if source.target != dataset.target or min(places) < 0:
        raise CannotTeach("it predicts another target, or other classes")
    try:
        known = _known(source, dataset.table)
    except AutoFuseError as error:
        raise CannotTeach(str(error)) from error
    some = known.take(np.arange(min(TIMED_ROWS, known.n_rows)))
    try:
        # The first rows wait for the learners' libraries to be imported.
        _said(source, some.take(np.arange(1)), places)
        watch = Stopwatch()
        _said(source, some, places)
        affordable = TEACHING_SHARE * seconds * some.n_rows / max(watch.seconds(), 1e-9)
        if affordable < known.n_rows:
            raise CannotTeach("its labels would take too much of the time limit")
        write_array(run.teacher(EARLIER_TEACHER), _said(source, known, places))
    except AutoFuseError as error:
        raise CannotTeach(str(error)) from error
    width = (len(data.folds) + 1) * len(places)
    most = min(affordable, MAX_LABELS / width) / known.n_rows
    copies = min(MAX_COPIES, int(most))
    return _write_copies(source, dataset, data, run, copies) if copies else 0


def _write_copies(
    source: Source, dataset: Dataset, data: TrialData, run: RunDirectory, copies: int
) -> int:
    """Write labelled copies of each row; return how many there are of each."""
    columns, origin = augment(data.columns, copies, seed_of(data.seed, "earlier"))
    try:
        said = _said(source, _known(source, _as_read(columns, origin, dataset.table)),
                     places_of(source, dataset))  # fmt: skip
    except AutoFuseError:
        # A column of another kind than it had, whose new values the earlier run cannot read.
        return 0
    # It has seen no row of any fold: one label for all of them.
    labels = np.repeat(said[None], len(data.folds) + 1, axis=0)
    rows = Augmented(columns=columns, source=origin, labels=labels)
    write_augmented(run, EARLIER_TEACHER, rows)
    return copies


def _known(source: Source, table: Table) -> Columns:
    """Return rows as the earlier run reads them."""
    return source.pipeline.schema.convert(table)


def _said(source: Source, columns: Columns, places: tuple[int, ...]) -> Floats:
    """Return what it predicts, for the classes of this run."""
    predictions = source.pipeline.predict_typed(columns)[1]
    if source.classes is None:
        return predictions
    chosen = np.maximum(predictions[:, list(places)], 1e-12)
    result: Floats = chosen / chosen.sum(axis=1, keepdims=True)
    return result


def _as_read(columns: Columns, origin: Array, table: Table) -> Table:
    """Return typed rows as a table was read; columns that are not typed are those of the origin."""
    kinds = {column.name: column for column in columns.columns}
    values: dict[str, Any] = {
        name: _untyped(kinds[name], columns.values[name]) if name in kinds else column[origin]
        for name, column in table.columns.items()
    }
    return replace(table, columns=values, n_rows=columns.n_rows)


def _untyped(column: Column, values: Array) -> Array:
    if column.kind is not Kind.CATEGORY:
        return values
    # Missing and unseen ones have negative codes: the last two places.
    texts: Array = np.array([*column.categories, None, None], dtype=object)[values]
    return texts
