"""Vectors of users and items, drawn given each other: a component of ``gibbs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse_sklearn.mean_product import MeanProduct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Floats
    from automl_fuse_sklearn.gibbs import Categories

    Codes = NDArray[np.int64]

_START = 0.1
"""Deviation of the vectors at the start."""
_SHRINKING_ROWS = 5.0
"""Rows of 0 that every level has when effects are estimated to start with."""
_MEAN_ROWS = 2.0
"""Levels that the prior of the mean of vectors counts for: Salakhutdinov and Mnih's beta."""
_LEVELS_AT_ONCE = 4096
"""Levels whose vectors are drawn at once, which bounds the memory."""
_PROBES = 2000
"""Pairs of levels on which the spread of products is measured."""


class Products:
    """The product of the vectors of two categories, such as a user's and an item's.

    Bayesian probabilistic matrix factorisation: Salakhutdinov and Mnih (2008), section 3. All
    vectors of a category share a Gaussian prior, whose mean and covariance are drawn as well;
    its mean takes the place of biases, and of the vectors of levels without rows.

    Parameters
    ----------
    users, items : Categories
        Levels of the rows in both categories.
    weight : array of shape (n_rows,)
        Sample weights.
    rank : int
        Length of the vectors, at least 2.
    history : int
        Most frequent levels of the other category by which those of a category are told apart:
        see ``History``. 0 for none.
    rng : numpy.random.Generator
        Where they start, and which pairs are probed.

    Attributes
    ----------
    rows
        See ``Component``.
    """

    def __init__(
        self,
        users: Categories,
        items: Categories,
        weight: Floats,
        *,
        rank: int,
        history: int,
        rng: np.random.Generator,
    ) -> None:
        self._codes = users.codes, items.codes
        self._sides = tuple(
            _Side(_Incidence(own.codes, other, weight), own.n_levels, history)
            for own, other in ((users, items), (items, users))
        )
        for side, (_, n_levels) in zip(self._sides, (users, items), strict=True):
            side.drawn = side.expected = rng.normal(scale=_START, size=(n_levels, rank))
        self._is_fresh = True
        self._mean = MeanProduct(max(2 * rank, 16))
        probed = rng.integers(len(weight), size=(2, _PROBES))
        self._probes = users.codes[probed[0]], items.codes[probed[1]]
        self._moments = np.zeros((2, _PROBES))
        self._count = 0
        # Nothing, until the first draw has told what is there to be explained.
        self.rows = np.zeros(len(weight))

    def draw(self, residual: Floats, precision: float, rng: np.random.Generator) -> None:
        """See ``Component``."""
        first, second = self._sides
        if self._is_fresh:
            self._start(residual)
        first.draw(second.drawn, residual, precision, rng)
        second.draw(first.drawn, residual, precision, rng)
        self.rows = self._product(*self._codes)

    def _start(self, residual: Floats) -> None:
        """Begin with effects of items, then of users, each times a constant 1.

        From there few draws are enough to predict well, should time be short.
        """
        self._is_fresh = False
        for place, side in zip((1, 0), self._sides[::-1], strict=True):
            effect = side.effects(residual)
            residual = residual - effect[self._codes[place]]
            side.drawn[:, 1 - place], side.drawn[:, place] = 1.0, effect

    def collect(self) -> None:
        """See ``Component``."""
        first, second = self._sides
        # The expectation of the vectors drawn last, given the others, varies less than they do.
        self._mean.add(first.drawn, second.expected)
        probed = self._product(*self._probes)
        self._moments += probed, np.square(probed)
        self._count += 1

    @property
    def variance(self) -> float:
        """Mean variance of the product of random pairs of levels, frequent ones more often."""
        mean, square = self._moments / self._count
        return float(np.mean(square - np.square(mean)))

    def factors(self) -> tuple[Floats, Floats]:
        """Return the factors of the mean product, (n_levels, size) of either category."""
        return self._mean.factors()

    def _product(self, first: Codes, second: Codes) -> Floats:
        left, right = (side.drawn for side in self._sides)
        product: Floats = np.einsum("rk,rk->r", left[first], right[second])
        return product


class _Incidence:
    """Which levels of the other category the rows of a level hold.

    Attributes
    ----------
    known : int array of shape (n_known,)
        Levels that have rows.
    weights : sparse matrix of shape (n_known, n_others)
        An entry for each row: its weight.
    """

    def __init__(self, own: Codes, other: Categories, weight: Floats) -> None:
        from scipy.sparse import csr_matrix

        self.known, places = np.unique(own, return_inverse=True)
        self._order = np.argsort(places, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(places))])
        entries = (weight[self._order], other.codes[self._order], starts)
        self.weights: Any = csr_matrix(entries, shape=(len(self.known), other.n_levels))
        self._filled: Any = self.weights.copy()

    def times(self, values: Floats) -> Any:
        """Return the weights times a value of each row, as a matrix that the next call changes."""
        np.multiply(self.weights.data, values[self._order], out=self._filled.data)
        return self._filled


class _Side:
    """Vectors of one of two categories."""

    drawn: Floats
    expected: Floats

    def __init__(self, incidence: _Incidence, n_levels: int, history: int) -> None:
        self._incidence, self._known = incidence, incidence.known
        self._unknown = np.setdiff1d(np.arange(n_levels), self._known)
        self._history = History(incidence.weights, history) if history else None

    def effects(self, residual: Floats) -> Floats:
        """Return the mean residual of each level, shrunk towards 0 as by so many rows more."""
        effects = np.zeros(len(self.drawn))
        sums = np.asarray(self._incidence.times(residual).sum(axis=1)).ravel()
        rows = np.asarray(self._incidence.weights.sum(axis=1)).ravel()
        effects[self._known] = sums / (rows + _SHRINKING_ROWS)
        return effects

    def draw(
        self, others: Floats, residual: Floats, precision: float, rng: np.random.Generator
    ) -> None:
        """Draw the vectors given those of the other category, (n_others, rank)."""
        vectors = self.drawn[self._known]
        history = self._history
        if history is None:
            told, (mean, prior) = np.zeros(1), _prior(vectors, np.empty((0, 1)), rng)
        else:
            mean, prior = _prior(vectors - history.told, history.scaled, rng)
            history.draw(vectors - mean, prior, rng)
            told = history.told
        linear = precision * (self._incidence.times(residual) @ others) + (mean + told) @ prior
        upper = np.triu_indices(len(mean))
        squares = others[:, upper[0]] * others[:, upper[1]]
        self.drawn, self.expected = np.empty((2, len(self.drawn), len(mean)))
        self.drawn[self._unknown] = self.expected[self._unknown] = mean
        for start in range(0, len(self._known), _LEVELS_AT_ONCE):
            part = slice(start, start + _LEVELS_AT_ONCE)
            levels = self._known[part]
            flat = precision * (self._incidence.weights[part] @ squares)
            precisions = np.empty((len(flat), len(mean), len(mean)))
            precisions[:, upper[0], upper[1]] = precisions[:, upper[1], upper[0]] = flat
            self.drawn[levels], self.expected[levels] = _gaussians(
                precisions + prior, linear[part], rng
            )


class History:
    """What the vectors of a category are expected to be, given what its levels were seen with.

    Whom an item was rated by tells of it, whatever the ratings: Koren (2008), "Factorization meets
    the neighborhood", section 4, adds a vector for each item that a user has rated, over the root
    of their number. Here the mean of the prior is such a sum, with a Gaussian prior of its own,
    drawn as in Simm et al. (2017), "Macau: scalable Bayesian factorization with high-dimensional
    side information using MCMC", section 3.2.

    Parameters
    ----------
    weights : sparse matrix of shape (n_levels, n_others)
        An entry for each row of the table.
    most : int
        Most frequent of the others that count.

    Attributes
    ----------
    told : array of shape (n_levels, rank)
        The expectation now, beside the mean of all levels; 0 at first.
    scaled : array of shape (n_summands, rank)
        The summands, of the same precision as the vectors around their expectation; none at first.
    """

    def __init__(self, weights: Any, most: int) -> None:
        from scipy.sparse import csr_matrix

        counts = np.bincount(weights.indices, minlength=weights.shape[1])
        chosen = np.sort(np.argsort(-counts, kind="stable")[:most])
        entries = np.ones(weights.nnz), weights.indices, weights.indptr
        seen = csr_matrix(entries, shape=weights.shape)[:, chosen]
        numbers = np.maximum(np.diff(weights.indptr), 1)
        seen.data /= np.sqrt(np.repeat(numbers, np.diff(seen.indptr)))
        self._seen: Any = seen
        self._sizes, self._basis = np.linalg.eigh((seen.T @ seen).toarray())
        self._shrinkage = 1.0
        self.told: Floats = np.zeros(1)
        self.scaled: Floats = np.empty((0, 1))

    def draw(self, vectors: Floats, prior: Floats, rng: np.random.Generator) -> None:
        """Draw the summands given vectors (n_levels, rank) around their mean.

        ``prior`` is the precision of the vectors around their expectation.
        """
        # Of the covariance that belongs to the precision.
        root = np.linalg.inv(np.linalg.cholesky(prior))
        shape = self._seen.shape[1], vectors.shape[1]
        noise = rng.normal(size=shape) @ root, rng.normal(size=vectors.shape) @ root
        linear = self._seen.T @ (vectors + noise[1]) + np.sqrt(self._shrinkage) * noise[0]
        shrunk = (self._basis.T @ linear) / (self._sizes + self._shrinkage)[:, None]
        summands = self._basis @ shrunk
        self.told = self._seen @ summands
        size = np.sum((summands @ prior) * summands)
        self._shrinkage = float(rng.gamma(1.0 + 0.5 * summands.size) / (1.0 + 0.5 * size))
        self.scaled = np.sqrt(self._shrinkage) * summands


def _gaussians(
    precisions: Floats, linear: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw from Gaussians of precision P and mean P⁻¹ b; return the draws and the means.

    ``precisions`` is (n, k, k), ``linear``, b, is (n, k).
    """
    factors = np.linalg.cholesky(precisions)
    half = np.linalg.solve(factors, linear[:, :, None])
    both = np.concatenate([half + rng.normal(size=half.shape), half], axis=2)
    both = np.linalg.solve(factors.transpose(0, 2, 1), both)
    return both[:, :, 0], both[:, :, 1]


def _prior(vectors: Floats, centred: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the mean (k,) and the precision (k, k) of the Gaussian that vectors (n, k) come from.

    Salakhutdinov and Mnih (2008), equation 14, with W₀ = 1, ν₀ = k, μ₀ = 0. ``centred``, (m, k) or
    nothing, are further vectors of that precision, around 0.
    """
    n, k = vectors.shape
    mean = vectors.mean(axis=0)
    spread = vectors - mean
    shift = n * _MEAN_ROWS / (n + _MEAN_ROWS)
    scatter = np.eye(k) + spread.T @ spread + shift * np.outer(mean, mean) + centred.T @ centred
    precision = _wishart(np.linalg.inv(scatter), n + len(centred) + k, rng)
    factor = np.linalg.cholesky((n + _MEAN_ROWS) * precision)
    noise = np.linalg.solve(factor.T, rng.normal(size=k))
    return n * mean / (n + _MEAN_ROWS) + noise, precision


def _wishart(scale: Floats, freedom: int, rng: np.random.Generator) -> Floats:
    """Draw from a Wishart distribution: Bartlett's decomposition."""
    k = len(scale)
    triangle = np.tril(rng.normal(size=(k, k)), -1)
    triangle[np.diag_indices(k)] = np.sqrt(rng.chisquare(freedom - np.arange(k)))
    root = np.linalg.cholesky(0.5 * (scale + scale.T)) @ triangle
    drawn: Floats = root @ root.T
    return drawn
