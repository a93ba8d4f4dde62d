"""Tasks, kinds of column, and the names of array types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Params: TypeAlias = Mapping[str, Any]
"""Hyperparameters by name: JSON values only, so that a run can be stored and resumed."""


class Task(StrEnum):
    """What is predicted: one of two classes, one of several, or a number."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def is_classification(self) -> bool:
        """Whether the target holds classes."""
        return self is not Task.REGRESSION


ALL_TASKS: frozenset[Task] = frozenset(Task)
CLASSIFICATION: frozenset[Task] = frozenset({Task.BINARY, Task.MULTICLASS})
REGRESSION: frozenset[Task] = frozenset({Task.REGRESSION})


class Kind(StrEnum):
    """What a column holds, which decides the encoders that read it."""

    NUMERIC = "numeric"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    SEQUENCE = "sequence"
    ID = "id"
    CONSTANT = "constant"

    @property
    def is_dropped(self) -> bool:
        """Whether no encoder is offered the column: it identifies rows or never varies."""
        return self in {Kind.ID, Kind.CONSTANT}
