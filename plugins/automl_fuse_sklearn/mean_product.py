"""The mean of many products of thin matrices, as one such product."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from automl_fuse.specs import Floats

_AT_ONCE = 6
"""Products that are put side by side before they are compressed."""
_LEAST = 1e-8
"""Directions of less than this share of the largest are rounding."""


class MeanProduct:
    """The mean of products ``left @ right.T`` that are added one by one, to a given rank.

    Neither the products nor their mean, which may have billions of cells, are computed. What is
    kept are the singular vectors of the mean so far.

    Parameters
    ----------
    rank : int
        Singular values that are kept.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._left: list[Floats] = []
        self._right: list[Floats] = []
        self._count = 0

    def add(self, left: Floats, right: Floats) -> None:
        """Add the product of (n_left, k) and (n_right, k)."""
        self._left.append(left.copy())
        self._right.append(right.copy())
        self._count += 1
        if len(self._left) > _AT_ONCE:
            self._compress()

    def factors(self) -> tuple[Floats, Floats]:
        """Return two matrices, (n_left, rank) and (n_right, rank), whose product is the mean."""
        self._compress()
        return self._left[0] / self._count, self._right[0]

    def _compress(self) -> None:
        left, right = truncated(np.hstack(self._left), np.hstack(self._right), self._rank)
        self._left, self._right = [left], [right]


def truncated(left: Floats, right: Floats, rank: int) -> tuple[Floats, Floats]:
    """Return thinner factors of the best approximation of ``left @ right.T`` of this rank.

    Its singular vectors, from the eigenvectors of the two small Gram matrices: products of tall
    matrices are the only work that grows with the number of rows.
    """
    left_basis, left_sizes = _basis(left)
    right_basis, right_sizes = _basis(right)
    core = left_sizes[:, None] * (left_basis.T @ right_basis) * right_sizes
    u, sizes, v = np.linalg.svd(core, full_matrices=False)
    root = np.sqrt(sizes[:rank])
    to_left = left_basis @ (_inverse(left_sizes)[:, None] * u[:, :rank] * root)
    to_right = right_basis @ (_inverse(right_sizes)[:, None] * v[:rank].T * root)
    return left @ to_left, right @ to_right


def _basis(matrix: Floats) -> tuple[Floats, Floats]:
    """Return the right singular vectors (k, k) of a matrix, and its singular values (k,)."""
    squares, basis = np.linalg.eigh(matrix.T @ matrix)
    return basis, np.sqrt(np.maximum(squares, 0.0))


def _inverse(sizes: Floats) -> Floats:
    """Return one over each size, 0 where that would be rounding."""
    sound = sizes > _LEAST * sizes.max(initial=0.0)
    return np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sound)
