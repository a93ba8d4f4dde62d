"""Ray for automl_fuse: folds of a run as tasks of a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import ExecutorSpec


@hookimpl
def automl_fuse_executors() -> Sequence[ExecutorSpec]:
    """Return the executor; Ray is imported when it is built."""
    from automl_fuse_ray import executor

    return (executor.SPEC,)
