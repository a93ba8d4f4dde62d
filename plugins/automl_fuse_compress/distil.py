"""Distillation: small learners fitted to what the fusion says.

Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network" (soft labels and
their temperature); Bucila, Caruana and Niculescu-Mizil (2006), "Model compression" (rows made
up for the teacher to label); Fakoor et al. (2020), "Fast, accurate, and simple models for
tabular data via augmented distillation" (both, on tables, from an ensemble).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration, Student
from automl_fuse_compress.students import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Params, Suggest, Teacher

LARGE: Final = 250_000.0
"""Bytes from which a student is large: only for teachers that are no more than twice that."""
USUAL_ALPHA: Final = 0.3
"""Share of the teacher's out-of-fold labels in those of training rows, which only a student of all
rows hears and no fold can score. Told nothing else, students were better than fold models on telco
(noisy labels) and worse on phoneme and california, by up to 3 %."""
_ANYWAY: Final = "hist_gradient_boosting"
_INSTEAD_OF: Final = "lightgbm"


class Distil:
    """Proposes one student, if its learner is there.

    Parameters
    ----------
    params : mapping
        A point of `space`.
    context : FusionContext
        Task and objective.
    """

    def __init__(self, params: Params, context: FusionContext) -> None:
        self._point = dict(params)
        self._context = context

    def propose(self, teacher: Teacher) -> Sequence[Student]:
        """Return the student, or none.

        None is proposed if its learner cannot be fitted here, or if both it and the teacher are
        large: distilling into more bytes pays for small teachers only.
        ``hist_gradient_boosting`` stands in where there is no ``lightgbm``.

        Parameters
        ----------
        teacher : Teacher
            The fused pipeline.
        """
        kind = KINDS[self._point["student"]]
        if kind.learner not in teacher.students:
            return ()
        if kind.learner == _ANYWAY and _INSTEAD_OF in teacher.students:
            return ()
        params = kind.params_of(self._point)
        label = f"{kind.learner}_{kind.size_of(params)}"
        used = teacher.shares > 0
        if kind.bytes_of(params) >= LARGE and teacher.bytes[used].sum() > 2 * LARGE:
            return ()
        soft = self._context.task.is_classification
        copies = float(self._point["copies"])
        return (
            Student(
                name=f"{label}_{_digest(self._point)}",
                learner=kind.learner,
                params=params,
                teacher=self._teachers(teacher),
                alpha=self._point["alpha"],
                temperature=self._point["temperature"] if soft else 1.0,
                hard=self._point["hard"] and soft,
                # Slopes are matched between a row and its copy.
                copies=max(copies, 1.0) if params.get("matching") else copies,
            ),
        )

    def _teachers(self, teacher: Teacher) -> tuple[int, ...]:
        """Return nobody in particular, which is the fusion, or the best single member."""
        known = np.flatnonzero(np.isfinite(teacher.oof).all(axis=(0, 2)))
        if self._point["teacher"] == "fusion" or not len(known):
            return ()
        weight = None if teacher.weight is None else teacher.weight[known]
        losses = [
            self._context.loss(teacher.y[known], member[known], weight) for member in teacher.oof
        ]
        return (int(np.argmin(losses)),)


def _digest(point: Params) -> str:
    """Return four characters that tell points with the same label apart."""
    return hashlib.sha256(json.dumps(point, sort_keys=True).encode()).hexdigest()[:4]


def _build(params: Params, context: FusionContext) -> Compressor:
    return Distil(params, context)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a learner, its hyperparameters, and how it is taught."""
    learner = suggest.choice("student", tuple(KINDS))
    return {
        "student": learner,
        **KINDS[learner].draw(suggest),
        "alpha": suggest.real("alpha", 0.0, 0.5),
        "temperature": suggest.real("temperature", 1.0, 4.0),
        "hard": suggest.choice("hard", (False, True)),
        "copies": suggest.integer("copies", 0, 4),
        "teacher": suggest.choice("teacher", ("fusion", "best")),
    }


# --------------------------------------------------------------------------- portfolio


def _taught(student: str, size: dict[str, Any], **lesson: Any) -> dict[str, Any]:
    """Return a point: hyperparameters of the student by their short names, and its lesson."""
    usual = {
        "alpha": USUAL_ALPHA,
        "temperature": 1.0,
        "hard": False,
        "copies": 1,
        "teacher": "fusion",
    }
    prefixed = {f"{student}_{name}": value for name, value in size.items()}
    return {"student": student, **prefixed, **usual, **lesson}


def _trees(trees: int, leaves: int, rate: float, rows: int = 10) -> dict[str, Any]:
    return {
        "trees": trees,
        "num_leaves": leaves,
        "learning_rate": rate,
        "min_data_in_leaf": rows,
        "categories": "native",
    }


def _layers(depth: int, width: int, rate: float, matching: float = 0.0) -> dict[str, Any]:
    return {
        "depth": depth,
        "width": width,
        "learning_rate": rate,
        "weight_decay": 0.01,
        "matching": matching,
    }


def _histograms(leaves: int, rate: float) -> dict[str, Any]:
    return {"max_leaf_nodes": leaves, "learning_rate": rate}


def _leaves(leaves: int, rows: int) -> dict[str, Any]:
    return {"max_leaf_nodes": leaves, "min_samples_leaf": rows}


_POINTS = (
    # The first go without augmented rows, which the engine labels while these are fitted.
    (0.98, _taught("lightgbm", _trees(150, 15, 0.15), copies=0)),
    (0.96, _taught("lightgbm", _trees(50, 8, 0.3), copies=0)),
    (0.94, _taught("linear", {"penalty": 0.3}, copies=0)),
    (0.92, _taught("lightgbm", _trees(150, 15, 0.15))),
    (0.90, _taught("mlp", _layers(1, 64, 5e-3))),
    (0.88, _taught("hist_gradient_boosting", _histograms(15, 0.2))),
    (0.86, _taught("lightgbm", _trees(200, 31, 0.1), copies=3)),
    (0.84, _taught("mlp", _layers(2, 64, 3e-3), copies=3)),
    (0.82, _taught("lightgbm", _trees(300, 63, 0.06), copies=2)),
    (0.80, _taught("mlp", _layers(2, 256, 2e-3), copies=2)),
    (0.78, _taught("decision_tree", _leaves(32, 5))),
    (0.76, _taught("lightgbm", _trees(100, 15, 0.2), alpha=0.5, temperature=2.0)),
    (0.74, _taught("mlp", _layers(1, 32, 5e-3), alpha=0.0)),
    (0.70, _taught("lightgbm", _trees(20, 6, 0.5))),
    (0.66, _taught("mlp", _layers(2, 64, 3e-3, 0.3), copies=1)),
    (0.60, _taught("hist_gradient_boosting", _histograms(6, 0.3))),
    (0.55, _taught("decision_tree", _leaves(64, 3), copies=3)),
    (0.50, _taught("lightgbm", _trees(100, 15, 0.2), hard=True)),
    (0.45, _taught("lightgbm", _trees(1000, 31, 0.03), copies=2)),
    (0.40, _taught("lightgbm", _trees(150, 15, 0.15), teacher="best")),
    (0.35, _taught("svm_linear", {"C": 0.3}, hard=True)),
)

SPEC = CompressorSpec(
    name="distil",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(Configuration(params=params, merit=merit) for merit, params in _POINTS),
)
