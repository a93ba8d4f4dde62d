"""How hyperparameters are drawn: the search's side of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from automl_fuse.specs.words import Params


class Suggest(Protocol):
    """Asks the search for hyperparameters; each name must be asked for at most once."""

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Ask for an integer in [low, high]."""

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Ask for a real number in [low, high]."""

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Ask for one of the options: each a str, a number, a bool or None."""


Space: TypeAlias = Callable[[Suggest], dict[str, Any]]


def no_space(_suggest: Suggest) -> dict[str, Any]:
    """Return no hyperparameters: the space of a part that has none."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a portfolio.

    Attributes
    ----------
    params : mapping
        A point of the learner's space: it names every parameter that ``space`` asks for.
    merit : float
        Expected worth for the ensemble, 0 … 1. The search tries the configurations of all
        learners in falling order of merit, as far as their predicted cost allows.
    """

    params: Params = field(default_factory=dict)
    merit: float = 0.5
