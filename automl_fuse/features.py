"""Features in files: written once in a run, and read by all its workers through the same pages.

A file is mapped, not read: the system holds each page once, however many workers look at it,
and takes it back when memory is short.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import joblib
import numpy as np
from filelock import FileLock

from automl_fuse.errors import DiskFullError
from automl_fuse.members import merge_features
from automl_fuse.specs import Columns, Matrix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Array

FILES_BYTES: Final = 2 << 30
"""Features that a run keeps in files: the folder of temporary files may lie in memory."""
CHUNK_ROWS: Final = 1 << 16
"""Rows that are copied out of mapped features before their pages are given back."""


class FeatureFiles:
    """Features of the rows of each fold, in the run directory.

    Parameters
    ----------
    run : RunDirectory
        Features lie beside the encoders that made them.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run

    def read(self, fold: int, key: str) -> tuple[Matrix, Matrix] | None:
        """Return the mapped features of training and validation rows; None if not yet there."""
        path = self._path(fold, key)
        try:
            self._run.seals.check(path)
            train, valid = joblib.load(path, mmap_mode="r")
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # removed in the meantime
            os.utime(path)
        return train, valid

    def write(self, fold: int, key: str, features: tuple[Matrix, Matrix]) -> tuple[Matrix, Matrix]:
        """Write features whole or not at all, and return them mapped.

        Where all files are too large together, those not read for longest are removed, and all
        others where the disk is full; whoever has mapped one keeps its pages.

        Raises
        ------
        RunError
            If they cannot be written, naming the file and the reason.
        """
        path = self._path(fold, key)
        write = partial(self._run.seals.stream, path, partial(joblib.dump, features))
        try:
            write()
        except DiskFullError:
            _make_room(path, 0)
            write()
        # Another worker that needs much room may have removed the file again.
        mapped = self.read(fold, key) or features
        _make_room(path, _most_bytes(self._run))
        return mapped

    def lock(self, fold: int, key: str) -> FileLock:
        """Return a lock, so that features that several workers need at once are made by one.

        It falls open when the worker that holds it dies.
        """
        path = self._path(fold, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{path}.lock")

    def _path(self, fold: int, key: str) -> Path:
        return _folder(self._run) / f"{key}.fold-{fold}.joblib"


class StoredColumn:
    """A column of objects in a file, which is read when rows of it are asked for.

    Objects cannot be mapped, so that every worker would hold all texts or images of the table
    as long as it lives, to read them once.

    Parameters
    ----------
    run : RunDirectory
        Where it lies.
    path : Path
        The file.
    values : array of shape (n_rows,)
        What it is to hold.
    """

    def __init__(self, run: RunDirectory, path: Path, values: Array) -> None:
        self._seals = run.seals
        self._path = path
        self._n_rows = len(values)
        run.seals.dump(path, values)

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, rows: NDArray[np.intp]) -> Array:
        values: Array = self._seals.load(self._path)
        return values[rows]


def with_stored_objects(columns: Columns, run: RunDirectory) -> Columns:
    """Return columns of which those that hold objects lie in files: for workers, not for users."""
    values: dict[str, Any] = dict(columns.values)
    for position, (name, column) in enumerate(columns.values.items()):
        if column.dtype == object:
            values[name] = StoredColumn(run, _columns(run) / f"{position}.pkl", column)
    return replace(columns, values=values)


def forget_features(run: RunDirectory) -> None:
    """Remove the features of a run, and stored columns: nothing needs them after its last fit."""
    for folder in (_folder(run), _columns(run)):
        shutil.rmtree(folder, ignore_errors=True)


def _folder(run: RunDirectory) -> Path:
    return run.encoder("any", 0).parent / "features"


def _columns(run: RunDirectory) -> Path:
    return run.encoder("any", 0).parent / "columns"


def _most_bytes(run: RunDirectory) -> int:
    """Return what features may take of a run directory."""
    return FILES_BYTES if run.disk_bytes is None else min(FILES_BYTES, run.disk_bytes // 4)


def _make_room(newest: Path, most: int) -> None:
    found = []
    for path in newest.parent.glob("*.joblib"):
        # Another worker may be making room too.
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        if path != newest:
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def beside(parts: Sequence[tuple[str, Matrix]], n_rows: int) -> Matrix:
    """Put the features of several encoders side by side, with unique names.

    Parameters
    ----------
    parts : sequence of (str, Matrix)
        Encoder, and its features of the same ``n_rows`` rows.
    n_rows : int
        Number of rows.

    Returns
    -------
    Matrix
        In memory of its own, but for the features of a single encoder. Pages of mapped features
        are given back as they are copied, so that both are never there in full.
    """
    if len(parts) == 1:
        whole = merge_features(parts, n_rows)
        return replace(whole, values=np.asarray(whole.values))
    described = merge_features([(n, replace(p, values=p.values[:0])) for n, p in parts], 0)
    values = np.empty((n_rows, len(described.names)))
    for start in range(0, n_rows, CHUNK_ROWS):
        left = 0
        for _, part in parts:
            right = left + len(part.names)
            values[start : start + CHUNK_ROWS, left:right] = part.values[start : start + CHUNK_ROWS]
            give_back(part.values)
            left = right
    return replace(described, values=values)


def taken(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """Return these rows of typed columns, giving back the pages of each mapped column."""
    values = {}
    for name, column in columns.values.items():
        values[name] = column[rows]
        give_back(column)
    return Columns(columns=columns.columns, values=values, n_rows=len(rows))


def give_back(array: Array) -> None:
    """Let the system have the pages of a mapped array; they are read again when they are asked for.

    Does nothing to an array in memory, or where the system has no such call.
    """
    mapped = getattr(array, "_mmap", None) if isinstance(array, np.memmap) else None
    if mapped is not None and array.size and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
