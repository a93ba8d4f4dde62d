"""Hyperparameters that the engine keeps to itself; no learner is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from automl_fuse.specs import Params

TARGET: Final = "target"
"""How targets are transformed."""
EARLIER: Final = "earlier"
"""The member of an earlier run from whose models the fold models start."""
TAUGHT: Final = "taught"
"""Share of an earlier pipeline's predictions in the labels, against the true ones."""
COPIES: Final = "taught_copies"
"""Rows made from each training row, which the earlier pipeline has labelled."""
KEPT: Final = frozenset({TARGET, EARLIER, TAUGHT, COPIES})


def learner_params(params: Params) -> dict[str, Any]:
    """Return the hyperparameters that are the learner's own."""
    return {name: value for name, value in params.items() if name not in KEPT}
