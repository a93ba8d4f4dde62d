"""What a plugin registers."""

from __future__ import annotations

from typing import TypeAlias

from automl_fuse.specs.fitting import EncoderSpec, LearnerSpec
from automl_fuse.specs.fusing import CompressorSpec, FusionSpec, MetricSpec
from automl_fuse.specs.running import ExecutorSpec, ObserverSpec

Spec: TypeAlias = (
    LearnerSpec
    | EncoderSpec
    | MetricSpec
    | FusionSpec
    | CompressorSpec
    | ExecutorSpec
    | ObserverSpec
)
