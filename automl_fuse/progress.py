"""How far a run is, from the log that it writes: for other processes than its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from automl_fuse.budget import seconds_since
from automl_fuse.errors import RunError
from automl_fuse.processes import is_alive
from automl_fuse.run import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Log", "Progress", "State"]

State = Literal["running", "finished", "interrupted", "failed", "died"]

_ENDS: Final = ("finished", "stopped", "failed")

ENDED: Final = ("finished", "interrupted", "failed", "died")


@dataclass(kw_only=True)
class Members:
    """How many members have come to what end."""

    finished: int = 0
    stopped: int = 0
    failed: int = 0
    running: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Progress:
    """What a run has told of itself so far.

    Attributes
    ----------
    state : {"running", "finished", "interrupted", "failed", "died"}
        An interrupted run has a pipeline like a finished one; a run has died if its process is
        gone and has told no end.
    alive : bool or None
        Whether its process lives; None if it runs on another machine.
    process : mapping
        Number of the process, and its host.
    started : str
        Date and time, ISO 8601.
    stage : str
        What it is at, or was at last: search, fuse, compress or save.
    elapsed, limit, remaining : float
        Seconds.
    task, metric : str
        What is learned, and by which metric members are compared.
    rows, columns : int
        Size of the training table.
    members : Members
        How many have finished, and so on.
    best, best_score, ensemble_score : str, float, float
        Best member and its score, and that of the ensemble of all.
    score : float or None
        Of the pipeline, once it is there: by the objective, on rows that did not train it.
    failure, error : str
        Last failure of a member; what ended the run, if it failed.
    """

    state: State = "running"
    alive: bool | None = None
    process: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    stage: str = ""
    elapsed: float = 0.0
    limit: float = 0.0
    remaining: float = 0.0
    task: str = ""
    metric: str = ""
    rows: int = 0
    columns: int = 0
    members: Members = field(default_factory=Members)
    best: str = ""
    best_score: float | None = None
    ensemble_score: float | None = None
    score: float | None = None
    failure: str = ""
    error: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


class Log:
    """The log of a run, read as it grows.

    Parameters
    ----------
    folder : str or Path
        The run directory.

    Raises
    ------
    RunError
        If it holds no log.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = RunDirectory(Path(folder)).log
        if not self._path.is_file():
            raise RunError(f"{folder} holds no run that has begun: it has no {self._path.name}.")
        self._read = 0
        self._offset = 0.0
        self._sign = 1.0
        self._now = Progress()

    def progress(self) -> Progress:
        """Read what has been added, and return how far the run is.

        Raises
        ------
        RunError
            If the log holds an event without what belongs to it.
        """
        self._hear_new()
        if not self._now.has_ended and self._now.process:
            self._now.alive = is_alive(self._now.process)
            # What it wrote before it was found dead may be its end.
            self._hear_new()
        now = self._now
        if now.has_ended:
            now.alive = False if now.alive is None else now.alive
        elif now.alive is False:
            now.state = "died"
        elif now.started:
            now.elapsed = self._offset + max(0.0, seconds_since(now.started))
            now.remaining = max(0.0, now.limit - now.elapsed)
        return now

    def _hear_new(self) -> None:
        for line in self._new_lines():
            try:
                self._hear(line)
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(
                    f"{self._path} has an event that cannot be read, {line.get('event')!r}: "
                    f"{error!r}."
                ) from error

    def _new_lines(self) -> list[Mapping[str, Any]]:
        """Return the lines written since; one that is only half there is left for later."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._read)
                content = stream.read()
        except OSError as error:
            raise RunError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        whole = content.rfind(b"\n") + 1
        self._read += whole
        lines: list[Mapping[str, Any]] = []
        for text in content[:whole].splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue  # cut short by a crash, before the run was taken up again
            if isinstance(line, dict):
                lines.append(line)
        return lines

    def _hear(self, line: Mapping[str, Any]) -> None:
        """Take note of an event; unknown ones, of later versions, change nothing but the time."""
        self._now.elapsed = float(line.get("seconds", self._now.elapsed))
        hear = getattr(self, f"_on_{line.get('event')}", None)
        if hear is not None:
            hear(line)

    def _on_run_started(self, line: Mapping[str, Any]) -> None:
        before, self._now = (
            self._now,
            Progress(
                process=line.get("process", {}),
                started=line["started"],
                limit=line["time_limit"],
                elapsed=line["seconds"],
                task=line["task"],
                metric=line["metric"],
                rows=line["rows"],
                columns=line["columns"],
            ),
        )
        if "resumed" in line:
            ends = line["resumed"]
            self._now.members = Members(**{end: ends[end] for end in _ENDS})
            self._now.best, self._now.best_score = before.best, before.best_score
            self._now.ensemble_score = before.ensemble_score
        self._offset = line["seconds"]
        self._sign = -1.0 if line["greater_is_better"] else 1.0

    def _on_stage_started(self, line: Mapping[str, Any]) -> None:
        self._now.stage = line["stage"]

    def _on_trial_started(self, line: Mapping[str, Any]) -> None:
        self._now.members.running.append(line["member"])

    def _on_trial_finished(self, line: Mapping[str, Any]) -> None:
        now, loss = self._now, line["loss"]
        now.members.finished += 1
        self._no_more(line)
        if isfinite(loss) and (now.best_score is None or loss < self._sign * now.best_score):
            now.best, now.best_score = line["member"], self._sign * loss
        now.ensemble_score = self._sign * line["ensemble_loss"]

    def _on_trial_stopped(self, line: Mapping[str, Any]) -> None:
        self._now.members.stopped += 1
        self._no_more(line)

    def _on_trial_failed(self, line: Mapping[str, Any]) -> None:
        self._now.members.failed += 1
        self._now.failure = f"{line['member']}: {line['error']}"
        self._no_more(line)

    def _no_more(self, line: Mapping[str, Any]) -> None:
        if line["member"] in self._now.members.running:
            self._now.members.running.remove(line["member"])

    def _on_fused(self, line: Mapping[str, Any]) -> None:
        self._now.ensemble_score = self._sign * line["loss"]
        # What was open when the search ended was given up.
        self._now.members.running.clear()

    def _on_run_finished(self, line: Mapping[str, Any]) -> None:
        self._now.state = "interrupted" if line.get("interrupted") else "finished"
        self._now.score = line["score"]

    def _on_run_failed(self, line: Mapping[str, Any]) -> None:
        self._now.state = "failed"
        self._now.error = line["error"]
