"""A small run that is killed in the middle of a write, or after it: at the moment of a number."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import automl_fuse
from automl_fuse import Settings, files
from automl_fuse.search import ledger, times

# A busy machine may take longer to start a worker than a fold is given.
PATIENCE = {"OVERRUN": (1.25, 200.0), "START": (0.5, 200.0, 200.0)}

STORAGE = "DYING_RUN_STORAGE"
"""Variable that names the database of the studies."""

FEW = 3
"""Members of a run with compressors."""


def fit(table: Path, run: Path, *, resume: bool, accept: bool = False, **others: Any) -> Any:
    """Begin the run, or go on with it; with the same settings it ends with the same pipeline."""
    chosen: dict[str, Any] = {
        "learners": ("linear", "naive_bayes"),
        "folds": 3,
        "max_trials": 9,
        "executor": "inline",
        "compressors": (),
    }
    return automl_fuse.fit(
        str(table),
        target="diagnosis",
        time_limit=600,
        # Which of the front is chosen by default depends on measured latency.
        prefer="quality",
        settings=Settings(**{**chosen, "output": str(run), **others}),
        resume=run if resume else None,
        accept_changes=accept,
    )


class Moments:
    """Counts the moments at which this process could be killed, and kills it at one of them."""

    def __init__(self, chosen: int) -> None:
        self._chosen = chosen
        self.passed = 0
        self._stream_whole, self._append = files.stream_whole, ledger._append
        files.stream_whole, ledger._append = self.stream_whole, self.append

    def stream_whole(self, path: Path, write: Any, **how: Any) -> None:
        def written(stream: Any) -> None:
            write(stream)
            stream.flush()
            self.passes()

        self._stream_whole(path, written, **how)
        self.passes()

    def append(self, descriptor: int, content: bytes) -> None:
        if self.passed + 1 == self._chosen:
            os.write(descriptor, content[: len(content) // 2])
        self.passes()
        self._append(descriptor, content)
        self.passes()

    def passes(self) -> None:
        self.passed += 1
        if self.passed == self._chosen:
            os.kill(os.getpid(), signal.SIGKILL)


def main(table: str, run: str, moment: str, executor: str, *compressors: str) -> None:
    """Fit, and be killed at a moment; 0 for never, to be told how many there are."""
    vars(times).update(PATIENCE)
    moments, folder = Moments(int(moment)), Path(run)
    has_begun = (folder / "fuse.toml").is_file()
    chosen: dict[str, Any] = {"executor": executor, "workers": 1}
    if compressors:
        # So few that all mixtures of them are tried, and no latency decides which.
        chosen.update(compressors=compressors, max_trials=FEW)
    if STORAGE in os.environ:
        chosen["storage"] = os.environ[STORAGE]
    fit(Path(table), folder, resume=has_begun, **chosen)
    print(moments.passed)


if __name__ == "__main__":
    main(*sys.argv[1:])
