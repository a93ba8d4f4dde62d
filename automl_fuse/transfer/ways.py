"""The ways in which an earlier run lets learners be fitted, each an arm of the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.hyperparameters import COPIES, EARLIER, TAUGHT
from automl_fuse.search import Way
from automl_fuse.specs import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import LearnerSpec, Params, Suggest

TUNED: Final = "tuned"
SHARES: Final = (0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a teacher's labels that are searched."""
FEW_COPIES: Final = 2.0
"""Copies of the portfolios: more take longer."""
TUNED_FIRST: Final = 1.2
TAUGHT_FIRST: Final = 1.1
"""Factors on the merits of members that start from the earlier run, or learn from it: where time is
short they are worth more than others. If they add nothing, the search discounts them as any."""
FIRST_SHARE: Final = 0.9
"""Share of the portfolios."""
POINTS: Final = 2
"""Configurations of a learner that are tried with a teacher before any search."""


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What an earlier pipeline has labelled: all rows, and ``copies`` rows made from each."""

    copies: int

    @property
    def few(self) -> float:
        """Number of copies that is tried first."""
        return min(FEW_COPIES, float(self.copies))

    @property
    def choices(self) -> tuple[float, ...]:
        """Numbers of copies that are searched."""
        return tuple(sorted({0.0, self.few, float(self.copies)}))


def taught_way(spec: LearnerSpec, lessons: Lessons) -> Way:
    """Return the way in which a learner learns from an earlier pipeline."""

    def space(suggest: Suggest) -> dict[str, Any]:
        return {
            **spec.space(suggest),
            TAUGHT: suggest.choice(TAUGHT, SHARES),
            COPIES: suggest.choice(COPIES, lessons.choices),
        }

    ranked = sorted(spec.portfolio, key=lambda each: -each.merit)[:POINTS]
    portfolio = tuple(
        Configuration(params={**each.params, TAUGHT: FIRST_SHARE, COPIES: copies}, merit=each.merit)
        for each in ranked
        for copies in dict.fromkeys((lessons.few, 0.0))
    )
    taught = replace(spec, portfolio=portfolio, space=space)
    return Way(label=TAUGHT, spec=taught, discount=TAUGHT_FIRST)


def tuned_way(spec: LearnerSpec, points: Mapping[str, Params], lessons: Lessons | None) -> Way:
    """Return the way in which a learner starts from earlier members.

    Parameters
    ----------
    spec : LearnerSpec
        The learner, which has ``fine_tuning``.
    points : mapping of str to mapping
        Params of each earlier member, by its name, the heaviest first.
    lessons : Lessons or None
        What the earlier pipeline teaches, too.
    """
    tuning = spec.fine_tuning
    assert tuning is not None  # noqa: S101 - others have no such way
    names = tuple(points)
    shares = (0.0, *SHARES) if lessons else (0.0,)
    choices = lessons.choices if lessons else (0.0,)

    def space(suggest: Suggest) -> dict[str, Any]:
        name = suggest.choice(EARLIER, names)
        params = {**points[name], **tuning.space(suggest), EARLIER: name}
        share = suggest.choice(TAUGHT, shares)
        copies = suggest.choice(COPIES, choices)
        return {**params, TAUGHT: share, COPIES: copies} if share else params

    def point(name: str, how: Configuration, share: float, factor: float) -> Configuration:
        copies = lessons.few if lessons and share else 0.0
        said = {EARLIER: name, TAUGHT: share, COPIES: copies}
        params = {**points[name], **how.params, **said}
        return Configuration(params=params, merit=factor * how.merit)

    portfolio = [
        point(name, each, 0.0, 1.0 - 0.1 * position)
        for position, name in enumerate(names)
        for each in tuning.portfolio
    ]
    if lessons:
        portfolio.append(point(names[0], tuning.portfolio[0], FIRST_SHARE, 1.0))
    tuned = replace(spec, portfolio=tuple(portfolio), space=space)
    return Way(label=TUNED, spec=tuned, discount=TUNED_FIRST)
