"""What jobs that went well have to say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Executor, Job, JobResult

_log = logging.getLogger(__name__)


class Noting:
    """An executor that notes what its results say, and warns of it once.

    Parameters
    ----------
    executor : Executor
        Runs the jobs.
    notes : list of str
        Added to.
    """

    def __init__(self, executor: Executor, notes: list[str]) -> None:
        self._executor = executor
        self._notes = notes

    @property
    def idle(self) -> int:
        """Number of jobs that would start at once if submitted now."""
        return self._executor.idle

    def submit(self, job: Job) -> None:
        """Start a job, or queue it."""
        self._executor.submit(job)

    def collect(self, timeout: float) -> Sequence[JobResult]:
        """Wait up to ``timeout`` seconds for results, and return those that are there."""
        results = self._executor.collect(timeout)
        for note in (note for result in results for note in result.notes):
            if note not in self._notes:
                self._notes.append(note)
                _log.warning(note)
        return results

    def cancel(self, job: Job) -> None:
        """Stop a job at once; it gives no result."""
        self._executor.cancel(job)

    def close(self) -> None:
        """Stop everything and free all resources; may be called twice."""
        self._executor.close()

    def __getattr__(self, name: str) -> Any:
        # What only some executors can tell: see ``has_begun`` and ``last_output``.
        return getattr(self._executor, name)
