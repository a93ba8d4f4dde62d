"""What a plugin returns, what its builders are given, and what they must build.

Specs are frozen, keyword-only dataclasses; the objects that their ``build`` functions return
are described by protocols, so a plugin inherits from nothing. Words are those of
``CONTRIBUTING.md``: learner, member, OOF, portfolio, space, fusion, compressor.
"""

from __future__ import annotations

from typing import TypeAlias

from automl_fuse.specs.fitting import (
    Cost,
    Deadline,
    Encoder,
    EncoderSpec,
    FitContext,
    Learner,
    LearnerSpec,
    Shape,
)
from automl_fuse.specs.fusing import (
    Candidate,
    Compressor,
    CompressorSpec,
    Fusion,
    FusionContext,
    FusionSpec,
    Loss,
    MetricSpec,
    Prediction,
    Teacher,
)
from automl_fuse.specs.running import (
    Event,
    Executor,
    ExecutorContext,
    ExecutorSpec,
    Job,
    JobResult,
    Observer,
    ObserverSpec,
    Runner,
)
from automl_fuse.specs.settings import (
    Settings,
)
from automl_fuse.specs.space import (
    Configuration,
    Space,
    Suggest,
    no_space,
)
from automl_fuse.specs.tables import (
    MISSING_CODE,
    UNSEEN_CODE,
    Column,
    Columns,
    Matrix,
    Rows,
)
from automl_fuse.specs.words import (
    ALL_TASKS,
    CLASSIFICATION,
    REGRESSION,
    Array,
    Floats,
    Kind,
    Params,
    Task,
)

API_VERSION = 1
"""Version of this contract. A spec made for a newer one is refused by name."""

Spec: TypeAlias = (
    LearnerSpec
    | EncoderSpec
    | MetricSpec
    | FusionSpec
    | CompressorSpec
    | ExecutorSpec
    | ObserverSpec
)

__all__ = [
    "ALL_TASKS",
    "API_VERSION",
    "CLASSIFICATION",
    "MISSING_CODE",
    "REGRESSION",
    "UNSEEN_CODE",
    "Array",
    "Candidate",
    "Column",
    "Columns",
    "Compressor",
    "CompressorSpec",
    "Configuration",
    "Cost",
    "Deadline",
    "Encoder",
    "EncoderSpec",
    "Event",
    "Executor",
    "ExecutorContext",
    "ExecutorSpec",
    "FitContext",
    "Floats",
    "Fusion",
    "FusionContext",
    "FusionSpec",
    "Job",
    "JobResult",
    "Kind",
    "Learner",
    "LearnerSpec",
    "Loss",
    "Matrix",
    "MetricSpec",
    "Observer",
    "ObserverSpec",
    "Params",
    "Prediction",
    "Rows",
    "Runner",
    "Settings",
    "Shape",
    "Space",
    "Spec",
    "Suggest",
    "Task",
    "Teacher",
    "no_space",
]
