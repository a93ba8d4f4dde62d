"""Networks with branches in integers of 8 bits: a quarter of the bytes; see ``quantising``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.light import PUPILS
from automl_fuse_torch.ranked import EditOfRank

if TYPE_CHECKING:
    from automl_fuse.specs import Compressor, FusionContext, Learner, Params, Rows, Suggest

_MOST_RANK: Final = 3
FLOATING: Final = (0.0, 0.125, 0.25, 0.5)
"""Shares of the layers that stay in floating point."""


@dataclass(frozen=True)
class ToIntegers:
    """The edit: layers in integers.

    Attributes
    ----------
    floating : float
        Share of the layers that stay in floating point: those whose rounding costs most.
    """

    floating: float

    def __call__(self, learner: Learner, train: Rows) -> Learner:
        """Return the learner in integers, for ranges of these training rows.

        Raises
        ------
        PluginError
            If it is no network with branches of this plugin.
        """
        quantised = getattr(learner, "quantised", None)
        if quantised is None:
            raise PluginError(f"{type(learner).__name__} is no network of automl_fuse_torch")
        result: Learner = quantised(train, self.floating)
        return result


def _build(params: Params, _context: FusionContext) -> Compressor:
    floating = params["floating"]
    return EditOfRank(params["rank"], f"int8_{floating:g}", ToIntegers(floating), PUPILS)


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw a rank, and how many layers stay in floating point."""
    return {
        "rank": suggest.integer("rank", 0, _MOST_RANK),
        "floating": suggest.choice("floating", FLOATING),
    }


SPEC = CompressorSpec(
    name="integer_network",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=tuple(
        Configuration(params={"rank": rank, "floating": floating}, merit=merit - 0.04 * rank)
        for floating, merit in ((0.0, 0.73), (0.25, 0.67))
        for rank in range(2)
    ),
    requires=("torch",),
    extra="torch",
)
