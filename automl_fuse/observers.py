"""Tell listeners what happens in a run: the progress line, the log, and those of plugins."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from automl_fuse.processes import identity
from automl_fuse.specs import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from automl_fuse.budget import Stopwatch
    from automl_fuse.specs import Observer, ObserverSpec

_log = logging.getLogger("automl_fuse")


class Observers:
    """Passes events on; an observer that raises is silenced, and the reason kept.

    Parameters
    ----------
    observers : sequence of Observer
        Who is told.
    watch : Stopwatch
        Started with the run.

    Attributes
    ----------
    failures : list of str
        Why observers were silenced.
    """

    def __init__(self, observers: Sequence[Observer], watch: Stopwatch) -> None:
        self._observers = list(observers)
        self._watch = watch
        self.failures: list[str] = []

    def add(self, spec: ObserverSpec, run: str) -> None:
        """Build the observer of a plugin and tell it of what comes."""
        try:
            self._observers.append(spec.build(run))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            self._silence(f"observer {spec.name!r} could not be built: {error!r}")

    def __call__(self, name: str, details: Mapping[str, Any]) -> None:
        """Tell everyone of an event."""
        event = Event(name=name, seconds=round(self._watch.seconds(), 3), details=details)
        for observer in list(self._observers):
            try:
                observer.notify(event)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
                self._observers.remove(observer)
                self._silence(f"observer {type(observer).__name__} raised {error!r}")

    @contextmanager
    def failing_aloud(self) -> Iterator[None]:
        """Tell everyone of an exception that ends the run, and let it pass."""
        try:
            yield
        except BaseException as error:
            self("run_failed", {"error": str(error) or repr(error), "kind": type(error).__name__})
            raise

    def _silence(self, reason: str) -> None:
        self.failures.append(reason)
        _log.warning("%s; it is told nothing more.", reason)


class JsonLog:
    """Appends every event to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def notify(self, event: Event) -> None:
        """Write an event; the first also says which process writes."""
        line = {"event": event.name, "seconds": event.seconds, **event.details}
        if event.name == "run_started":
            line["process"] = identity()
        content = (json.dumps(line, default=str) + "\n").encode()
        with self._path.open("ab+") as stream:
            if event.name == "run_started" and _is_cut_short(stream):
                content = b"\n" + content
            stream.write(content)


def _is_cut_short(stream: BinaryIO) -> bool:
    """Return whether a process was killed while it wrote the last line of a log."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 1))
    return stream.read(1) not in {b"", b"\n"}


class ProgressLine:
    """One line on the terminal, rewritten: time, best member, ensemble, what runs now.

    Parameters
    ----------
    stream : text stream
        Where it is written.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._limit = 0.0
        self._metric = ""
        self._sign = 1.0
        self._best: float | None = None
        self._ensemble: float | None = None
        self._members = 0
        self._current = ""

    def notify(self, event: Event) -> None:
        """Redraw the line."""
        details = event.details
        if event.name == "run_started":
            self._limit = details["time_limit"]
            self._metric = details["metric"]
            self._sign = -1.0 if details["greater_is_better"] else 1.0
        elif event.name == "trial_started":
            self._current = details["member"]
        elif event.name == "trial_finished":
            self._members += 1
            loss = details["loss"]
            self._best = loss if self._best is None else min(self._best, loss)
            self._ensemble = details["ensemble_loss"]
        elif event.name == "fused":
            self._ensemble = details["loss"]
            self._current = f"fused by {details['fusion']}"
        self._draw(event.seconds)
        if event.name in {"run_finished", "run_failed"}:
            self._stream.write("\n")
        self._stream.flush()

    def _draw(self, seconds: float) -> None:
        parts = [f"{seconds:5.1f}/{self._limit:g} s", f"{self._members} members"]
        if self._best is not None and self._ensemble is not None:
            parts.append(f"{self._metric}: best {self._sign * self._best:.5g}")
            parts.append(f"ensemble {self._sign * self._ensemble:.5g}")
        parts.append(self._current)
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + "  ".join(parts)[:width].ljust(width))


def is_terminal() -> bool:
    """Return whether the progress line would be seen by a person."""
    return sys.stderr is not None and sys.stderr.isatty()
