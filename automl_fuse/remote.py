"""Folds of a run, fitted on machines that cannot reach its directory.

What a job reads goes out as bytes, what it writes comes back as bytes; in between, each worker
process has a folder of its own that stands for the run directory.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import pickle
import shutil
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from automl_fuse.earlier import earlier_model_path
from automl_fuse.errors import RunError
from automl_fuse.hyperparameters import COPIES, EARLIER, TAUGHT
from automl_fuse.lessons import EARLIER_TEACHER, teacher_name
from automl_fuse.run import LOCK, RunDirectory, write_bytes
from automl_fuse.specs import ALL_ROWS, Errand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from automl_fuse.members import FittedEncoder, FoldModel
    from automl_fuse.specs import Cluster, Job, JobResult
    from automl_fuse.trial import FoldRunner

MOST_KNOWN: Final = 64
"""Encoders of a fold, at most, that an errand names as known: it must not grow with the run. Of
others the content comes back once more, and is not written again."""
_PREFIX: Final = "automl_fuse-away-"
_MEMBERS, _ENCODERS, _AUGMENTED, _EARLIER = "members", "encoders", "augmented", "earlier"


class RemoteFolds:
    """A ``RemoteRunner`` of folds.

    Parameters
    ----------
    runner : FoldRunner
        Runs jobs where the run directory is; elsewhere, one like it does.
    """

    def __init__(self, runner: FoldRunner) -> None:
        self._runner = runner
        self._run = runner.run
        self._known: dict[int, tuple[str, ...]] = {}
        self._versions: dict[str, list[str]] = {}
        self._used: dict[str, tuple[str, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What is known at home, and the folder of a process, mean nothing elsewhere.
        return {**RemoteFolds(self._runner).__dict__}

    @cached_property
    def _here(self) -> _Away:
        run = RunDirectory(_own_folder())
        return _Away(run, self._runner.at(run))

    def errand(self, job: Job) -> Errand:
        """Return what to send for a job.

        A file that it reads and that is not there is left out: the job then fails, and says so.
        """
        root = self._run.root
        paths = [path for each in job.each for path in _files_read(each, self._run)]
        reads = [path for path in dict.fromkeys(paths) if path.is_file()]
        sources = () if job.edit is None else (job.source, *job.others)
        models = [self._run.fold_model(name, job.fold).name for name in sources]
        folds = dict.fromkeys(each.fold for each in job.each)
        return Errand(
            job=job,
            reads=tuple(path.relative_to(root).as_posix() for path in reads),
            known=tuple(name for fold in folds for name in self._known.get(fold, ())),
            expects=tuple(dict.fromkeys(file for m in models for file in self._used.get(m, ()))),
            spread_rows=self._runner.spread_rows(job),
        )

    def content(self, name: str) -> bytes:
        """Return a file of ``Errand.reads``."""
        path = self._run.root / name
        return bytes(self._run.seals.read(path)) if _is_sealed(name) else path.read_bytes()

    def prepare(self) -> None:
        """Import the libraries that jobs may need."""
        self._here.prepare()

    def run(
        self, errand: Errand, fetch: Callable[[str], bytes], cluster: Cluster | None = None
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        """Run a job here; return its result, and the files that it wrote."""
        return self._here(errand, fetch, cluster)

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write files that came back into the run directory.

        Encoders that workers fitted at the same time may differ, for some choose by the clock. The
        first is kept under its own name. Others get names of their own, and the models that were
        fitted with them say so.

        Raises
        ------
        RunError
            If one cannot be written, or would not be a fold model or an encoder of this run.
        """
        models, encoders = _sorted(files)
        renamed = {}
        for name, (file, digest, content) in encoders.items():
            versions = self._versions.setdefault(file, [])
            key, dot, rest = file.partition(".fold-")
            own_key = key if digest in versions[:1] or not versions else _version(key, digest)
            if digest not in versions:
                path = self._run.root / _ENCODERS / f"{own_key}{dot}{rest}"
                self._run.seals.write(path, content)
                versions.append(digest)
                fold = int(rest.partition(".")[0])
                self._known[fold] = (*self._known.get(fold, ()), name)[-MOST_KNOWN:]
            if own_key != key:
                renamed[file] = own_key
        for name, content in models.items():
            _, dot, rest = PurePosixPath(name).name.rpartition(".fold-")
            used = {
                each: file for each, (file, *_) in encoders.items() if file.endswith(dot + rest)
            }
            self._used[PurePosixPath(name).name] = tuple(used)
            if renamed.keys().isdisjoint(used.values()):
                self._run.seals.write(self._run.root / name, content)
            else:
                model: FoldModel = pickle.loads(content)
                keys = tuple(renamed.get(key + dot + rest, key) for key in model.encoders)
                self._run.seals.dump(self._run.root / name, replace(model, encoders=keys))


def _sorted(
    files: Mapping[str, bytes],
) -> tuple[dict[str, bytes], dict[str, tuple[str, str, bytes]]]:
    """Return models by name; and encoders by name, as file name, digest and content."""
    models, encoders = {}, {}
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        is_inside = ".." not in parts
        if is_inside and len(parts) == 2 and parts[0] == _MEMBERS:
            models[name] = content
        elif is_inside and len(parts) == 3 and parts[0] == _ENCODERS:
            encoders[name] = parts[2], parts[1], content
        else:
            raise RunError(f"A worker sent {name!r}, which is no fold model and no encoder.")
    return models, encoders


def _is_sealed(name: str) -> bool:
    """Return whether a file of the run is a pickle: the keys of two folders seal it differently."""
    return PurePosixPath(name).parts[0] in {_MEMBERS, _ENCODERS, _AUGMENTED, _EARLIER}


def _version(key: str, digest: str) -> str:
    """Return the key of an encoder that differs from the first; what follows ``@`` stays last."""
    name, at, sample = key.partition("@")
    return f"{name}~{digest[:8]}{at}{sample}"


def _as_fitted_here(content: bytes) -> bytes:
    """Return a pickled model that names encoders as the worker does that fitted it."""
    model: FoldModel = pickle.loads(content)
    parts = [key.partition("@") for key in model.encoders]
    keys = tuple(name.partition("~")[0] + at + sample for name, at, sample in parts)
    if keys == model.encoders:
        return content
    return pickle.dumps(replace(model, encoders=keys), protocol=pickle.HIGHEST_PROTOCOL)


class _Away:
    """Runs errands in a folder of this process."""

    def __init__(self, run: RunDirectory, runner: FoldRunner) -> None:
        self._run = run
        self._runner = runner

    def prepare(self) -> None:
        for _ in self._runner.imports():
            pass

    def __call__(
        self, errand: Errand, fetch: Callable[[str], bytes], cluster: Cluster | None
    ) -> tuple[JobResult, Mapping[str, bytes]]:
        for name in errand.reads:
            path = self._run.root / name
            if not path.exists():
                self._keep(path, name, fetch(name))
        result = self._runner(errand.job, cluster)
        done = [each.job for each in result.each if not each.error]
        files = {name: file for job in done for name, file in self._written(job, errand.known)}
        missing = set(errand.expects) - files.keys()
        if missing and not result.error:
            made = sorted({PurePosixPath(name).name for name in missing})
            error = (
                f"The model to edit was fitted with encoders that are not those of this process "
                f"({', '.join(made)}): they choose by the clock."
            )
            result, files = replace(result, predictions=None, error=error), {}
        # Encoders and teachers are read again by later jobs; models are not.
        shutil.rmtree(self._run.root / _MEMBERS, ignore_errors=True)
        return result, files

    def _keep(self, path: Path, name: str, content: bytes) -> None:
        """Write a file of the run into the folder of this process."""
        if PurePosixPath(name).parts[0] == _MEMBERS:
            content = _as_fitted_here(content)
        if _is_sealed(name):
            self._run.seals.write(path, content)
        else:
            write_bytes(path, content)

    def _written(self, job: Job, known: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """Yield the model of a job, and the encoders that it reads: empty if known at home."""
        path = self._run.fold_model(job.member, job.fold)
        content = bytes(self._run.seals.read(path))
        yield path.relative_to(self._run.root).as_posix(), content
        model: FoldModel = pickle.loads(content)
        for key in model.encoders:
            path = self._run.encoder(key, job.fold)
            encoder = bytes(self._run.seals.read(path))
            name = f"{_ENCODERS}/{_digest(encoder)}/{path.name}"
            yield name, b"" if name in known else encoder


def _digest(content: bytes) -> str:
    """Return what tells one fitted encoder from another: the sets beside it have no order."""
    fitted: FittedEncoder = pickle.loads(content)
    return hashlib.sha256(fitted.encoder.__getstate__()).hexdigest()


def _files_read(job: Job, run: RunDirectory) -> Iterator[Path]:
    """Yield the files that the runner of a job reads, and has not written itself."""
    if job.edit is not None:
        for name in (job.source, *job.others):
            yield run.fold_model(name, job.fold)
    if job.student is not None:
        teacher = teacher_name(job.student.teacher)
        if job.fold == ALL_ROWS:
            yield run.teacher(teacher)
        if job.student.copies > 0:
            yield run.augmented(teacher)
    if TAUGHT in job.params:
        yield run.teacher(EARLIER_TEACHER)
        if job.params.get(COPIES):
            yield run.augmented(EARLIER_TEACHER)
    if EARLIER in job.params:
        yield earlier_model_path(run, job)


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
