"""The learner that all three libraries share: one fitted model, and what surrounds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from automl_fuse.specs import FitContext, Params, Rows
from automl_fuse_boosting.outputs import constant_prediction, head_of, predictions

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Matrix

SMALL_BATCH = 1_000
"""Rows below which starting threads takes longer than predicting."""


class Model(Protocol):
    """A fitted model of one of the libraries. It pickles compactly."""

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows,) or (n_rows, n_classes)."""


FitModel: TypeAlias = Callable[[Params, FitContext, Rows, Rows | None], Model]
"""Fits until the loss on the validation rows stops falling, or the deadline is near.

Without validation rows the number of iterations follows from the learning rate.
"""


class BoostedLearner:
    """One boosted model, or a constant where no tree can split.

    Parameters
    ----------
    fit_model : callable
        Fits a model with one library.
    params : mapping
        A point of that library's space.
    context : FitContext
        Task, seed, threads and deadline.
    """

    def __init__(self, fit_model: FitModel, params: Params, context: FitContext) -> None:
        self._fit_model = fit_model
        self._params = dict(params)
        self._context = context
        self._head = head_of(context)
        self._n_threads = context.n_threads
        self._constant: Floats | None = None
        self._model: Model | None = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit on the training rows; the validation rows, if any, decide when to stop."""
        self._model = None
        self._constant = constant_prediction(train, self._context)
        if self._constant is None:
            self._model = self._fit_model(self._params, self._context, train, valid)

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression."""
        if self._model is None:
            return np.tile(np.asarray(self._constant), (len(X.values), 1))
        threads = 1 if len(X.values) < SMALL_BATCH else self._n_threads
        return predictions(self._model.raw(X.values, threads), self._head)

    def __getstate__(self) -> dict[str, Any]:
        # The context holds a deadline, which means nothing to a fitted model.
        kept = ("_head", "_n_threads", "_constant", "_model")
        return {name: self.__dict__[name] for name in kept}
