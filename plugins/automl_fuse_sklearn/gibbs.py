"""Gibbs sampling of sums: a line, effects of categories, and products of two of them.

A target is taken for the sum of components and Gaussian noise. Each component in turn is drawn from
its distribution given the others, again and again; predictions are means over the draws. How far
vectors and effects are shrunk is drawn as well, so that nothing has to be tuned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Deadline, Floats


_FREE = 1e-6
"""Prior precision of the intercept."""
_BURN_IN = 0.25
"""Share of the sweeps that are not counted: the first ones tell of the start."""


class Categories(NamedTuple):
    """A category of each row, (n_rows,), as a number from 0, and how many there are."""

    codes: NDArray[np.int64]
    n_levels: int


class Component(Protocol):
    """A part of the sum.

    Attributes
    ----------
    rows : array of shape (n_rows,)
        What it now adds to each training row.
    """

    rows: Floats

    def draw(self, residual: Floats, precision: float, rng: np.random.Generator) -> None:
        """Draw it given what the others leave, (n_rows,), and the precision of the noise."""

    def collect(self) -> None:
        """Count the state in the mean."""

    @property
    def variance(self) -> float:
        """How uncertain it is for rows that were not trained on."""


def sample(
    goal: Array,
    weight: Floats,
    components: Sequence[Component],
    sweeps: int,
    deadline: Deadline,
    rng: np.random.Generator,
) -> None:
    """Draw all components, as often as there is time for, once at least.

    Parameters
    ----------
    goal : array of shape (n_rows,)
        The target; of integers, classes 0 and 1, which are explained as the sign of a hidden
        target with noise of deviation 1 (probit): Albert and Chib (1993), "Bayesian analysis
        of binary and polychotomous response data", section 3.1.
    weight : array of shape (n_rows,)
        Factors of the precision of the noise.
    components : sequence of Component
        What is drawn, in this order.
    sweeps : int
        Times that all of them are drawn, if there is time; the first quarter is not counted.
    deadline : Deadline
        Looked at after each: the last one is that after which there is no time for another.
    rng : numpy.random.Generator
        Source of randomness.
    """
    is_binary = goal.dtype.kind == "i"
    precision, start = 1.0, deadline.remaining()
    for done in range(1, sweeps + 1):
        total = np.sum([component.rows for component in components], axis=0)
        hidden = _hidden_targets(goal, total, rng) if is_binary else goal
        for component in components:
            before = component.rows
            component.draw(hidden - total + before, precision, rng)
            total = total + component.rows - before
        if not is_binary:
            precision = _noise_precision(hidden - total, weight, rng)
        left = deadline.remaining()
        each = max(start - left, 1e-9) / done
        total_sweeps = min(sweeps, done + max(0, int(left / each)))
        if done > _BURN_IN * total_sweeps or done == total_sweeps:
            for component in components:
                component.collect()
        if done == total_sweeps:
            break


def _noise_precision(residual: Floats, weight: Floats, rng: np.random.Generator) -> float:
    """Draw the precision of the noise; the prior is worth two rows of variance 1."""
    squares = float(weight @ np.square(residual))
    return float(rng.gamma(1.0 + 0.5 * weight.sum()) / (1.0 + 0.5 * squares))


def _precision(drawn: Floats, rng: np.random.Generator) -> float:
    """Draw how far slopes or effects are shrunk; the prior is worth two of them of variance 1."""
    return float(rng.gamma(1.0 + 0.5 * len(drawn)) / (1.0 + 0.5 * drawn @ drawn))


def _hidden_targets(classes: Array, total: Floats, rng: np.random.Generator) -> Floats:
    """Draw hidden targets around what is predicted, on the side of 0 that the class tells."""
    from scipy.special import ndtr, ndtri

    sign = 2.0 * classes - 1.0
    inside = ndtr(sign * total)
    # Away from 0, which would give an infinite target.
    share = np.maximum(rng.random(len(total)) * inside, np.finfo(np.float64).tiny)
    hidden: Floats = total - sign * ndtri(share)
    return hidden


class Line:
    """A linear function of numbers, with an intercept; all slopes are shrunk alike.

    Parameters
    ----------
    numbers : array of shape (n_rows, n_numbers)
        Without missing values.
    weight : array of shape (n_rows,)
        Sample weights.

    Attributes
    ----------
    rows, variance
        See ``Component``.
    """

    variance = 0.0

    def __init__(self, numbers: Floats, weight: Floats) -> None:
        self._design = np.column_stack([numbers, np.ones(len(numbers))])
        self._weighted = self._design * weight[:, None]
        self._gram = self._weighted.T @ self._design
        self._slope_precision = 1.0
        self._sum = np.zeros(self._design.shape[1])
        self._expected = self._sum
        self._count = 0
        self.rows = np.zeros(len(numbers))

    def draw(self, residual: Floats, precision: float, rng: np.random.Generator) -> None:
        """See ``Component``."""
        prior = np.full(len(self._gram), self._slope_precision)
        prior[-1] = _FREE
        factor = np.linalg.cholesky(precision * self._gram + np.diag(prior))
        half = np.linalg.solve(factor, precision * (residual @ self._weighted))
        noise = rng.normal(size=len(half))
        drawn, self._expected = np.linalg.solve(factor.T, np.column_stack([half + noise, half])).T
        self.rows = self._design @ drawn
        slopes = drawn[:-1]
        self._slope_precision = _precision(slopes, rng)

    def collect(self) -> None:
        """See ``Component``."""
        self._sum = self._sum + self._expected
        self._count += 1

    def mean(self) -> Floats:
        """Return the mean slopes, and the intercept last, (n_numbers + 1,)."""
        return self._sum / self._count


class Effects:
    """A number for each level of a category, shrunk towards 0.

    Parameters
    ----------
    categories : Categories
        Levels of the rows.
    weight : array of shape (n_rows,)
        Sample weights.

    Attributes
    ----------
    rows, variance
        See ``Component``.
    """

    variance = 0.0

    def __init__(self, categories: Categories, weight: Floats) -> None:
        codes, n_levels = categories
        self._codes, self._weight = codes, weight
        self._weights = np.bincount(codes, weight, minlength=n_levels)
        self._effect_precision = 1.0
        self._sum = np.zeros(n_levels)
        self._expected = self._sum
        self._count = 0
        self.rows = np.zeros(len(codes))

    def draw(self, residual: Floats, precision: float, rng: np.random.Generator) -> None:
        """See ``Component``."""
        sums = np.bincount(self._codes, self._weight * residual, minlength=len(self._weights))
        precisions = self._effect_precision + precision * self._weights
        self._expected = precision * sums / precisions
        drawn = self._expected + rng.normal(size=len(sums)) / np.sqrt(precisions)
        self.rows = drawn[self._codes]
        self._effect_precision = _precision(drawn, rng)

    def collect(self) -> None:
        """See ``Component``."""
        self._sum = self._sum + self._expected
        self._count += 1

    def mean(self) -> Floats:
        """Return the mean effects, (n_levels,)."""
        return self._sum / self._count
