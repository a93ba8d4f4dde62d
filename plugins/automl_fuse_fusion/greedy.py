"""Greedy ensemble selection with replacement, bagged.

Caruana et al. 2004, "Ensemble selection from libraries of models", sections 2.1 (with
replacement), 2.2 (start from the best) and 2.3 (bags of members). Bags also draw rows, each
bag ends at its best round, and the best member is in every bag.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from automl_fuse.specs import ALL_TASKS, Configuration, FusionSpec
from automl_fuse_fusion.common import (
    WeightedMean,
    is_likelihood,
    mass_of,
    true_class,
)

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, Fusion, FusionContext, Params, Suggest
    from automl_fuse_fusion.common import Indices

MAX_ROWS: Final = 50_000
"""Rows that the bags choose on together, at most, where losses are fast to compute."""
MAX_ROWS_SLOW: Final = 6_000
"""The same for any other objective, of two outputs; fewer where there are more."""


class _Bag(Protocol):
    """The ensemble of one bag as it grows."""

    def losses(self) -> Floats:
        """Return the loss after adding each of the bag's members, (n_bag_members,)."""

    def add(self, member: int) -> None:
        """Add a member of the bag, by position."""


class _LogLossBag:
    """Needs only the probability of each row's true class."""

    def __init__(self, truth: Floats, mass: Floats) -> None:
        self._truth = truth
        self._mass = mass
        self._total = np.zeros(truth.shape[1])
        self._size = 0
        self._buffer = np.empty_like(truth)

    def losses(self) -> Floats:
        np.add(self._truth, self._total, out=self._buffer)
        np.log(self._buffer, out=self._buffer)
        losses: Floats = np.log(self._size + 1) - self._buffer @ self._mass
        return losses

    def add(self, member: int) -> None:
        self._total += self._truth[member]
        self._size += 1


class _SquaredBag:
    """Needs only the products of members' errors: every round is independent of the rows."""

    def __init__(self, errors: Floats, mass: Floats) -> None:
        self._products = (errors * mass) @ errors.T
        self._counts = np.zeros(len(errors))

    def losses(self) -> Floats:
        mixed = self._products @ self._counts
        summed = self._counts @ mixed + 2 * mixed + np.diag(self._products)
        losses: Floats = summed / (self._counts.sum() + 1) ** 2
        return losses

    def add(self, member: int) -> None:
        self._counts[member] += 1


class _AnyBag:
    """Asks the objective about each candidate."""

    def __init__(
        self, oof: Floats, y: Array, weight: Floats | None, context: FusionContext
    ) -> None:
        self._oof = oof
        self._y = y
        self._weight = weight
        self._loss = context.loss
        self._total = np.zeros(oof.shape[1:])
        self._size = 0

    def losses(self) -> Floats:
        size = self._size + 1
        return np.array(
            [self._loss(self._y, (self._total + one) / size, self._weight) for one in self._oof]
        )

    def add(self, member: int) -> None:
        self._total += self._oof[member]
        self._size += 1


def greedy_weights(
    oof: Floats, y: Array, weight: Floats | None, *, params: Params, context: FusionContext
) -> Floats:
    """Return the mean weights of all bags.

    Parameters
    ----------
    oof : array of shape (n_members, n_rows, n_outputs)
        Predictions of members ordered by rising loss.
    y, weight : array of shape (n_rows,)
        Target and sample weights.
    params : mapping
        ``rounds``: members that a bag adds. ``bags``; ``members`` and ``rows``: shares that
        each bag draws.
    context : FusionContext
        Its deadline ends the selection between rounds, after the first.
    """
    bags = int(params.get("bags", 1))
    rounds = int(params.get("rounds", 25))
    fast = is_likelihood(context, y, weight)
    most_rows = _rows_of_a_bag(bags, oof.shape[2], fast=fast)
    rng = np.random.default_rng(context.seed)
    weights = np.zeros(len(oof))
    for bag in range(bags):
        if bag > 0 and context.deadline.expired():
            break
        members = _draw_members(rng, len(oof), float(params.get("members", 1.0)))
        rows = _draw_rows(rng, len(y), float(params.get("rows", 1.0)), most_rows)
        part = oof if len(members) == len(oof) else oof[members]
        growing = _make_bag(_Rows(part, y, weight, rows), context, fast=fast)
        weights[members] += _grow(growing, len(members), rounds, context)
    weights /= weights.sum()
    return weights


class _Rows:
    """Rows of one bag; all of them are taken without a copy."""

    def __init__(self, oof: Floats, y: Array, weight: Floats | None, rows: Indices) -> None:
        everything = len(rows) == len(y)
        self.oof = oof if everything else oof[:, rows]
        self.y = y if everything else y[rows]
        self.weight = weight if everything or weight is None else weight[rows]


def _make_bag(rows: _Rows, context: FusionContext, *, fast: bool) -> _Bag:
    if not fast:
        return _AnyBag(rows.oof, rows.y, rows.weight, context)
    mass = mass_of(rows.weight, len(rows.y))
    if context.task.is_classification:
        return _LogLossBag(true_class(rows.oof, rows.y), mass)
    return _SquaredBag(rows.oof[:, :, 0] - rows.y, mass)


def _grow(bag: _Bag, n_members: int, rounds: int, context: FusionContext) -> Floats:
    """Return the shares of the members after the round that ended with the lowest loss."""
    counts = np.zeros(n_members)
    best_counts, best_loss = counts, np.inf
    for turn in range(rounds):
        if turn > 0 and context.deadline.expired():
            break
        losses = bag.losses()
        member = int(np.argmin(losses))
        bag.add(member)
        counts[member] += 1
        if turn == 0 or losses[member] < best_loss:
            best_counts, best_loss = counts.copy(), losses[member]
    shares: Floats = best_counts / best_counts.sum()
    return shares


def _rows_of_a_bag(bags: int, n_outputs: int, *, fast: bool) -> int:
    """Return the most rows that one bag reads, by what a round over them costs."""
    if fast:
        return max(10_000, MAX_ROWS // bags)
    return max(2_000, MAX_ROWS_SLOW // bags // max(1, n_outputs // 2))


def _draw_members(rng: np.random.Generator, n_members: int, share: float) -> Indices:
    """Draw members, always with the first, which is the best."""
    size = max(1, round(share * n_members))
    others = rng.choice(np.arange(1, n_members), size=size - 1, replace=False)
    return np.sort(np.append(others, 0)).astype(np.intp)


def _draw_rows(rng: np.random.Generator, n_rows: int, share: float, most: int) -> Indices:
    size = min(max(1, round(share * n_rows)), most)
    if size == n_rows:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, size=size, replace=False))


def _build(params: Params, context: FusionContext) -> Fusion:
    return WeightedMean(partial(greedy_weights, params=dict(params), context=context), context)


def _space(suggest: Suggest) -> dict[str, Any]:
    return {
        "rounds": suggest.integer("rounds", 10, 60),
        "bags": suggest.integer("bags", 1, 12),
        "members": suggest.real("members", 0.5, 1.0),
        "rows": suggest.real("rows", 0.5, 1.0),
    }


SPEC = FusionSpec(
    name="greedy",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=_space,
    portfolio=(
        Configuration(params={"rounds": 25, "bags": 1, "members": 1.0, "rows": 1.0}, merit=0.9),
        Configuration(params={"rounds": 25, "bags": 8, "members": 0.7, "rows": 0.7}, merit=0.7),
    ),
)
