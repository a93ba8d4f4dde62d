"""Students of networks: smaller networks of the same kinds, taught by the fused pipeline.

Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network". The width, the
depth and the penalty on the weights are searched with the share and the temperature of the
teacher's labels, each scored by cross-validation. Only proposed where the teacher has networks of
this plugin: for others there are faster students.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.students import student_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Params, Student, Suggest, Teacher

LEARNERS: Final = ("realmlp", "tabm", "ft_transformer")
_FIXED: Final[dict[str, dict[str, Any]]] = {
    # A teacher's labels are smooth: nothing needs to be smoothed or dropped.
    "realmlp": {"epochs": 128, "dropout": 0.0, "label_smoothing": 0.0, "learning_rate": 0.04},
    "tabm": {"epochs": 60, "dropout": 0.0, "averaging": 0.0, "learning_rate": 5e-3},
}


class Shrink:
    """Proposes one student.

    Parameters
    ----------
    point : mapping
        A point of the space.
    context : FusionContext
        The task: values have no temperature.
    """

    def __init__(self, point: Params, context: FusionContext) -> None:
        self._point, self._context = point, context

    def propose(self, teacher: Teacher) -> Sequence[Student]:
        """Return the student, or none where the teacher has no network, or it cannot be fitted."""
        point = self._point
        shares = zip(teacher.learners, teacher.shares.tolist(), strict=True)
        has_network = any(learner in LEARNERS and share > 0.0 for learner, share in shares)
        if not has_network or point["learner"] not in teacher.students:
            return ()
        return (student_of(point["learner"], _params(point), point, self._context),)


def _params(point: Params) -> dict[str, Any]:
    params = {
        **_FIXED[point["learner"]],
        **{name: point[name] for name in ("width", "depth", "weight_decay")},
    }
    return {**params, "heads": 8} if point["learner"] == "tabm" else params


def _build(params: Params, context: FusionContext) -> Compressor:
    return Shrink(params, context)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a small network, and how it is taught."""
    return {
        "learner": suggest.choice("learner", tuple(_FIXED)),
        "width": suggest.choice("width", (16, 32, 64, 128)),
        "depth": suggest.integer("depth", 1, 2),
        "weight_decay": suggest.real("weight_decay", 1e-3, 1.0, log=True),
        "alpha": suggest.real("alpha", 0.0, 1.0),
        "temperature": suggest.real("temperature", 1.0, 4.0),
        "copies": suggest.integer("copies", 0, 4),
    }


def _point(learner: str, width: int, depth: int) -> dict[str, Any]:
    return {
        "learner": learner,
        "width": width,
        "depth": depth,
        "weight_decay": 0.02,
        "alpha": 0.5,
        "temperature": 1.0,
        "copies": 2,
    }


SPEC = CompressorSpec(
    name="shrink_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=(
        Configuration(params=_point("realmlp", 64, 2), merit=0.80),
        Configuration(params=_point("realmlp", 32, 1), merit=0.74),
        Configuration(params=_point("tabm", 32, 1), merit=0.68),
    ),
    requires=("torch",),
    extra="torch",
)
