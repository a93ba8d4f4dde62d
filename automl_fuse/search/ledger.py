"""The ledger of a search: what became of each member, so that a run can be resumed.

A line is written, and is on the disk, when the files that it speaks of are. What has no line has
not happened: its files are removed, and it is done again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import RunError
from automl_fuse.files import cannot_write, sync_folder
from automl_fuse.run import write_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from automl_fuse.budget import Stopwatch
    from automl_fuse.run import RunDirectory
    from automl_fuse.specs import Floats

__all__ = [
    "DROPPED",
    "FAILED",
    "FINISHED",
    "OPENED",
    "PARTIAL",
    "SEARCH_ENDED",
    "STOPPED",
    "Ledger",
    "Line",
    "elapsed",
    "read_ledger",
]

Line = dict[str, Any]
"""An event with its details, all JSON values."""

OPENED: Final = "opened"
FINISHED: Final = "finished"
STOPPED: Final = "stopped"
FAILED: Final = "failed"
PARTIAL: Final = "partial"
"""A member of which the search left some folds only, since it had none that was finished."""
DROPPED: Final = "dropped"
"""A finished member whose files were removed, to bound memory and disk."""
SEARCH_ENDED: Final = "search_ended"


class Ledger:
    """Writes down what becomes of members, with what the next attempt needs of them.

    Parameters
    ----------
    run : RunDirectory or None
        Where it lies; nothing is written where the run is not to be kept, or there is none.
    watch : Stopwatch
        Seconds that all attempts at the run have taken together.
    lines : sequence of Line
        What earlier attempts have written.
    """

    def __init__(
        self, run: RunDirectory | None, watch: Stopwatch, lines: Sequence[Line] = ()
    ) -> None:
        self._run = run
        self._is_kept = run is not None and run.is_kept
        self._snapshots = sum(line["event"] == DROPPED for line in lines)
        self.watch = watch
        self.lines = tuple(lines)

    def write(self, event: str, details: Mapping[str, Any]) -> None:
        """Add a line, and return when it is on the disk.

        Raises
        ------
        RunError
            If it cannot be written; the ledger is then as it was.
        """
        if self._run is None or not self._is_kept:
            return
        line = {"event": event, "seconds": round(self.watch.seconds(), 3), **details}
        content = (json.dumps(line, default=_as_json) + "\n").encode()
        path = self._run.ledger
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _append(descriptor, content)
            finally:
                os.close(descriptor)
            sync_folder(path.parent)
        except OSError as error:
            raise cannot_write(path, error) from error

    def keep(self, name: str, predictions: Floats) -> None:
        """Write predictions of shape (n_rows, n_outputs) under a name."""
        if self._run is not None and self._is_kept:
            write_array(self._run.oof(name), predictions)

    def kept(self, name: str) -> Floats:
        """Return predictions that were kept.

        Raises
        ------
        RunError
            If they cannot be read.
        """
        assert self._run is not None  # noqa: S101 - else there are no lines that speak of any
        path = self._run.oof(name)
        try:
            predictions: Floats = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RunError(
                f"{path} is missing or damaged ({error}): restore it, or begin anew in another "
                "directory."
            ) from error
        return predictions

    def snapshot(self, ensemble: Floats) -> str:
        """Keep the predictions of the ensemble in place of those before, and return their name."""
        self._snapshots += 1
        name = _snapshot(self._snapshots)
        self.keep(name, ensemble)
        return name

    def forget_snapshot(self) -> None:
        """Remove the predictions of the ensemble before the last."""
        self.discard(_snapshot(self._snapshots - 1))

    def discard(self, name: str) -> None:
        """Remove what a member has written, or predictions of this name."""
        if self._run is not None:
            self._run.discard(name)


def read_ledger(run: RunDirectory) -> list[Line]:
    """Return the lines of a ledger, none if there is none; one cut short at its end is cut off.

    Raises
    ------
    RunError
        If it cannot be read, or another line is damaged: the message gives its number.
    """
    path = run.ledger
    try:
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror or error}.") from error
    return [
        _line(text, f"Line {number} of {path}")
        for number, text in enumerate(content[:whole].splitlines(), 1)
    ]


def elapsed(lines: Iterable[Line]) -> float:
    """Return the seconds that a run had taken when it last wrote into its ledger.

    Nothing is written after the search, so that the stages which follow have their whole time.
    """
    return max((float(line["seconds"]) for line in lines), default=0.0)


def _line(text: bytes, place: str) -> Line:
    try:
        line: Line = json.loads(text)
        str(line["event"]), float(line["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{place} is damaged ({error}): restore the file, or begin anew in another directory."
        ) from error
    return line


def _append(descriptor: int, content: bytes) -> None:
    """Write all or nothing, and wait until it is on the disk."""
    before = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, content)
        while written < len(content):
            written += os.write(descriptor, content[written:])
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, before)
        raise


def _snapshot(number: int) -> str:
    return f"_ensemble-{number}"


def _as_json(value: Any) -> Any:
    """Return NumPy's numbers and arrays as JSON has them.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written into a ledger")
