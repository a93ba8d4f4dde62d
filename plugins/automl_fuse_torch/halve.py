"""Networks kept in half precision: half of the bytes; they compute in double precision as before.

A weight is kept to three digits, relative to its size. What is not learned, such as the bins of
numbers, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.ranked import EditOfRank

if TYPE_CHECKING:
    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest

_MOST_RANK = 5


@dataclass(frozen=True)
class ToHalves:
    """The edit: the weights of a network in half precision."""

    def __call__(self, learner: Learner, _train: Rows) -> Learner:
        """Return the smaller learner.

        Raises
        ------
        PluginError
            If it is no network of this plugin, or has weights that are too large.
        """
        halved = getattr(learner, "halved", None)
        if halved is None:
            raise PluginError(f"{type(learner).__name__} is no network of automl_fuse_torch")
        result: Learner = halved()
        return result


def _build(params: Params, _context: FusionContext) -> Compressor:
    return EditOfRank(params["rank"], "half", ToHalves())


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a rank."""
    return {"rank": suggest.integer("rank", 0, _MOST_RANK)}


SPEC = CompressorSpec(
    name="halve_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"rank": rank}, merit=0.7 - 0.04 * rank) for rank in range(3)
    ),
    requires=("torch",),
    extra="torch",
)
