"""Light networks for images, sounds, sequences and texts, taught by the fused pipeline.

Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network": an LSTM or a
Transformer teaches convolutions, which compute all steps at once; of images and sounds
depthwise-separable ones, Howard et al. (2017), "MobileNets", section 3.1. Texts have no
convolutions here: narrow gated cells learn from them. Width, depth and the penalty on the
weights are searched with the share and the temperature of the teacher's labels, each point scored
by cross-validation.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.media import light_params
from automl_fuse_torch.students import student_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Compressor, FusionContext, Params, Student, Suggest, Teacher

PUPILS: Final[Mapping[str, str]] = {
    "image_cnn": "image_cnn",
    "audio_cnn": "audio_cnn",
    "audio_lstm": "audio_cnn",
    "sequence_cnn": "sequence_cnn",
    "sequence_rnn": "sequence_cnn",
    "sequence_transformer": "sequence_cnn",
    "text_rnn": "text_rnn",
    "text_transformer": "text_rnn",
    "multimodal": "multimodal",
}
"""For each network of branches the learner of a light one that reads the same columns."""
SIZES: Final = ("narrower", "depth", "weight_decay", "patience")
"""What a point says of the light network itself."""


class Light:
    """Proposes one student, for the kind of column that has the networks of largest share.

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
        point, learner = self._point, pupil_of(teacher)
        if learner not in teacher.students:
            return ()
        params = light_params(learner, **{name: point[name] for name in SIZES})
        return (student_of(learner, params, point, self._context),)


def pupil_of(teacher: Teacher) -> str:
    """Return the learner of a light network for a teacher; empty if it has no such network."""
    found: defaultdict[str, float] = defaultdict(float)
    for learner, share in zip(teacher.learners, teacher.shares.tolist(), strict=True):
        if learner in PUPILS and share > 0.0:
            found[PUPILS[learner]] += share
    return max(found, key=lambda learner: found[learner], default="")


def _build(params: Params, context: FusionContext) -> Compressor:
    return Light(params, context)


def sizes(suggest: Suggest) -> dict[str, Any]:
    """Draw a light network, and how long it is trained."""
    return {
        "narrower": suggest.choice("narrower", (1, 2, 4)),
        "depth": suggest.integer("depth", 1, 3),
        "weight_decay": suggest.real("weight_decay", 1e-3, 1.0, log=True),
        "patience": suggest.integer("patience", 1, 3),
    }


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a light network, and how it is taught."""
    return {
        **sizes(suggest),
        "alpha": suggest.real("alpha", 0.0, 1.0),
        "temperature": suggest.real("temperature", 1.0, 4.0),
        "copies": suggest.integer("copies", 0, 2),
    }


def _point(narrower: int, depth: int, patience: int, copies: int) -> dict[str, Any]:
    return {
        "narrower": narrower,
        "depth": depth,
        "weight_decay": 0.02,
        "patience": patience,
        "alpha": 0.3,
        "temperature": 1.0,
        "copies": copies,
    }


SPEC = CompressorSpec(
    name="light_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=(
        Configuration(params=_point(2, 3, 2, 0), merit=0.81),
        Configuration(params=_point(2, 2, 2, 1), merit=0.77),
        Configuration(params=_point(4, 3, 2, 0), merit=0.71),
        Configuration(params=_point(2, 3, 3, 1), merit=0.65),
    ),
    requires=("torch",),
    extra="torch",
)
