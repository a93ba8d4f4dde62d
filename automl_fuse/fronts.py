"""The front of quality, latency and bytes, and the choice of one of its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Array, Floats, Loss

FULL: Final = "all members"
"""Name of the fused pipeline itself on the front."""

QUALITY: Final = "quality"
BALANCED: Final = "balanced"
SPEED: Final = "speed"
PREFERENCES: Final = (QUALITY, BALANCED, SPEED)

FAST_MS: Final = 0.05
"""One row of a pipeline that ``speed`` prefers, in milliseconds inside onnxruntime."""
SMALL_MB: Final = 1.0
"""Megabytes of a pipeline that ``speed`` prefers."""
_BLOCKS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Point:
    """One pipeline, as the front sees it.

    Attributes
    ----------
    name : str
        Unique in its run.
    loss : float
        On rows that did not train it, lower is better.
    error : float
        Standard error of that loss.
    latency_ms : float
        Milliseconds that onnxruntime takes for one row of the artefact.
    size_mb : float
        Megabytes (10⁶ bytes) of the artefact.
    """

    name: str
    loss: float
    error: float
    latency_ms: float
    size_mb: float

    @property
    def price(self) -> float:
        """What makes one pipeline cheaper than another: latency times bytes."""
        return self.latency_ms * self.size_mb

    def beats(self, other: Point) -> bool:
        """Return whether it is no worse in loss, latency and bytes, and better in one."""
        mine = (self.loss, self.latency_ms, self.size_mb)
        others = (other.loss, other.latency_ms, other.size_mb)
        return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a pipeline may take; None for no limit.

    Attributes
    ----------
    latency_ms : float or None
        Milliseconds of one row inside onnxruntime.
    size_mb : float or None
        Megabytes of the file.
    loss : float or None
        Relative loss against the best pipeline of the run: 0.01 for one per cent.
    """

    latency_ms: float | None = None
    size_mb: float | None = None
    loss: float | None = None

    def excess(self, point: Point, best: Point) -> float:
        """Return by what factor a point exceeds the limit that it exceeds most; at most 1 if none.

        A loss below zero (a score that is better the greater it is, turned round) is compared
        by its size.
        """
        allowed = (
            (point.latency_ms, self.latency_ms),
            (point.size_mb, self.size_mb),
            (relative_loss(point, best), self.loss),
        )
        factors = [
            value / limit if limit > 0 else float("inf")
            for value, limit in allowed
            if limit is not None and value > limit
        ]
        return max(factors, default=1.0)


def check_preference(prefer: str, limits: Limits) -> Limits:
    """Return the limits, if they and the preference can be meant.

    Raises
    ------
    SettingsError
        If the preference is unknown, or a limit is not above 0.
    """
    if prefer not in PREFERENCES:
        raise SettingsError(f"prefer={prefer!r} is not one of {', '.join(PREFERENCES)}.")
    for name in ("latency_ms", "size_mb"):
        value = getattr(limits, name)
        if value is not None and not value > 0:
            raise SettingsError(f"max_{name}={value!r} must be above 0.")
    return limits


def relative_loss(point: Point, best: Point) -> float:
    """Return how much worse a point is than the best, as a share of the best's loss."""
    return (point.loss - best.loss) / max(abs(best.loss), 1e-12)


def front_of(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other beats, in order of rising loss; of equal ones the first."""
    unique: dict[tuple[float, float, float], Point] = {}
    for point in points:
        unique.setdefault((point.loss, point.latency_ms, point.size_mb), point)
    best = [p for p in unique.values() if not any(q.beats(p) for q in unique.values())]
    return tuple(sorted(best, key=lambda p: (p.loss, p.price)))


def pick(points: Sequence[Point], prefer: str, limits: Limits) -> Point:
    """Choose a point.

    Parameters
    ----------
    points : sequence of Point
        What there is.
    prefer : {"quality", "balanced", "speed"}
        ``quality``: the least loss. ``balanced``: the cheapest within one standard error of the
        least loss (the rule of Breiman et al. 1984, section 3.4.3). ``speed``: the least loss
        among those of at most 0.05 ms and 1 MB; the cheapest, if there are none.
    limits : Limits
        Points beyond them are not considered.

    Raises
    ------
    SettingsError
        If no point is within the limits, naming the nearest; or for another preference.
    """
    check_preference(prefer, limits)
    best = min(points, key=lambda p: p.loss)
    allowed = [p for p in points if limits.excess(p, best) <= 1.0]
    if not allowed:
        nearest = min(points, key=lambda p: limits.excess(p, best))
        raise SettingsError(
            f"No pipeline of this run is within {_described(limits)}. The nearest, "
            f"{nearest.name!r}, takes {nearest.latency_ms:.3g} ms and {nearest.size_mb:.3g} MB at "
            f"a loss {100 * relative_loss(nearest, best):.2g} % above the best: raise the limit."
        )
    if prefer == QUALITY:
        return min(allowed, key=lambda p: (p.loss, p.price))
    if prefer == SPEED:
        fast = [p for p in allowed if p.latency_ms <= FAST_MS and p.size_mb <= SMALL_MB]
        return min(fast, key=lambda p: p.loss) if fast else min(allowed, key=lambda p: p.price)
    least = min(allowed, key=lambda p: p.loss)
    near = [p for p in allowed if p.loss <= least.loss + least.error]
    return min(near, key=lambda p: (p.price, p.loss))


def _described(limits: Limits) -> str:
    parts = []
    if limits.latency_ms is not None:
        parts.append(f"max_latency_ms={limits.latency_ms:g}")
    if limits.size_mb is not None:
        parts.append(f"max_size_mb={limits.size_mb:g}")
    if limits.loss is not None:
        parts.append(f"max_loss={limits.loss:g}")
    return " and ".join(parts)


def standard_error(loss: Loss, y: Array, prediction: Floats, weight: Floats | None) -> float:
    """Return the standard error of a loss: its spread over ten blocks of rows, by √10.

    Rows are dealt to blocks in the order of the target, so that each block has all classes.
    """
    order = np.argsort(y, kind="stable")
    losses = []
    for block in range(_BLOCKS):
        rows = order[block::_BLOCKS]
        if len(rows):
            part = None if weight is None else weight[rows]
            losses.append(loss(y[rows], prediction[rows], part))
    finite = np.array([value for value in losses if np.isfinite(value)])
    if len(finite) < 2:
        return 0.0
    return float(finite.std(ddof=1) / np.sqrt(len(finite)))
