"""Where trials run: in this process, or in worker processes that can be killed.

A worker process is a fresh interpreter (``python -m automl_fuse.workers.serving``), not a fork, so
that thread pools of the user's process do not matter and the user's script needs no ``__main__``
guard. Jobs and results are pickles on the worker's pipes; the training data are a file that
all workers map into memory.
"""

from automl_fuse.workers.executors import (
    InlineExecutor,
    ProcessExecutor,
    has_begun,
    last_output,
    open_executor,
)
from automl_fuse.workers.noting import Noting

__all__ = [
    "InlineExecutor",
    "Noting",
    "ProcessExecutor",
    "has_begun",
    "last_output",
    "open_executor",
]
