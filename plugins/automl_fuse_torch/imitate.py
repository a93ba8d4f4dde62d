"""Networks of another architecture in place of fold models: each is taught by the one it replaces.

A student and its teacher read the same rows, changed in the same way (Beyer et al. 2022,
"Knowledge distillation: a good teacher is patient and consistent", section 3): what the teacher
says of a fold's training rows it says live, and it has seen none of the validation rows. So all of
how it is taught can be chosen by cross-validation: the share and the temperature of its labels, the
penalty on the weights, whether hidden features are matched, and slopes. See ``imitating``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration, Edit
from automl_fuse_torch.light import PUPILS, SIZES, sizes
from automl_fuse_torch.media import light_params
from automl_fuse_torch.ranked import networks_by_share
from automl_fuse_torch.students import name_of, temperature_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest, Teacher

_MOST_RANK: Final = 3
_MOST_SECONDS: Final = 120.0
"""Of one training, about."""
_TRAININGS: Final = 12
"""Time for one training is this part of what is left: there are folds, and other proposals."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a network is taught by another: the edit.

    Attributes
    ----------
    learner : str
        Name of the student's learner, which reads the same columns as the teacher's.
    params : mapping
        Its configuration; of its epochs, as many are trained as ``seconds`` allow.
    alpha : float
        Share of the teacher's labels in the loss, in [0, 1].
    temperature : float
        By which the scores of both are divided before they are compared; 1 for values.
    hint : float
        Weight of the difference of hidden features.
    slope : float
        Weight of the difference of the slopes by the inputs.
    seconds : float
        What one training may take, about.
    """

    learner: str
    params: Params
    alpha: float = 0.5
    temperature: float = 1.0
    hint: float = 0.0
    slope: float = 0.0
    seconds: float = _MOST_SECONDS

    def __call__(self, learner: Learner, train: Rows) -> Learner:
        """Return the student of a fitted learner.

        Raises
        ------
        PluginError
            If the learner is no network with branches of this plugin.
        """
        imitated = getattr(learner, "imitated", None)
        if imitated is None:
            raise PluginError(f"{type(learner).__name__} is no network of automl_fuse_torch")
        result: Learner = imitated(self, train)
        return result


class Imitate:
    """Proposes a light network in place of the network of a rank.

    Parameters
    ----------
    point : mapping
        A point of the space.
    context : FusionContext
        Task and time.
    """

    def __init__(self, point: Params, context: FusionContext) -> None:
        self._point, self._context = point, context

    def propose(self, teacher: Teacher) -> Sequence[Edit]:
        """Return the edit, or none where the teacher has fewer networks with branches."""
        point, left = self._point, self._context.deadline.remaining()
        found = networks_by_share(teacher, PUPILS)
        if point["rank"] >= len(found) or left <= 0.0:
            return ()
        member = found[point["rank"]]
        learner = PUPILS[teacher.learners[member]]
        params = light_params(learner, **{name: point[name] for name in SIZES})
        lesson = Lesson(
            learner=learner,
            params=params,
            alpha=point["alpha"],
            temperature=temperature_of(point, self._context),
            hint=point["hint"],
            slope=point["slope"],
            seconds=min(_MOST_SECONDS, left / _TRAININGS),
        )
        name = f"{teacher.names[member]}_{name_of(learner, params, point)}"
        return (Edit(name=name, member=member, edit=lesson),)


def _build(params: Params, context: FusionContext) -> Compressor:
    return Imitate(params, context)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a teacher by its rank, a light network, and how it is taught."""
    return {
        "rank": suggest.integer("rank", 0, _MOST_RANK),
        **sizes(suggest),
        "alpha": suggest.real("alpha", 0.0, 1.0),
        "temperature": suggest.real("temperature", 1.0, 8.0),
        "hint": suggest.choice("hint", (0.0, 0.1, 1.0)),
        "slope": suggest.choice("slope", (0.0, 0.1)),
    }


def _point(rank: int, narrower: int, **changes: float) -> dict[str, Any]:
    plain = {
        "rank": rank,
        "narrower": narrower,
        "depth": 3,
        "weight_decay": 0.02,
        "patience": 2,
        "alpha": 0.3,
        "temperature": 1.0,
        "hint": 0.0,
        "slope": 0.0,
    }
    return plain | changes


SPEC = CompressorSpec(
    name="imitate_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=(
        Configuration(params=_point(0, 2), merit=0.79),
        Configuration(params=_point(0, 4, temperature=2.0), merit=0.75),
        Configuration(params=_point(0, 2, hint=0.1), merit=0.69),
        Configuration(params=_point(1, 2), merit=0.64),
        Configuration(params=_point(0, 2, slope=0.1), merit=0.62),
    ),
    requires=("torch",),
    extra="torch",
)
