"""The plugin of ``together_plugin``, whose learner fits one model at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from together_plugin import SPEC

from automl_fuse import hookimpl

if TYPE_CHECKING:
    from automl_fuse.specs import LearnerSpec


@hookimpl
def automl_fuse_learners() -> list[LearnerSpec]:
    return [replace(SPEC, together=None)]
