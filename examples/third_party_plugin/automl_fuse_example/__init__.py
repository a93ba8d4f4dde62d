"""A learner and a fusion for automl_fuse, from a distribution of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import FusionSpec, LearnerSpec


@hookimpl
def automl_fuse_learners() -> Sequence[LearnerSpec]:
    """Return the kernel machine."""
    from automl_fuse_example import kernel_map

    return [kernel_map.SPEC]


@hookimpl
def automl_fuse_fusions() -> Sequence[FusionSpec]:
    """Return the median."""
    from automl_fuse_example import median

    return [median.SPEC]
