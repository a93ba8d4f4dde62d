"""Folds of a run, fitted on machines that cannot reach its directory.

What a job reads goes out as bytes, what it writes comes back as bytes; in between, each worker
process has a folder of its own that stands for the run directory.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from automl_fuse.errors import RunError
from automl_fuse.lessons import teacher_name
from automl_fuse.run import LOCK, RunDirectory, write_bytes
from automl_fuse.specs import ALL_ROWS, Errand
from automl_fuse.trial import FoldRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from automl_fuse.specs import Job, JobResult
    from automl_fuse.trial import PluginChoice, TrialData

_PREFIX: Final = "automl_fuse-away-"
_MEMBERS, _ENCODERS = "members", "encoders"


class RemoteFolds:
    """A ``RemoteRunner`` of folds.

    Parameters
    ----------
    data : TrialData
        The training table and its folds.
    run : RunDirectory
        Where fold models and encoders are kept in the end.
    choice : PluginChoice
        Plugins to discover where a job runs.
    n_threads : int
        Threads that a learner may use.
    """

    def __init__(
        self, data: TrialData, run: RunDirectory, choice: PluginChoice, n_threads: int
    ) -> None:
        self._data = data
        self._run = run
        self._choice = choice
        self._n_threads = n_threads
        self._known: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        # What is known at home, and the folder of a process, mean nothing elsewhere.
        kept = ("_data", "_run", "_choice", "_n_threads")
        return {"_known": (), **{name: self.__dict__[name] for name in kept}}

    @cached_property
    def _here(self) -> _Away:
        run = RunDirectory(_own_folder())
        return _Away(run, FoldRunner(self._data, run, self._choice, self._n_threads))

    def errand(self, job: Job) -> Errand:
        """Return what to send for a job.

        A file that it reads and that is not there is left out: the job then fails, and says so.
        """
        root = self._run.root
        reads = [path for path in _files_read(job, self._run) if path.is_file()]
        return Errand(
            job=job,
            reads=tuple(path.relative_to(root).as_posix() for path in reads),
            known=self._known,
        )

    def content(self, name: str) -> bytes:
        """Return a file of ``Errand.reads``."""
        return (self._run.root / name).read_bytes()

    def prepare(self) -> None:
        """Import the libraries that jobs may need."""
        self._here.prepare()

    def run(
        self, errand: Errand, fetch: Callable[[str], bytes]
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        """Run a job here; return its result, and the files that it wrote."""
        return self._here(errand, fetch)

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write files that came back into the run directory.

        An encoder that several workers fitted is the same from each: the first is kept.

        Raises
        ------
        RunError
            If one cannot be written, or would not be a fold model or an encoder of this run.
        """
        for name, content in files.items():
            parts = PurePosixPath(name).parts
            if len(parts) != 2 or parts[0] not in (_MEMBERS, _ENCODERS):
                raise RunError(f"A worker sent {name!r}, which is no fold model and no encoder.")
            path = self._run.root / name
            if parts[0] == _MEMBERS or not path.exists():
                write_bytes(path, content)
            if parts[0] == _ENCODERS and name not in self._known:
                self._known = (*self._known, name)


class _Away:
    """Runs errands in a folder of this process."""

    def __init__(self, run: RunDirectory, runner: FoldRunner) -> None:
        self._run = run
        self._runner = runner

    def prepare(self) -> None:
        for _ in self._runner.imports():
            pass

    def __call__(
        self, errand: Errand, fetch: Callable[[str], bytes]
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        for name in errand.reads:
            path = self._run.root / name
            if not path.exists():
                write_bytes(path, fetch(name))
        result = self._runner(errand.job)
        files = dict(self._written(errand))
        # Encoders and teachers are read again by later jobs; models are not.
        shutil.rmtree(self._run.root / _MEMBERS, ignore_errors=True)
        return result, files

    def _written(self, errand: Errand) -> Iterator[tuple[str, bytes]]:
        root, job = self._run.root, errand.job
        encoders = sorted((root / _ENCODERS).glob("*.pkl"))
        for path in (self._run.fold_model(job.member, job.fold), *encoders):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in errand.known:
                yield name, path.read_bytes()


def _files_read(job: Job, run: RunDirectory) -> Iterator[Path]:
    """Yield the files that the runner of a job reads, and has not written itself."""
    if job.edit is not None:
        yield run.fold_model(job.source, job.fold)
    if job.student is not None:
        teacher = teacher_name(job.student.teacher)
        if job.fold == ALL_ROWS:
            yield run.teacher(teacher)
        if job.student.copies > 0:
            yield run.augmented(teacher)


_locks: list[FileLock] = []
"""Held as long as this process lives: its folders are in use."""


def _own_folder() -> Path:
    """Make a folder for this process, and remove those of processes that were killed.

    A killed process cannot clean up, but the system opens its lock.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(Timeout, OSError), FileLock(str(folder / LOCK), timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = FileLock(str(folder / LOCK))
        lock.acquire()
        # Another process may have come between the two lines before, and removed it.
        if (folder / LOCK).exists():
            _locks.append(lock)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            return folder
