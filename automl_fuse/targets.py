"""Targets of regression in the terms of a learner: standardised, of their logarithm if asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.hyperparameters import TARGET

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Graph, Params, Tensor

IDENTITY: Final = "identity"
LOG: Final = "log"

_LEAST_SKEWNESS: Final = 0.5
"""Below it, a logarithm would do little."""
_GAPS: Final = np.geomspace(1e-5, 3.0, 34)
"""Distances of the smallest target from the end of the logarithm, in standard deviations."""
_POINTS: Final = 1001
"""Quantiles of the target that tell its skewness."""


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """What a learner is told of the targets of a fold, and the way back from what it predicts.

    The learner works on ``(t(y) - center) / scale``, where ``t(y)`` is ``y``, or
    ``log(y + offset)`` if there is an offset.

    Attributes
    ----------
    center, scale : float
        Mean and standard deviation of the transformed training targets.
    low, high : float
        Smallest and largest training target: predictions are clipped to them.
    offset : float or None
        Added before the logarithm; None for none.
    factor : float
        Times which the exponential is taken: see ``corrected``.
    """

    center: float
    scale: float
    low: float
    high: float
    offset: float | None = None
    factor: float = 1.0

    @classmethod
    def of(cls, y: Array, transform: str = IDENTITY) -> TargetScale:
        """Return the scale of these training targets.

        Parameters
        ----------
        y : array of shape (n_rows,)
            Finite values.
        transform : {"identity", "log"}
            With ``"log"``, targets without a tail to the right stay as they are.
        """
        offset = _offset(y) if transform == LOG else None
        seen = y if offset is None else np.log(y + offset)
        spread = float(np.std(seen))
        return cls(
            center=float(np.mean(seen)),
            scale=spread if spread > 0 else 1.0,
            low=float(np.min(y)),
            high=float(np.max(y)),
            offset=offset,
        )

    def standardised(self, y: Array) -> Floats:
        """Return targets in the learner's terms; NaN stays.

        Values below all training targets, which the logarithm may not know, count as the
        smallest: no prediction goes below it either.
        """
        seen = y if self.offset is None else np.log(np.maximum(y, self.low) + self.offset)
        standard: Floats = (seen - self.center) / self.scale
        return standard

    def restored(self, predictions: Floats) -> Floats:
        """Return predictions in units of the target, within the range of training targets.

        They are clipped before the exponential, which so cannot overflow.
        """
        low, high = self._limits
        seen: Floats = np.clip(predictions * self.scale + self._shift, low, high)
        return seen if self.offset is None else np.exp(seen) - self.offset

    def to_onnx(self, graph: Graph, predictions: Tensor) -> Tensor:
        """Write ``restored`` into a graph."""
        moved = predictions
        if (self.scale, self._shift) != (1.0, 0.0):
            scaled = graph.node("Mul", [predictions, graph.constant(np.array(self.scale))])
            moved = graph.node("Add", [scaled, graph.constant(np.array(self._shift))])
        limits = [graph.constant(np.array(limit)) for limit in self._limits]
        seen = graph.node("Clip", [moved, *limits])
        if self.offset is None:
            return seen
        raised = graph.node("Exp", [seen])
        return graph.node("Sub", [raised, graph.constant(np.array(self.offset))])

    def corrected(self, y: Floats, predictions: Floats, weight: Floats | None) -> TargetScale:
        """Return the scale with a factor that makes up for the bias of the exponential.

        A learner that minimises squared errors of the logarithm predicts its mean, and the
        exponential of that is nearer to the median of ``y`` than to its mean, which is what the
        RMSE asks for. The factor makes both means agree in training rows: the ratio estimate of
        Snowdon 1991 ("A ratio estimator for bias correction in logarithmic regressions",
        Canadian Journal of Forest Research 21). The smearing estimate of Duan 1983, the mean of
        ``exp(residual)``, is larger where errors are larger for small values, and smaller for a
        learner that shrinks towards the mean: on four real tables with three learners, RMSE was
        lower with the ratio ten times and equal once. Both correct too little where a learner
        has fitted its training rows too closely.

        Parameters
        ----------
        y : array of shape (n_rows,)
            Training targets in the learner's terms.
        predictions : array of shape (n_rows, 1)
            What the learner predicts for these rows, in its own terms.
        weight : array of shape (n_rows,) or None
            Sample weights.
        """
        if self.offset is None:
            return self
        plain = replace(self, factor=1.0)
        meant, predicted = (
            float(np.average(plain.restored(values), weights=weight)) + self.offset
            for values in (y, predictions[:, 0])
        )
        return replace(self, factor=meant / predicted)

    @property
    def _shift(self) -> float:
        return self.center + float(np.log(self.factor))

    @property
    def _limits(self) -> tuple[float, float]:
        if self.offset is None:
            return self.low, self.high
        return float(np.log(self.low + self.offset)), float(np.log(self.high + self.offset))


def has_tail(y: Array) -> bool:
    """Return whether targets have a tail to the right, so that ``"log"`` changes them."""
    return _offset(y) is not None


def transform_of(params: Params, learner: str) -> str:
    """Return how a configuration transforms its targets.

    Raises
    ------
    PluginError
        If there is no such transform.
    """
    transform = params.get(TARGET, IDENTITY)
    if transform not in {IDENTITY, LOG}:
        raise PluginError(
            f"a configuration of learner {learner!r} has {TARGET}={transform!r}: the engine keeps "
            f"this name for the transform of targets, {IDENTITY!r} or {LOG!r}."
        )
    return str(transform)


def _offset(y: Array) -> float | None:
    """Return what to add before the logarithm; None without a tail to the right.

    It is the offset after which the skewness is nearest to zero (Stata's ``lnskew0``), so it moves
    with the unit and the origin of the target. The smallest target stays as far above the end of
    the logarithm as the next one lies above it: where most targets are zero, no offset makes them
    symmetric, and counts get the usual ``log(y + 1)``.
    """
    points = np.quantile(y, np.linspace(0, 1, _POINTS))
    spread = float(np.std(points))
    if spread == 0 or _skewness(points) < _LEAST_SKEWNESS:
        return None
    lowest = float(np.min(y))
    step = float(np.min(y[y > lowest])) - lowest
    offsets = np.maximum(_GAPS * spread, step) - lowest
    skewness = [abs(_skewness(np.log(points + offset))) for offset in offsets]
    return float(offsets[int(np.argmin(skewness))])


def _skewness(values: Floats) -> float:
    return float(np.mean(((values - values.mean()) / values.std()) ** 3))
