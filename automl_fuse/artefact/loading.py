"""Load a portable file: audit it, give it to onnxruntime, see that it predicts as it states."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from automl_fuse.artefact.audit import MOST_BYTES, audit
from automl_fuse.artefact.portable import PortablePipeline
from automl_fuse.errors import ArtefactError, SettingsError
from automl_fuse.runtime import open_session

FILE: Final = "model.onnx"
"""Name of the portable file in a run directory."""


def load(path: str | Path, threads: int | None = None) -> PortablePipeline:
    """Load a pipeline from its portable file.

    The file is data: nothing in it is executed but a graph of standard operators, and it is
    checked from its size to its operators before onnxruntime is given it. Then it must predict
    the rows that it carries as it states.

    Parameters
    ----------
    path : str or Path
        The file, or a run directory that holds ``model.onnx``.
    threads : int, optional
        Threads that one prediction may use; by default as many as there are processors. More than
        one are used from 2,000 rows on only.

    Returns
    -------
    PortablePipeline
        It predicts as the pipeline did when it was saved.

    Raises
    ------
    ArtefactError
        If the file is missing, damaged, newer, or not written by automl_fuse.
    MissingDependencyError
        If onnxruntime is not installed, or too old.
    """
    wrong = isinstance(threads, bool) or not isinstance(threads, int | None)
    if wrong or (threads is not None and threads < 1):
        raise SettingsError(f"threads={threads!r} is not a positive integer.")
    file = _file(Path(path))
    try:
        return open_bytes(_read(file), threads)
    except ArtefactError as error:
        raise ArtefactError(f"Cannot load {file}: {error}.") from error


def open_bytes(content: bytes, threads: int | None = None) -> PortablePipeline:
    """Open a portable file that is in memory; parameters and errors as for ``load``."""
    pipeline = PortablePipeline(audit(content).manifest, open_session(content), threads)
    pipeline.verify()
    return pipeline


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a portable file, or of the one in a run directory.

    Raises
    ------
    ArtefactError
        If there is none, or it cannot be read.
    """
    file = _file(Path(path))
    try:
        return _read(file)
    except ArtefactError as error:
        raise ArtefactError(f"Cannot load {file}: {error}.") from error


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / FILE).is_file():
        return path / FILE
    if (path / "pipeline.pkl").is_file() or (path / "pipeline" / "pipeline.pkl").is_file():
        raise ArtefactError(
            f"{path} holds a pipeline of format 1, which this version does not read: fit it again."
        )
    raise ArtefactError(
        f"{path} is a folder without {FILE}: name a portable file, or a finished run directory."
    )


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ArtefactError("it has more than 2 GB, and an ONNX file cannot")
        return file.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{error.strerror or error}") from error
