"""The observer: hands events to a thread that writes them into MLflow."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

from automl_fuse.specs import ObserverSpec

if TYPE_CHECKING:
    from automl_fuse.specs import Event, Observer

URI_VARIABLE: Final = "MLFLOW_TRACKING_URI"
PATIENCE: Final = 30.0
"""Seconds that the end of a run waits, at most, until all is written."""

_log = logging.getLogger("automl_fuse")


class MlflowObserver:
    """Logs a run to MLflow, without keeping the run waiting for a server.

    Parameters
    ----------
    folder : str
        The run directory.
    server : str
        Address of the tracking server.
    parent : str or None
        MLflow run that this one is nested in.
    """

    def __init__(self, folder: str, server: str, parent: str | None = None) -> None:
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._failures: list[Exception] = []
        # The thread does not hold this object: when the run has dropped it, the thread ends.
        self._thread = Thread(
            target=_write, args=(self._events, self._failures, folder, server, parent), daemon=True
        )
        self._thread.start()
        self._end = weakref.finalize(self, _finish, self._events, self._thread)

    def notify(self, event: Event) -> None:
        """Queue an event.

        Raises
        ------
        Exception
            What the thread met: the run then goes on without this observer, and reports it.
        """
        self._raise_failure()
        self._events.put(event)
        if event.name == "run_finished":
            self._end()
            self._raise_failure()
            if self._thread.is_alive():
                _log.warning(
                    "MLflow has not taken everything within %g s; what is left is written in the "
                    "background.",
                    PATIENCE,
                )

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures[0]


class Unasked:
    """Stands in for the observer where nobody asked for MLflow."""

    def notify(self, event: Event) -> None:
        """Do nothing."""


def build(folder: str) -> Observer:
    """Return the observer of a run: one that does nothing unless MLflow was asked for.

    It is asked for by the environment variable ``MLFLOW_TRACKING_URI``, or by an MLflow run that
    is active in this process, of which this one then is a part.
    """
    mlflow = sys.modules.get("mlflow")
    active = None if mlflow is None else mlflow.active_run()
    if mlflow is not None and active is not None:
        return MlflowObserver(folder, mlflow.get_tracking_uri(), active.info.run_id)
    server = os.environ.get(URI_VARIABLE)
    return MlflowObserver(folder, server) if server else Unasked()


def _write(
    events: SimpleQueue[Event | None],
    failures: list[Exception],
    folder: str,
    server: str,
    parent: str | None,
) -> None:
    """Write events until None comes: the body of the thread."""
    try:
        from automl_fuse_mlflow.tracking import RunLog

        log = RunLog(folder, server, parent)
        while (event := events.get()) is not None:
            log.write(event)
        log.close()
    except Exception as error:  # noqa: BLE001 - raised again where the run hears of it
        failures.append(error)


def _finish(events: SimpleQueue[Event | None], thread: Thread) -> None:
    events.put(None)
    thread.join(PATIENCE)


SPEC: Final = ObserverSpec(
    name="mlflow", api_version=1, build=build, requires=("mlflow",), extra="mlflow"
)
