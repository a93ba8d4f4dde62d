"""The run directory: its layout, its lock, and how files get into it whole."""

from __future__ import annotations

import contextlib
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

from automl_fuse.budget import now
from automl_fuse.errors import RunError
from automl_fuse.files import cannot_write, remove_leftovers, write_whole
from automl_fuse.processes import identity
from automl_fuse.seals import KEY, Seals
from automl_fuse.specs import ALL_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from automl_fuse.pipeline import Pipeline

LOCK = "lock"
CONFIGURATION = "fuse.toml"
REPORT = "report.json"
ARTEFACT = "model.onnx"
PIPELINES = "pipelines.pkl"
IDENTITY = "run.json"
LEDGER = "ledger.jsonl"
HOLDER = "holder.json"


class RunDirectory:
    """Paths of one run, and atomic writes into it.

    Parameters
    ----------
    root : Path
        The directory; it exists.
    is_kept : bool
        Whether it is to outlast the run: what is written must then survive a loss of power.
    disk_bytes : int or None
        What it may hold, about; no limit if None.
    """

    def __init__(self, root: Path, *, is_kept: bool = False, disk_bytes: int | None = None) -> None:
        self.root = root
        self.is_kept = is_kept
        self.disk_bytes = disk_bytes
        self.seals = Seals(root, durable=is_kept)

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
    def identity(self) -> Path:
        """What the run was begun with, and what another must have that goes on with it."""
        return self.root / IDENTITY

    @property
    def ledger(self) -> Path:
        """What became of each member, one JSON object a line: see ``search.ledger``."""
        return self.root / LEDGER

    @property
    def holder(self) -> Path:
        """Which process has locked the directory."""
        return self.root / HOLDER

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

    def earlier(self, member: str, fold: int) -> Path:
        """Return where the model of an earlier run is kept from which one of a fold starts."""
        return self.root / "earlier" / f"{member}.fold-{fold}.pkl"

    def augmented(self, name: str) -> Path:
        """Return where augmented rows, labelled by a teacher, are kept."""
        return self.root / "augmented" / f"{name}.joblib"

    def discard(self, member: str) -> None:
        """Remove the fold models and OOF predictions of a member."""
        for path in (self.root / "members").glob(f"{member}.fold-*.pkl"):
            path.unlink(missing_ok=True)
        self.oof(member).unlink(missing_ok=True)

    def clear_attempt(self, members: Mapping[str, Iterable[int]], others: Iterable[str]) -> None:
        """Remove what an attempt left that is of no use to the next.

        Parameters
        ----------
        members : mapping of str to iterable of int
            Members that are kept, with the folds whose models are; nothing else of members is, nor
            what was made after the search.
        others : iterable of str
            Names of predictions that are kept beside theirs.
        """
        models = {self.fold_model(name, fold) for name, folds in members.items() for fold in folds}
        predictions = {self.oof(name) for name in (*members, *others)}
        found = {
            *(self.root / "members").glob("*"),
            *(self.root / "oof").glob("*"),
            *(self.root / "encoders").glob(f"*.fold-{ALL_ROWS}.pkl"),
            *self.root.glob(f"{self.study.name}*"),
        }
        for path in found - models - predictions:
            path.unlink(missing_ok=True)
        for folder in ("teachers", "augmented", "encoders/features", "encoders/columns"):
            shutil.rmtree(self.root / folder, ignore_errors=True)

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
        raise cannot_write(path, error) from error
    return len(content)


def write_array(path: Path, array: NDArray[Any]) -> int:
    """Write an array in NumPy's format, whole or not at all, and return its size in bytes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return write_bytes(path, stream.getvalue())


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
        pipeline: Pipeline = run.seals.load(run.pipelines)
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
def open_run(
    output: str | None, *, resume: bool = False, disk_bytes: int | None = None
) -> Iterator[RunDirectory]:
    """Make and lock a run directory; a temporary one, removed at the end, if none is named.

    Parameters
    ----------
    output : str or None
        The directory.
    resume : bool
        Whether to go on with the run that it holds; else it must be empty or new, or hold one that
        was cut short before a member had finished, which is removed.
    disk_bytes : int or None
        What it may hold, about.

    Raises
    ------
    RunError
        If the directory holds another run, is in use, or cannot be written.
    """
    with _telling_of_disks(output or tempfile.gettempdir()):
        if output is None:
            root = Path(tempfile.mkdtemp(prefix="automl_fuse-"))
            try:
                yield RunDirectory(root, disk_bytes=disk_bytes)
            finally:
                shutil.rmtree(root, ignore_errors=True)
        else:
            run = RunDirectory(Path(output), is_kept=True, disk_bytes=disk_bytes)
            with _prepared(run, resume=resume):
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
def _prepared(run: RunDirectory, *, resume: bool) -> Iterator[None]:
    """Make a run directory and hold it, without what earlier attempts have left half written."""
    _make(run.root)
    with _held(run):
        if not resume:
            _clear_unfinished(run)
        try:
            remove_leftovers(run.root)
            run.seals.ensure_key()
            yield
        finally:
            remove_leftovers(run.root)


@contextmanager
def _held(run: RunDirectory) -> Iterator[None]:
    """Lock a run directory, and say in it who holds it; the system opens a dead process's lock."""
    lock = FileLock(str(run.root / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"{run.root} is in use by another run{_holder(run)}: wait for it to end, or name "
            "another directory."
        ) from error
    except OSError as error:
        raise cannot_write(run.root / LOCK, error) from error
    try:
        # Not in the lock itself, which is emptied by whoever tries to take it.
        write_json(run.holder, {**identity(), "since": now()})
        yield
    finally:
        run.holder.unlink(missing_ok=True)
        lock.release()


def _holder(run: RunDirectory) -> str:
    """Return which process holds a run directory, as far as that can be read."""
    try:
        holder = json.loads(run.holder.read_text(encoding="utf-8"))
        return f", process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in root.iterdir() if not _is_ours(p.name)]
    except OSError as error:
        raise RunError(f"Cannot use {root} as run directory: {error.strerror or error}.") from error
    if foreign:
        raise RunError(
            f"{root} holds other files ({', '.join(sorted(foreign)[:3])}): name an empty or new "
            "directory."
        )
    if not os.access(root, os.W_OK):
        raise RunError(f"Cannot write into {root}: permission denied.")
    # Not where another user owns it, who has let us in.
    with contextlib.suppress(PermissionError):
        root.chmod(0o700)


_OF_DISKS = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE,
        errno.ENOSPC, errno.EPERM, errno.EROFS,
    }
)  # fmt: skip

_OURS = frozenset(
    {
        ARTEFACT, "augmented", CONFIGURATION, "earlier", "encoders", HOLDER, IDENTITY, KEY, LEDGER,
        LOCK, "log.jsonl", "members", "oof", PIPELINES, REPORT, "runner.joblib", "study.journal",
        "teachers", "workers",
    }
)  # fmt: skip


def _is_ours(name: str) -> bool:
    """Return whether a run has such a file; one with a dot was being written when it was killed."""
    return name in _OURS or name.startswith(tuple(f".{ours}." for ours in _OURS))


def _clear_unfinished(run: RunDirectory) -> None:
    """Remove what a run left behind that was cut short before it had a finished member.

    Raises
    ------
    RunError
        If it had one, or has finished.
    """
    if run.report.exists():
        raise RunError(
            f"{run.root} holds a finished run: name another directory, or remove it; "
            f"'automl-fuse resume {run.root} --time-limit …' gives it more time."
        )
    if run.identity.exists() and any((run.root / "oof").glob("*.npy")):
        raise RunError(
            f"{run.root} holds a run that was cut short, with members that had finished: go on "
            f"with it by 'automl-fuse resume {run.root}' or fit(…, resume={str(run.root)!r}), or "
            "remove it."
        )
    for path in run.root.iterdir():
        if path.name in {LOCK, HOLDER}:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
