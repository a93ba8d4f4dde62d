"""Views of a forest: trees that share a target, leaves of each tree, nodes made leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Forest


_SAME = 1e-6
"""Largest difference of sums that are taken for equal."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trees, and the targets that these trees and no others add to.

    Attributes
    ----------
    trees : array of shape (n_trees,)
        Positions in the forest, rising.
    targets : array of shape (n_targets,)
        One, or all where leaves have a value for each.
    """

    trees: NDArray[np.intp]
    targets: NDArray[np.intp]


def groups_of(forest: Forest) -> Iterator[Group]:
    """Yield the groups of a forest that have any trees."""
    if forest.target is None:
        yield Group(trees=np.arange(forest.n_trees), targets=np.arange(forest.n_targets))
        return
    for target in range(forest.n_targets):
        trees = np.flatnonzero(forest.target == target)
        if len(trees):
            yield Group(trees=trees, targets=np.array([target]))


@dataclass(frozen=True)
class Leaves:
    """Which tree each leaf belongs to.

    Attributes
    ----------
    tree : array of shape (n_leaves,)
        The tree; ``n_trees`` for a leaf that none leads to.
    number : array of shape (n_leaves,)
        Number of the leaf among those of its tree, or -1.
    of_tree : tuple of array
        Leaves of each tree, in the order of their numbers.
    """

    tree: NDArray[np.int64]
    number: NDArray[np.int64]
    of_tree: tuple[NDArray[np.intp], ...]

    @staticmethod
    def of(forest: Forest) -> Leaves:
        """Find the leaves of each tree."""
        tree = _tree_of_leaves(forest)
        order = np.argsort(tree, kind="stable")
        ends = np.cumsum(np.bincount(tree, minlength=forest.n_trees + 1))
        of_tree = tuple(np.split(order, ends[:-1])[: forest.n_trees])
        number = np.full(len(tree), -1)
        for leaves in of_tree:
            number[leaves] = np.arange(len(leaves))
        return Leaves(tree, number, of_tree)


def _tree_of_leaves(forest: Forest) -> NDArray[np.int64]:
    owner = np.full(len(forest.leaf), forest.n_trees, dtype=np.int64)
    at, trees = forest.roots, np.arange(forest.n_trees)
    while len(at):
        is_leaf = at < 0
        owner[~at[is_leaf]] = trees[is_leaf]
        nodes, trees = at[~is_leaf], trees[~is_leaf]
        at = np.concatenate([forest.true[nodes], forest.false[nodes]])
        trees = np.concatenate([trees, trees])
    return owner


def second_only(forest: Forest) -> Forest | None:
    """Return the trees of the second of two probabilities, if the first makes up for it.

    That is, if the leaves of each tree have one sum, and all sums are 1; None if not. A leaf
    then has one value, and those of unlike trees can be equal.
    """
    if forest.target is not None or forest.n_targets != 2:
        return None
    total = forest.leaf.sum(axis=1)
    of_trees = [total[leaves] for leaves in Leaves.of(forest).of_tree]
    if any(np.ptp(of_tree) > _SAME for of_tree in of_trees):
        return None
    if abs(forest.base.sum() + sum(float(each[0]) for each in of_trees) - 1.0) > _SAME:
        return None
    target = np.zeros(forest.n_trees, dtype=np.int64)
    return replace(forest, leaf=forest.leaf[:, 1:], base=forest.base[1:], target=target)


def levels_of(forest: Forest) -> list[NDArray[np.int64]]:
    """Return the nodes of all trees by their depth, roots first."""
    levels = []
    at = forest.roots[forest.roots >= 0]
    while len(at):
        levels.append(at)
        at = np.concatenate([forest.true[at], forest.false[at]])
        at = at[at >= 0]
    return levels


def collapsed(
    forest: Forest, cut: NDArray[np.intp], values: Floats
) -> tuple[Forest, NDArray[np.int64]]:
    """Make leaves of some nodes.

    Parameters
    ----------
    forest : Forest
        The trees.
    cut : array of shape (n_cut,)
        The nodes; of one above another, the upper one counts.
    values : array of shape (n_cut, n_values)
        Values of the leaves that they become.

    Returns
    -------
    forest : Forest
        New leaves come after the old ones, of which some are no longer led to.
    cover : array of shape (n_leaves,)
        The leaf of the new forest that takes the place of each leaf of the old one.
    """
    n_leaves = len(forest.leaf)
    # One more than there are nodes: a child that is a leaf looks there, and finds none.
    leaf_of = np.full(len(forest.feature) + 1, -1)
    leaf_of[cut] = n_leaves + np.arange(len(cut))

    def moved(child: NDArray[np.int64]) -> NDArray[np.int64]:
        leaf = leaf_of[np.where(child >= 0, child, -1)]
        return np.where(leaf >= 0, ~leaf, child)

    above, cover = leaf_of.copy(), np.arange(n_leaves)
    for nodes in levels_of(forest):
        for children in (forest.true[nodes], forest.false[nodes]):
            known = above[nodes] >= 0
            inner, outer = known & (children >= 0), known & (children < 0)
            above[children[inner]] = above[nodes[inner]]
            cover[~children[outer]] = above[nodes[outer]]
    smaller = replace(
        forest,
        roots=moved(forest.roots),
        true=moved(forest.true),
        false=moved(forest.false),
        leaf=np.vstack([forest.leaf, values]),
    )
    return smaller, cover
