"""Whether rows of a table were in another: digests of some rows, kept by the earlier run.

Members that start from an earlier pipeline, or learn from it, are scored on rows that it must not
have seen. Of each table the smallest digests of rows are kept, which are a random sample of them:
Broder (1997), "On the resemblance and containment of documents", section 4.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.assembly import content_of
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Column, Columns

    Hashes = NDArray[np.uint64]

KEPT_ROWS: Final = 2048
"""Rows whose digests are kept."""
LEAST_ROWS: Final = 10
"""Rows that must be comparable, at least, for a share to mean anything."""
_NONE: Final = np.uint64(0x9E3779B97F4A7C15)


def sketch(columns: Columns) -> dict[str, Any]:
    """Return what tells later whether rows were among these, as JSON values.

    Parameters
    ----------
    columns : Columns
        Typed training rows.
    """
    hashes, counts = np.unique(_row_hashes(columns), return_counts=True)
    return {
        "repeated": float(counts[counts > 1].sum() / max(1, columns.n_rows)),
        "is_whole": len(hashes) <= KEPT_ROWS,
        "smallest": [f"{value:016x}" for value in hashes[:KEPT_ROWS].tolist()],
    }


def known_share(known: Mapping[str, Any], columns: Columns) -> float | None:
    """Return which share of rows were among those of a sketch, beyond what chance would give.

    Chance makes a row equal to one of the earlier table about as often as that has equal rows.

    Parameters
    ----------
    known : mapping
        What ``sketch`` returned.
    columns : Columns
        Rows, typed by the schema of the earlier table.

    Returns
    -------
    float or None
        From 0 to 1; None if it cannot be told, as too few rows are comparable.
    """
    hashes = _row_hashes(columns)
    smallest = np.array([int(text, 16) for text in known["smallest"]], dtype=np.uint64)
    comparable = hashes if known["is_whole"] else hashes[hashes <= smallest.max()]
    if len(comparable) < LEAST_ROWS:
        return None
    found = float(np.isin(comparable, smallest).mean())
    return max(0.0, found - float(known["repeated"]))


def _row_hashes(columns: Columns) -> Hashes:
    """Return a digest of each row, (n_rows,), which the order of the columns does not change."""
    total = np.zeros(columns.n_rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in columns.columns:
            salt = _digest(column.name.encode())
            total += _mixed(_cell_hashes(column, columns.values[column.name]) ^ salt)
    return _mixed(total)


def _cell_hashes(column: Column, values: Array) -> Hashes:
    if column.kind is Kind.CATEGORY:
        known = _digests(category.encode() for category in column.categories)
        # Missing and unseen ones have negative codes: the last two places.
        return np.concatenate([known, [_NONE, _NONE]]).astype(np.uint64)[values]
    if values.dtype == object:
        return _digests(content_of(cell) for cell in values)
    if values.dtype.kind == "f":
        numbers = np.asarray(values, dtype=np.float64) + 0.0  # one zero
        return np.where(np.isnan(numbers), _NONE, numbers.view(np.uint64))
    return np.ascontiguousarray(values).view(np.uint64)


def _digests(contents: Iterable[bytes]) -> Hashes:
    return np.array([_digest(content) for content in contents], dtype=np.uint64)


def _digest(content: bytes) -> np.uint64:
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _mixed(values: Hashes) -> Hashes:
    """Return values whose bits depend on all bits: Steele et al. (2014), "SplitMix", figure 16."""
    mixed = values + _NONE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Hashes = mixed ^ (mixed >> np.uint64(31))
    return result
