"""The only maker of splits and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Task

Indices = NDArray[np.intp]

SMALL_TABLE = 5_000
LARGE_TABLE = 200_000
HOLDOUT_ROWS = 50_000
"""Rows that validate where one fold must do: enough to tell members apart by a thousandth of a
log-loss, few enough to be encoded and predicted by all of them."""
HOLDOUT_SHARE = 0.2
"""Share of the rows that validate, at most, where one fold must do."""
HOLDOUT_TABLE = 20_000
"""Rows from which a fifth of them chooses well among members. Below ``SMALL_TABLE`` one fold never
does: members would be chosen by chance."""
FEWEST_MEMBERS = ((50_000, 20.0), (HOLDOUT_TABLE, 6.0), (SMALL_TABLE, 1.5))
"""Rows, and the cheap members for which there should be time on all folds of so many or more."""
FEWEST_OF_CLASS = 20
"""Rows of each class that a sample holds at least, if there are so many."""
_SECONDS_A_CELL = 6.5e-7
"""See ``holdout_by_cost``."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Positions of the rows that train and of those that validate."""

    train: Indices
    valid: Indices


def seed_of(seed: int, *parts: object) -> int:
    """Derive an independent 31-bit seed from a seed and the names of what it is for."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) & 0x7FFFFFFF


def default_n_folds(n_rows: int) -> int:
    """Return how many folds a table of this size is worth."""
    if n_rows < SMALL_TABLE:
        return min(8, n_rows)
    return 5 if n_rows < LARGE_TABLE else 3


def make_folds(
    y: Array,
    task: Task,
    seed: int,
    *,
    folds: Any = None,
    groups: Array | None = None,
    order: Array | None = None,
    holdout: int | None = None,
) -> tuple[Fold, ...]:
    """Split rows for cross-validation, or once.

    Parameters
    ----------
    y : array of shape (n_rows,)
        Class codes or target values; folds are balanced on it where the split is free.
    task : Task
        What is predicted.
    seed : int
        Seed of the shuffle.
    folds : int, scikit-learn splitter, iterable of (train, valid) positions, optional
        How to split; a number chosen by size if absent.
    groups : array of shape (n_rows,), optional
        Rows of one group are never on both sides.
    order : array of numbers or datetimes of shape (n_rows,), optional
        Validate every fold on rows later in this order than those it was trained on.
    holdout : int, optional
        Where ``folds`` says nothing: make a single fold, which about so many rows validate. See
        ``holdout_by_cost``.

    Raises
    ------
    SettingsError
        If the wish cannot be met with these rows.
    """
    if folds is not None and not isinstance(folds, (int, np.integer)):
        return _given(folds, y, groups)
    if order is not None and groups is not None:
        raise SettingsError("groups and time_column exclude each other: give a splitter as folds.")
    if folds is None and holdout is not None:
        return _held_out(y, task, seed, max(2, len(y) // max(1, holdout)), (groups, order))
    n_folds = _checked_count(folds, len(y))
    if order is not None:
        return _forward(order, n_folds)
    if groups is not None:
        return _grouped(y, task, groups, n_folds, seed)
    return _from_assignment(_balanced(y, n_folds, seed), n_folds)


def _held_out(
    y: Array, task: Task, seed: int, n_parts: int, given: tuple[Array | None, Array | None]
) -> tuple[Fold, ...]:
    """Return one of so many folds: any but in time, where the last rows validate."""
    groups, order = given
    if order is not None:
        return _forward(order, n_parts)[-1:]
    if groups is not None:
        return _grouped(y, task, groups, n_parts, seed)[:1]
    is_valid = _balanced(y, n_parts, seed) == 0
    return (Fold(train=np.flatnonzero(~is_valid), valid=np.flatnonzero(is_valid)),)


def holdout_by_cost(
    n_rows: int, n_features: int, n_outputs: int, seconds: float, n_workers: int
) -> int | None:
    """Return how many rows one fold should validate, or None where several folds fit the time.

    Several folds give better ensembles, and every row helps to choose members. But a run without
    the time for ``FEWEST_MEMBERS`` cheap members on all folds has nothing to choose among; of many
    rows the held-out ones choose as well, and are fewer to give up.

    Parameters
    ----------
    n_rows, n_features : int
        Of the table.
    n_outputs : int
        Trees of one boosting iteration: 1, or the number of classes if there are more than two.
    seconds : float
        Of the search.
    n_workers : int
        Fits at the same time. On large tables one fit has several threads, which encoders and some
        learners do not use.

    Notes
    -----
    The cheap member is 100 iterations of boosted trees of 31 leaves. They took 6.4e-7 CPU
    seconds a row and column of LightGBM on 90,000 rows of 30 columns, on a 2-core cloud machine.
    On 150,000 such rows, in 60 s on two cores, 17 members of one fold had a test log-loss of 0.492,
    and 6 of five folds 0.506.
    """
    if n_rows < SMALL_TABLE:
        return None
    member = _SECONDS_A_CELL * n_rows * n_features * n_outputs
    fewest = next(members for rows, members in FEWEST_MEMBERS if n_rows >= rows)
    if fewest * default_n_folds(n_rows) * member <= seconds * n_workers:
        return None
    return min(HOLDOUT_ROWS, round(HOLDOUT_SHARE * n_rows))


def sampled(rows: Indices, y: Array, n_rows: int, seed: int, *, classes: bool) -> Indices:
    """Return about so many of these rows, balanced on their target.

    Parameters
    ----------
    rows : array of positions
        What is drawn from.
    y : array of shape (n_all_rows,)
        Target of all rows: class codes or values.
    n_rows : int
        Rows wanted; slightly more are returned where classes are rare.
    seed : int
        The same seed, the same rows.
    classes : bool
        Whether the target holds classes: of each, 20 rows are kept if there are so many.

    Returns
    -------
    array of positions
        In rising order.
    """
    rng = np.random.default_rng(seed)
    shuffled = rows[rng.permutation(len(rows))]
    ranked = shuffled[np.argsort(y[shuffled], kind="stable")]
    # Systematic sampling: every k-th row along the target, from a random start.
    chosen = ((np.arange(n_rows) + rng.random()) * (len(rows) / n_rows)).astype(np.intp)
    if classes:
        _, starts, counts = np.unique(y[ranked], return_index=True, return_counts=True)
        kept = np.minimum(counts, FEWEST_OF_CLASS)
        rare = [np.arange(start, start + k) for start, k in zip(starts, kept, strict=True)]
        chosen = np.union1d(chosen, np.concatenate(rare))
    return np.sort(ranked[chosen])


def cross_fitting(y: Array, n_splits: int, seed: int) -> tuple[tuple[Indices, Indices], ...]:
    """Split OOF rows into (choose, score) parts, balanced on ``y``, for cross-fitted fusion."""
    n_splits = max(2, min(n_splits, len(y)))
    return tuple(
        (fold.train, fold.valid)
        for fold in _from_assignment(_balanced(y, n_splits, seed), n_splits)
    )


def _checked_count(folds: int | np.integer[Any] | None, n_rows: int) -> int:
    n_folds = default_n_folds(n_rows) if folds is None else int(folds)
    if n_folds < 2 or n_folds > n_rows:
        raise SettingsError(
            f"folds={n_folds} cannot split {n_rows} rows: give a number from 2 to {n_rows}."
        )
    return n_folds


def _balanced(y: Array, n_folds: int, seed: int) -> Indices:
    """Deal rows to folds in order of ``y``, so that every fold sees its whole range.

    Unlike stratified k-fold this needs no minimum of members a class: a class with one
    member is in one fold.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(y))
    ranked = shuffled[np.argsort(y[shuffled], kind="stable")]
    n_blocks, n_left = divmod(len(y), n_folds)
    blocks = np.tile(np.arange(n_folds, dtype=np.intp), (n_blocks, 1))
    dealt = rng.permuted(blocks, axis=1).ravel()
    assignment = np.empty(len(y), dtype=np.intp)
    assignment[ranked] = np.concatenate([dealt, rng.permutation(n_folds)[:n_left]])
    return assignment


def _from_assignment(assignment: Indices, n_folds: int) -> tuple[Fold, ...]:
    return tuple(
        Fold(train=np.flatnonzero(assignment != k), valid=np.flatnonzero(assignment == k))
        for k in range(n_folds)
    )


def _forward(order: Array, n_folds: int) -> tuple[Fold, ...]:
    """Make expanding windows: all blocks before the one that validates a fold train it."""
    if bool(np.any(np.isnat(order) if order.dtype.kind == "M" else np.isnan(order))):
        raise SettingsError("time_column has missing values: drop those rows or fill them.")
    ranked = np.argsort(order, kind="stable")
    blocks = np.array_split(ranked, n_folds + 1)
    if len(blocks[0]) == 0 or len(blocks[-1]) == 0:
        raise SettingsError(f"{len(order)} rows are too few for {n_folds} forward folds.")
    return tuple(
        Fold(train=np.sort(np.concatenate(blocks[: k + 1])), valid=np.sort(blocks[k + 1]))
        for k in range(n_folds)
    )


def _grouped(y: Array, task: Task, groups: Array, n_folds: int, seed: int) -> tuple[Fold, ...]:
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise SettingsError("groups holds a single group: at least two are needed to split.")
    n_folds = min(n_folds, n_groups)
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    rare = task.is_classification and np.bincount(y).min() < n_folds
    splitter = (
        StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        if task.is_classification and not rare
        else GroupKFold(n_folds, shuffle=True, random_state=seed)
    )
    return _given(splitter, y, groups)


def _given(splitter: Any, y: Array, groups: Array | None) -> tuple[Fold, ...]:
    """Read folds from a scikit-learn splitter or from pairs of positions."""
    pairs: Iterable[Sequence[Any]]
    if hasattr(splitter, "split"):
        positions = np.arange(len(y)).reshape(-1, 1)
        try:
            pairs = list(splitter.split(positions, y, groups))
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"folds={splitter!r} cannot split this table of {len(y)} rows: {error}"
            ) from error
    elif isinstance(splitter, Iterable):
        pairs = list(splitter)
    else:
        raise SettingsError(
            f"folds={splitter!r} is neither a number, a scikit-learn splitter, nor a list of "
            "(train, valid) positions."
        )
    made = tuple(_checked_fold(number, pair, len(y)) for number, pair in enumerate(pairs))
    if not made:
        raise SettingsError("folds gives no fold: at least one (train, valid) pair is needed.")
    return made


def _checked_fold(number: int, pair: Sequence[Any], n_rows: int) -> Fold:
    try:
        train, valid = (np.asarray(part) for part in pair)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"fold {number} is not a pair of positions: {error}") from error
    sides = []
    for side, rows in (("train", train), ("valid", valid)):
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows
        if positions.size == 0 or positions.dtype.kind not in "iu":
            raise SettingsError(f"fold {number} has no rows in its {side} part.")
        if positions.min() < 0 or positions.max() >= n_rows:
            raise SettingsError(
                f"fold {number}: its {side} part names row {positions.max()}, but rows go from "
                f"0 to {n_rows - 1} (rows without a target are dropped before splitting)."
            )
        sides.append(positions.astype(np.intp))
    if np.intersect1d(sides[0], sides[1]).size:
        raise SettingsError(f"fold {number} validates on rows that it trains on.")
    return Fold(train=sides[0], valid=sides[1])
