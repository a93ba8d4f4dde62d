"""The list of what a plugin can be.

A plugin is a module, named in the entry-point group ``automl_fuse``, that implements any of
these hooks. Each hook takes nothing and returns a sequence of specs (``automl_fuse.specs``);
the module must be cheap to import, so heavy libraries belong inside the builders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import (
        CompressorSpec,
        EncoderSpec,
        ExecutorSpec,
        FusionSpec,
        LearnerSpec,
        MetricSpec,
        ObserverSpec,
    )

PROJECT = "automl_fuse"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def automl_fuse_learners() -> Sequence[LearnerSpec]:  # type: ignore[empty-body]
    """Return kinds of base model."""


@hookspec
def automl_fuse_encoders() -> Sequence[EncoderSpec]:  # type: ignore[empty-body]
    """Return ways to turn columns into features."""


@hookspec
def automl_fuse_metrics() -> Sequence[MetricSpec]:  # type: ignore[empty-body]
    """Return measures of quality."""


@hookspec
def automl_fuse_fusions() -> Sequence[FusionSpec]:  # type: ignore[empty-body]
    """Return rules that combine members."""


@hookspec
def automl_fuse_compressors() -> Sequence[CompressorSpec]:  # type: ignore[empty-body]
    """Return ways to make a pipeline smaller or faster."""


@hookspec
def automl_fuse_executors() -> Sequence[ExecutorSpec]:  # type: ignore[empty-body]
    """Return places where trials can run."""


@hookspec
def automl_fuse_observers() -> Sequence[ObserverSpec]:  # type: ignore[empty-body]
    """Return listeners to what happens in a run."""
