"""The ways in which an earlier run lets learners be fitted, each an arm of the search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.hyperparameters import EARLIER, TAUGHT
from automl_fuse.search import Way
from automl_fuse.specs import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import LearnerSpec, Params, Suggest

TUNED: Final = "tuned"
TAUGHT_SHARES: Final = (0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a teacher's labels that are searched."""
FIRST_SHARES: Final = (0.9, 0.5)
"""Those of the portfolios, some of the above."""
TAUGHT_POINTS: Final = 2
"""Configurations of a learner that are tried with a teacher before any search."""
TAUGHT_DISCOUNT: Final = 0.95
"""Factor on the merits of members with a teacher."""


def taught_way(spec: LearnerSpec) -> Way:
    """Return the way in which a learner learns from an earlier pipeline."""

    def space(suggest: Suggest) -> dict[str, Any]:
        return {**spec.space(suggest), TAUGHT: suggest.choice(TAUGHT, TAUGHT_SHARES)}

    ranked = sorted(spec.portfolio, key=lambda each: -each.merit)[:TAUGHT_POINTS]
    portfolio = tuple(
        Configuration(params={**each.params, TAUGHT: share}, merit=each.merit)
        for each in ranked
        for share in FIRST_SHARES
    )
    taught = replace(spec, portfolio=portfolio, space=space)
    return Way(label=TAUGHT, spec=taught, discount=TAUGHT_DISCOUNT)


def tuned_way(spec: LearnerSpec, points: Mapping[str, Params], *, is_taught: bool) -> Way:
    """Return the way in which a learner starts from earlier members.

    Parameters
    ----------
    spec : LearnerSpec
        The learner, which has ``fine_tuning``.
    points : mapping of str to mapping
        Params of each earlier member, by its name, the heaviest first.
    is_taught : bool
        Whether the earlier pipeline teaches, too.
    """
    tuning = spec.fine_tuning
    assert tuning is not None  # noqa: S101 - others have no such way
    names = tuple(points)
    shares = (0.0, *TAUGHT_SHARES) if is_taught else (0.0,)

    def space(suggest: Suggest) -> dict[str, Any]:
        name = suggest.choice(EARLIER, names)
        share = suggest.choice(TAUGHT, shares)
        taught = {TAUGHT: share} if share else {}
        return {**points[name], **tuning.space(suggest), EARLIER: name, **taught}

    portfolio = [
        _tuned(points, name, each, 0.0, 1.0 - 0.1 * position)
        for position, name in enumerate(names)
        for each in tuning.portfolio
    ]
    if is_taught:
        portfolio.append(_tuned(points, names[0], tuning.portfolio[0], FIRST_SHARES[0], 1.0))
    return Way(label=TUNED, spec=replace(spec, portfolio=tuple(portfolio), space=space))


def _tuned(
    points: Mapping[str, Params], name: str, tuning: Configuration, share: float, factor: float
) -> Configuration:
    params = {**points[name], **tuning.params, EARLIER: name, TAUGHT: share}
    return Configuration(params=params, merit=factor * tuning.merit)
