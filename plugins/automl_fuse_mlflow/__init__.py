"""MLflow for automl_fuse: runs, members and the portable file in a tracking server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import ObserverSpec


@hookimpl
def automl_fuse_observers() -> Sequence[ObserverSpec]:
    """Return the observer; MLflow is imported when a run is to be logged."""
    from automl_fuse_mlflow import observer

    return (observer.SPEC,)
