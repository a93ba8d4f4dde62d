"""The run directory: its layout, its lock, and how files get into it whole."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from automl_fuse.errors import RunError
from automl_fuse.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from automl_fuse.pipeline import Pipeline

LOCK = "lock"
CONFIGURATION = "fuse.toml"
REPORT = "report.json"
ARTEFACT = "model.onnx"
PIPELINES = "pipelines.pkl"


class RunDirectory:
    """Paths of one run, and atomic writes into it.

    Parameters
    ----------
    root : Path
        The directory; it exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def runner(self) -> Path:
        """What the workers load: typed columns, folds and target."""
        return self.root / "runner.joblib"

    @property
    def study(self) -> Path:
        """Optuna's journal, with one study for each learner and one for the fusion."""
        return self.root / "study.journal"

    @property
    def configuration(self) -> Path:
        """The effective configuration, from which the run can be repeated."""
        return self.root / CONFIGURATION

    @property
    def log(self) -> Path:
        """What happened, one JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def report(self) -> Path:
        """The report, as JSON."""
        return self.root / REPORT

    @property
    def artefact(self) -> Path:
        """The portable file of the pipeline that was chosen."""
        return self.root / ARTEFACT

    @property
    def pipelines(self) -> Path:
        """All pipelines of the front, as Python objects."""
        return self.root / PIPELINES

    def fold_model(self, member: str, fold: int) -> Path:
        """Return where the fold model of a member is kept."""
        return self.root / "members" / f"{member}.fold-{fold}.pkl"

    def encoder(self, name: str, fold: int) -> Path:
        """Return where an encoder that was fitted in a fold is kept."""
        return self.root / "encoders" / f"{name}.fold-{fold}.pkl"

    def oof(self, member: str) -> Path:
        """Return where the OOF predictions of a member are kept."""
        return self.root / "oof" / f"{member}.npy"

    def teacher(self, name: str) -> Path:
        """Return where a teacher's out-of-fold predictions are kept."""
        return self.root / "teachers" / f"{name}.npy"

    def augmented(self, name: str) -> Path:
        """Return where augmented rows, labelled by a teacher, are kept."""
        return self.root / "augmented" / f"{name}.joblib"

    def discard(self, member: str) -> None:
        """Remove the fold models and OOF predictions of a member."""
        for path in (self.root / "members").glob(f"{member}.fold-*.pkl"):
            path.unlink(missing_ok=True)
        self.oof(member).unlink(missing_ok=True)

    def worker_log(self, number: int) -> Path:
        """Return where the output of a worker process goes."""
        return self.root / "workers" / f"{number}.log"


def write_bytes(path: Path, content: bytes) -> int:
    """Write a file whole or not at all, and return its size.

    Raises
    ------
    RunError
        If it cannot be written, naming the file and the reason.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror or error}.") from error
    return len(content)


def write_pickle(path: Path, thing: object) -> int:
    """Pickle into a file, whole or not at all, and return its size in bytes."""
    return write_bytes(path, pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL))


def write_array(path: Path, array: NDArray[Any]) -> int:
    """Write an array in NumPy's format, whole or not at all, and return its size in bytes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return write_bytes(path, stream.getvalue())


def read_pickle(path: Path) -> Any:
    """Read what ``write_pickle`` wrote in this run."""
    return pickle.loads(path.read_bytes())


def load_run(path: str | Path) -> Pipeline:
    """Return the pipeline of a finished run, with all that its front holds to ``pick`` from.

    The run directory holds pickled Python objects, which can run code when they are loaded:
    open only runs of your own. The portable file ``model.onnx`` beside them is safe to pass on.

    Parameters
    ----------
    path : str or Path
        The run directory.

    Raises
    ------
    RunError
        If it holds no finished run, or one that cannot be read here.
    """
    run = RunDirectory(Path(path))
    if not run.pipelines.is_file():
        raise RunError(f"{path} holds no finished run: it has no {PIPELINES}.")
    try:
        pipeline: Pipeline = read_pickle(run.pipelines)
    except (ImportError, AttributeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise RunError(
            f"{run.pipelines} cannot be read here: {error}. Use the versions that wrote it, or "
            f"its {ARTEFACT}."
        ) from error
    return pipeline


def write_json(path: Path, content: Mapping[str, Any]) -> int:
    """Write JSON, whole or not at all, and return its size in bytes."""
    return write_bytes(path, json.dumps(content, indent=1, allow_nan=True).encode())


@contextmanager
def open_run(output: str | None) -> Iterator[RunDirectory]:
    """Make and lock a run directory; a temporary one, removed at the end, if none is named.

    Raises
    ------
    RunError
        If the directory holds another run, is in use, or cannot be written.
    """
    with _telling_of_disks(output or tempfile.gettempdir()):
        if output is None:
            root = Path(tempfile.mkdtemp(prefix="automl_fuse-"))
            try:
                yield RunDirectory(root)
            finally:
                shutil.rmtree(root, ignore_errors=True)
        else:
            with _locked(Path(output)) as run:
                yield run


@contextmanager
def _telling_of_disks(place: str) -> Iterator[None]:
    """Turn what a full, read-only or broken disk does, wherever in the run, into our error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        named = "" if error.filename is None else f" ({error.filename})"
        raise RunError(
            f"The run in {place} cannot go on: {error.strerror}{named}. Make room there, or name "
            "another run directory."
        ) from error


@contextmanager
def _locked(root: Path) -> Iterator[RunDirectory]:
    _make(root)
    lock = FileLock(str(root / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"{root} is in use by another run: wait for it to end, or name another directory."
        ) from error
    try:
        if (root / REPORT).exists():
            raise RunError(f"{root} holds a finished run: name another directory, or remove it.")
        _clear_unfinished(root)
        yield RunDirectory(root)
    finally:
        lock.release()


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in root.iterdir() if p.name not in _OURS]
    except OSError as error:
        raise RunError(f"Cannot use {root} as run directory: {error.strerror or error}.") from error
    if foreign:
        raise RunError(
            f"{root} holds other files ({', '.join(sorted(foreign)[:3])}): name an empty or new "
            "directory."
        )
    if not os.access(root, os.W_OK):
        raise RunError(f"Cannot write into {root}: permission denied.")


_OF_DISKS = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE,
        errno.ENOSPC, errno.EPERM, errno.EROFS,
    }
)  # fmt: skip

_OURS = frozenset(
    {
        ARTEFACT, "augmented", CONFIGURATION, "encoders", LOCK, "log.jsonl", "members", "oof",
        PIPELINES, REPORT, "runner.joblib", "study.journal", "teachers", "workers",
    }
)  # fmt: skip


def _clear_unfinished(root: Path) -> None:
    """Remove what an interrupted run left behind."""
    for path in root.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
