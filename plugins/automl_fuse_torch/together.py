"""Folds and configurations of one shape, fitted as one batched network for the engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import PluginError
from automl_fuse.specs import Cost, FitTogether, Params, Shape
from automl_fuse_torch.cards import has_card
from automl_fuse_torch.learner import NetworkLearner
from automl_fuse_torch.starting import FROZEN, RATE, THAW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs import Fit

ON_A_CARD: Final = 40
"""Networks that train at the same time on a card: five folds of eight configurations, say."""
OWN: Final = frozenset(
    {"learning_rate", "weight_decay", "dropout", "label_smoothing", "averaging"}
    | {FROZEN, THAW, RATE}
)
"""Hyperparameters that each network of a batched one has for itself: see ``core.Member``."""


def fit_together(fits: Sequence[Fit]) -> None:
    """Fit networks, those of one shape as one batched network: see ``FitTogether.fit``.

    Raises
    ------
    PluginError
        If one is no network of this plugin that can be fitted.
    """
    from automl_fuse_torch.fitting import fit_many

    learners = [_network(fit.learner) for fit in fits]
    tasks = [
        learner.task(fit.train, fit.valid) for learner, fit in zip(learners, fits, strict=True)
    ]
    for learner, model in zip(learners, fit_many(tasks), strict=True):
        learner.take(model)


def how_together(cost: Callable[[Shape, Params], Cost]) -> FitTogether:
    """Return how networks of a kind are fitted together, given what one costs."""
    return FitTogether(
        fit=fit_together, size=models_at_once, seconds=partial(seconds, cost), agreed=agreed
    )


def models_at_once(shape: Shape, params: Params) -> int:  # noqa: ARG001 - as FitTogether asks
    """Return how many networks to train at the same time where this runs.

    One network leaves most of a card idle. On a processor five folds together took 0.54 to 0.84 of
    their sum, which is worth less than that several workers fit them, and that a useless member is
    stopped after its first.
    """
    return ON_A_CARD if has_card() else 1


def seconds(cost: Callable[[Shape, Params], Cost], shape: Shape, params: Params, n: int) -> float:  # noqa: ARG001
    """Predict the seconds of ``n`` networks on a card: about what a processor takes for one.

    The search corrects this by what it measures.
    """
    return cost(shape, params).seconds


def agreed(params: Params) -> dict[str, Any]:
    """Return the params that decide the shape of a network and its schedule."""
    return {name: value for name, value in params.items() if name not in OWN}


def _network(learner: object) -> NetworkLearner:
    if not isinstance(learner, NetworkLearner):
        raise PluginError(f"{learner!r} is no network of this plugin: only these fit together")
    return learner
