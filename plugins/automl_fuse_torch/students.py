"""Students that are networks, as a point of a compressor's space describes them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from automl_fuse.specs import Student

if TYPE_CHECKING:
    from automl_fuse.specs import FusionContext, Params


def name_of(learner: str, params: Params, point: Params) -> str:
    """Return a name that tells a network's learner and size, and points of one size apart."""
    digest = hashlib.sha256(json.dumps(dict(point), sort_keys=True).encode()).hexdigest()[:4]
    return f"{learner}_{params['depth']}x{params['width']}_{digest}"


def temperature_of(point: Params, context: FusionContext) -> float:
    """Return the temperature of a teacher's labels: values have none."""
    return float(point["temperature"]) if context.task.is_classification else 1.0


def student_of(learner: str, params: Params, point: Params, context: FusionContext) -> Student:
    """Return a student of these params, taught as the point says."""
    return Student(
        name=name_of(learner, params, point),
        learner=learner,
        params=params,
        alpha=point["alpha"],
        temperature=temperature_of(point, context),
        copies=float(point["copies"]),
    )
