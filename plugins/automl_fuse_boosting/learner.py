"""The learner that all three libraries share: one fitted model, and what surrounds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np

from automl_fuse.specs import FitContext, Forest, ForestModel, Link, Params, Rows
from automl_fuse_boosting.outputs import Head, constant_prediction, head_of, predictions

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Graph, Matrix, Tensor

SMALL_BATCH = 1_000
"""Rows below which starting threads takes longer than predicting."""
FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "plain": (),
    "arithmetic": ("arithmetic",),
    "unsupervised": ("pca", "clusters", "isolation"),
}
"""Encoders that are read beside the plain ones, by the param ``features``."""
_OWN: Final = frozenset({"categories", "features", "trees"})
_LINKS: Final = {
    Head.LOGISTIC: Link.LOGISTIC,
    Head.SOFTMAX: Link.SOFTMAX,
    Head.VALUE: Link.IDENTITY,
}


class Model(Protocol):
    """A fitted model of one of the libraries. It pickles compactly."""

    def raw(self, values: Floats, n_threads: int) -> Array:
        """Return sums of leaf values, (n_rows,) or (n_rows, n_classes)."""

    def forest(self) -> Forest:
        """Return the trees, whose sums are those of `raw`."""


class Fit(NamedTuple):
    """A fitted model, and the params with which to fit another without validation rows."""

    model: Model
    tuned: Mapping[str, Any]


FitModel: TypeAlias = Callable[[Params, FitContext, Rows, Rows | None], Fit]
"""Fits until the loss on the validation rows stops falling, or the deadline is near.

Without validation rows the number of iterations is ``params["trees"]``, or else follows from the
learning rate.
"""


class BoostedLearner:
    """One boosted model, or a constant where no tree can split.

    Parameters
    ----------
    fit_model : callable
        Fits a model with one library.
    params : mapping
        A point of that library's space. ``trees``, if there, is a fixed number of iterations:
        nothing is stopped early then, but for the deadline.
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
        self._tuned: dict[str, Any] = {}

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Fit on the training rows; the validation rows, if any, decide when to stop."""
        self._model = None
        self._tuned = {}
        self._constant = constant_prediction(train, self._context)
        if self._constant is None:
            judges = None if "trees" in self._params else valid
            self._model, tuned = self._fit_model(self._params, self._context, train, judges)
            self._tuned = dict(tuned)

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression."""
        if self._model is None:
            return np.tile(np.asarray(self._constant), (len(X.values), 1))
        threads = 1 if len(X.values) < SMALL_BATCH else self._n_threads
        return predictions(self._model.raw(X.values, threads), self._head)

    def tuned(self) -> Mapping[str, Any]:
        """Return the params that early stopping and the deadline decided on.

        ``trees``, and the constant ``learning_rate`` at which that many go as far as this fit
        went. With them a fit on more rows needs no validation rows. Empty for a constant.
        """
        return dict(self._tuned)

    def form(self) -> ForestModel:
        """Return the fitted model as trees and a link: see ``automl_fuse.specs.ForestModel``.

        A constant is a forest without trees.

        Raises
        ------
        ExportError
            If the trees decide in a way that a ``Forest`` cannot express.
        """
        if self._model is None:
            return ForestModel(forest=_treeless(np.asarray(self._constant)), link=Link.IDENTITY)
        return ForestModel(forest=self._model.forest(), link=_LINKS[self._head])

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``automl_fuse.specs.ExportableLearner``."""
        return self.form().to_onnx(graph, features)

    def __getstate__(self) -> dict[str, Any]:
        # The context holds a deadline, which means nothing to a fitted model.
        kept = ("_head", "_n_threads", "_constant", "_model", "_tuned")
        return {name: self.__dict__[name] for name in kept}


def encoders_of(params: Params) -> tuple[str, ...]:
    """Return the encoders that a configuration reads.

    Parameters
    ----------
    params : mapping
        ``categories``: ``"native"`` codes, or numbers made of ``"target"`` and counts.
        ``features``: a key of ``FEATURES``. Params of another version may lack either.
    """
    categories = ("target", "counts") if params.get("categories") == "target" else ("codes",)
    more = FEATURES[params.get("features", "plain")]
    return ("numbers", *categories, "calendar", "ngrams", "words", "summaries", *more)


def settings_of(params: Params) -> dict[str, Any]:
    """Return the params that are the library's own; the rest concern this plugin."""
    return {name: value for name, value in params.items() if name not in _OWN}


def _treeless(base: Floats) -> Forest:
    none = np.empty(0, dtype=np.int64)
    return Forest(
        roots=none,
        feature=none,
        threshold=np.empty(0),
        split=np.empty(0, dtype=np.uint8),
        missing_true=np.empty(0, dtype=bool),
        true=none,
        false=none,
        leaf=np.empty((0, 1)),
        target=none,
        base=base,
    )
