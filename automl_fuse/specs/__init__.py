"""What a plugin returns, what its builders are given, and what they must build.

Specs are frozen, keyword-only dataclasses; the objects that their ``build`` functions return
are described by protocols, so a plugin inherits from nothing. Words are those of
``CONTRIBUTING.md``: learner, member, OOF, portfolio, space, fusion, compressor.
"""

# Predicting needs a few of them. The others, which take longer to import than the rest of what
# a saved pipeline needs, are imported when one is first asked for.

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.specs.exporting import (
    ExportableEncoder,
    ExportableFusion,
    ExportableLearner,
    Graph,
    Tensor,
)
from automl_fuse.specs.forests import Forest, ForestModel, Link, Split, link_to_onnx, linked
from automl_fuse.specs.tables import (
    MISSING_CODE,
    UNSEEN_CODE,
    Block,
    Column,
    Columns,
    Matrix,
    Rows,
    Sound,
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

if TYPE_CHECKING:
    from automl_fuse.specs.clusters import Cluster, Crew
    from automl_fuse.specs.fitting import (
        CellSize,
        Cost,
        Deadline,
        Earlier,
        Encoder,
        EncoderSpec,
        FineTuning,
        Fit,
        FitContext,
        FitTogether,
        Learner,
        LearnerSpec,
        Shape,
    )
    from automl_fuse.specs.fusing import (
        Compressor,
        CompressorSpec,
        Edit,
        Fusion,
        FusionContext,
        FusionSpec,
        Joint,
        Loss,
        MetricSpec,
        Part,
        Prediction,
        Proposal,
        Refit,
        Selection,
        Student,
        Teacher,
    )
    from automl_fuse.specs.networks import Layer, NetworkModel
    from automl_fuse.specs.registering import Spec
    from automl_fuse.specs.running import (
        ALL_ROWS,
        Errand,
        Event,
        Executor,
        ExecutorContext,
        ExecutorSpec,
        Job,
        JobResult,
        Observer,
        ObserverSpec,
        RemoteRunner,
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

API_VERSION = 1
"""Version of this contract. A spec made for a newer one is refused by name."""

_LATE: Final = (
    "clusters", "fitting", "fusing", "networks", "registering", "running", "settings", "space",
)  # fmt: skip
"""Modules whose names are imported when one is first asked for."""

__all__ = [
    "ALL_ROWS",
    "ALL_TASKS",
    "API_VERSION",
    "CLASSIFICATION",
    "MISSING_CODE",
    "REGRESSION",
    "UNSEEN_CODE",
    "Array",
    "Block",
    "CellSize",
    "Cluster",
    "Column",
    "Columns",
    "Compressor",
    "CompressorSpec",
    "Configuration",
    "Cost",
    "Crew",
    "Deadline",
    "Earlier",
    "Edit",
    "Encoder",
    "EncoderSpec",
    "Errand",
    "Event",
    "Executor",
    "ExecutorContext",
    "ExecutorSpec",
    "ExportableEncoder",
    "ExportableFusion",
    "ExportableLearner",
    "FineTuning",
    "Fit",
    "FitContext",
    "FitTogether",
    "Floats",
    "Forest",
    "ForestModel",
    "Fusion",
    "FusionContext",
    "FusionSpec",
    "Graph",
    "Job",
    "JobResult",
    "Joint",
    "Kind",
    "Layer",
    "Learner",
    "LearnerSpec",
    "Link",
    "Loss",
    "Matrix",
    "MetricSpec",
    "NetworkModel",
    "Observer",
    "ObserverSpec",
    "Params",
    "Part",
    "Prediction",
    "Proposal",
    "Refit",
    "RemoteRunner",
    "Rows",
    "Runner",
    "Selection",
    "Settings",
    "Shape",
    "Sound",
    "Space",
    "Spec",
    "Split",
    "Student",
    "Suggest",
    "Task",
    "Teacher",
    "Tensor",
    "link_to_onnx",
    "linked",
    "no_space",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for late in _LATE:
        module = importlib.import_module(f"{__name__}.{late}")
        globals().update(
            {known: value for known, value in vars(module).items() if known in __all__}
        )
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
