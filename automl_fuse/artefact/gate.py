"""The parity gate: no file leaves that predicts otherwise than the Python pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import ExportError
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Columns, Kind, Sound

if TYPE_CHECKING:
    from automl_fuse.artefact.portable import PortablePipeline
    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import Array, Column, Floats

AWKWARD_SHARE: Final = 0.3
"""Share of the cells of a row that are made awkward in a second copy of the sample."""
ALONE: Final = 16
"""Rows that are predicted alone as well as in a batch."""

_NUMBERS: Final = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 2.0**53)
_DATES: Final = ("NaT", "1970-01-01", "1969-12-31T23:59:59.999999", "1900-02-28", "2100-03-01")
_TEXTS: Final = (None, "", " ", "a", "Ünïcode ☃", "0123456789 " * 50)


def check(pipeline: Pipeline, portable: PortablePipeline) -> None:
    """Compare a file with the pipeline that it was written from.

    Compared are training rows, the same with awkward values in some cells (missing, infinite,
    huge, rounded to single precision, on a grid, unseen categories, odd dates and texts), and
    rows alone with the same rows in a batch.

    Parameters
    ----------
    pipeline : Pipeline
        Its sample is used.
    portable : PortablePipeline
        What the file was loaded as.

    Raises
    ------
    ExportError
        If any prediction is farther off than the file's tolerance, or any label differs.
    """
    rows = awkward_rows(pipeline.sample)
    rows = rows.take(np.flatnonzero(pipeline.predictable(rows)))
    truth = pipeline.predict_typed(rows)
    tolerance = portable.manifest.tolerance
    _compare(rows, (truth, portable.predict_typed(rows)), tolerance, "")
    few = np.linspace(0, rows.n_rows - 1, min(ALONE, rows.n_rows)).astype(int)
    for row in few.tolist():
        one = rows.take(np.array([row]))
        alone = truth[0][row : row + 1], truth[1][row : row + 1]
        _compare(one, (alone, portable.predict_typed(one)), tolerance, " alone")


def _compare(
    rows: Columns,
    pairs: tuple[tuple[Array, Floats], tuple[Array, Floats]],
    tolerance: float,
    how: str,
) -> None:
    """Compare labels, then the numbers behind them, of the pipeline and of the file."""
    truth, given = pairs
    if truth[1].shape[1] > 1:
        wrong = np.flatnonzero(truth[0] != given[0])
        if len(wrong):
            row = int(wrong[0])
            raise ExportError(
                f"the file says {given[0][row]!r} for a row{how} that the pipeline takes for "
                f"{truth[0][row]!r}: {_described(rows, row)}"
            )
    numbers = truth[1]
    distance = np.abs(given[1] - numbers) / np.maximum(1.0, np.abs(numbers))
    if not np.all(distance <= tolerance):
        row = int(np.argmax(np.nan_to_num(distance, nan=np.inf).max(axis=1)))
        raise ExportError(
            f"the file predicts {given[1][row].tolist()} for a row{how} for which the pipeline "
            f"predicts {numbers[row].tolist()}: {_described(rows, row)}"
        )


def _described(rows: Columns, row: int) -> str:
    cells = [f"{column.name}={_shown(rows.values[column.name][row])}" for column in rows.columns]
    return ", ".join(cells[:20])


def _shown(cell: Any) -> str:
    if isinstance(cell, Sound):
        return f"a sound of {len(cell.samples)} samples"
    return f"an array of shape {cell.shape}" if isinstance(cell, np.ndarray) else repr(cell)


def awkward_rows(sample: Columns) -> Columns:
    """Return the sample, and three copies with awkward values in about a third of the cells."""
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for column in sample.columns:
        plain = sample.values[column.name]
        copies = [plain]
        for copy in range(3):
            changed = plain.copy()
            cells = np.flatnonzero(rng.random(len(plain)) < AWKWARD_SHARE)
            changed[cells] = _awkward(column, plain[cells], copy, rng)
            copies.append(changed)
        values[column.name] = np.concatenate(copies)
    return Columns(columns=sample.columns, values=values, n_rows=4 * sample.n_rows)


def _awkward(column: Column, plain: Array, copy: int, rng: np.random.Generator) -> Array:
    """Return values to put in the place of others; the first copy changes numbers a little."""
    n = len(plain)
    if column.kind is Kind.NUMERIC:
        return _awkward_numbers(plain, copy, rng)
    if column.kind is Kind.BOOLEAN:
        return rng.choice(np.array([0.0, 1.0, np.nan]), n)
    if column.kind is Kind.CATEGORY:
        codes = [MISSING_CODE, UNSEEN_CODE, *range(min(5, len(column.categories)))]
        return rng.choice(np.array(codes, dtype=plain.dtype), n)
    if column.kind is Kind.DATETIME:
        return rng.choice(np.array(_DATES, dtype="datetime64[us]"), n)
    if column.kind is Kind.TEXT:
        return rng.choice(np.array(_TEXTS, dtype=object), n)
    if column.kind in {Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE}:
        return np.fromiter((_least(cell, rng) for cell in plain), dtype=object, count=n)
    return plain


def _awkward_numbers(plain: Floats, copy: int, rng: np.random.Generator) -> Floats:
    if copy == 0:
        with np.errstate(over="ignore"):
            return plain.astype(np.float32).astype(np.float64)
    if copy == 1:
        return np.round(plain * 2) / 2
    return rng.choice(np.array(_NUMBERS), len(plain))


def _least(cell: Any, rng: np.random.Generator) -> Any:
    """Return no cell, or as little of one as there can be."""
    if cell is None or rng.random() < 0.5:
        return None
    if isinstance(cell, Sound):
        return Sound(cell.rate, cell.samples[: rng.integers(2)])
    if cell.ndim == 2:
        return rng.choice([1.0, np.nan]) * cell[: rng.integers(3)]
    return cell[:1, : rng.integers(1, 3)]
