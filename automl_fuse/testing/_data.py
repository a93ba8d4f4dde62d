"""Small synthetic tables, made the same way every time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.specs import (
    MISSING_CODE,
    UNSEEN_CODE,
    Array,
    Block,
    Column,
    Columns,
    Floats,
    Kind,
    Matrix,
    Rows,
    Task,
)
from automl_fuse.testing._media import MEDIA, media_cells, odd_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEEP_MISSING = frozenset(
    {"numbers", "codes", "all_codes", "ordinals", "calendar", "arithmetic", "summaries"}
    | {f"{kind}_summary" for kind in ("image", "audio", "sequence")}
)
"""Encoders that leave missing values, as NaN, to the learner."""
GIVE_CODES = frozenset({"codes", "all_codes"})
"""Encoders that give category codes, not numbers."""
CARDINALITY = 4
BLOCKS = {
    "pixels": (Kind.IMAGE, (1, 6, 5)),
    "log_mel": (Kind.AUDIO, (7, 5)),
    "padded_sequence": (Kind.SEQUENCE, (6, 2)),
    "tokens": (Kind.TEXT, (6,)),
}
"""Encoders that give blocks, and of which kind and shape they are in samples."""
N_TOKENS = 9
MAKEABLE = frozenset(kind for kind in Kind if not kind.is_dropped)
"""Kinds of column that ``sample_columns`` can make."""
_MOMENTS = (
    *("NaT", "0001-01-01", "1582-10-15", "1900-02-28T23:59:59.999999", "1900-03-01"),
    *("1969-12-31T23:59:59.999999", "1970-01-01", "2000-02-29T12:30", "2023-12-31T23:59:59.999999"),
    *("2024-02-29", "2024-12-30", "2038-01-19T03:14:08", "2100-03-01", "9999-12-31T23:59:59"),
)
_TEXTS = (
    *("", " ", "\t\n ", "amber", "AMBER Birch", "amber amber amber", "12 -4.5e6 %", "?!…"),
    *("Straße ÅÉÎ ǅ İ", "日本語 テキスト", "🙂 👩‍🔬", "nul \0 inside", "cedar," * 2_000),
)
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron")


def n_classes_of(task: Task) -> int:
    """Return the number of classes in the samples of a task."""
    return {Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 1}[task]


def sample_target(signal: Floats, task: Task, seed: int) -> Array:
    """Return class codes of about equal frequency, or values of mean 0 and deviation 1."""
    noisy = signal + 0.4 * np.random.default_rng(seed).normal(size=len(signal))
    if not task.is_classification:
        values: Floats = (noisy - noisy.mean()) / noisy.std()
        return values
    ranks = np.argsort(np.argsort(noisy, kind="stable"), kind="stable")
    codes: NDArray[np.int64] = (ranks * n_classes_of(task) // len(noisy)).astype(np.int64)
    return codes


def sample_rows(task: Task, encoders: tuple[str, ...], *, n_rows: int, seed: int) -> Rows:
    """Make rows as these encoders would: four numbers, two of them with signal, and a category.

    The category is there if one of the encoders gives codes, and a block with signal for each
    that gives blocks. No value is missing.
    """
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(n_rows, 4))
    signal = numbers[:, 0] + 0.5 * numbers[:, 1]
    X = Matrix.numbers(numbers, [f"x{i}" for i in range(4)])
    if GIVE_CODES.intersection(encoders):
        codes = random.integers(CARDINALITY, size=n_rows).astype(np.float64)
        signal = signal + 0.3 * codes
        category = Matrix(values=codes[:, None], names=("c",), cardinalities=(CARDINALITY,))
        category = replace(category, levels=(tuple("abcdefgh"[:CARDINALITY]),))
        X = Matrix.concatenate([X, category], n_rows)
    for name in encoders:
        if name in BLOCKS:
            block, told = _block(name, random, n_rows)
            signal = signal + 0.5 * told
            X = Matrix.concatenate([X, block], n_rows)
    return Rows(X=X, y=sample_target(signal, task, seed + 1))


def _block(encoder: str, random: np.random.Generator, n_rows: int) -> tuple[Matrix, Floats]:
    """Return a block of noise around a level, or of tokens, and what tells that apart."""
    kind, shape = BLOCKS[encoder]
    n_steps, size = shape[0], math.prod(shape)
    used = random.integers(1, n_steps + 1, size=n_rows)
    level = random.normal(size=n_rows)
    if kind is Kind.TEXT:
        codes = random.integers(2, N_TOKENS, size=(n_rows, *shape))
        codes[:, 0] = np.where(level > 0, 2, 3)
        values = codes.astype(np.float64)
    else:
        spread = (n_rows, *(1,) * len(shape))
        values = level.reshape(spread) + 0.3 * random.normal(size=(n_rows, *shape))
    names = [f"{encoder}[{place}]" for place in range(size)]
    if kind is Kind.IMAGE:
        block = Block(column=encoder, kind=kind, start=0, shape=shape)
        return Matrix.numbers(values.reshape(n_rows, size), names, [block]), level
    n_tokens = N_TOKENS if kind is Kind.TEXT else 0
    block = Block(column=encoder, kind=kind, start=0, shape=shape, length=size, n_tokens=n_tokens)
    beyond = np.arange(n_steps) >= used[:, None]
    values[beyond] = 0.0
    table = np.column_stack([values.reshape(n_rows, size), used])
    told = np.sign(level) if kind is Kind.TEXT else level
    return Matrix.numbers(table, [*names, f"{encoder} (steps)"], [block]), told


def with_missing(X: Matrix) -> Matrix:
    """Replace every third value of each feature, and all of row 0, by NaN."""
    values = X.values.copy()
    for feature in range(values.shape[1]):
        values[feature % 3 :: 3, feature] = np.nan
    values[0] = np.nan
    return replace(X, values=values)


def take(rows: Rows, chosen: NDArray[np.intp]) -> Rows:
    """Return some of the rows."""
    weight = None if rows.weight is None else rows.weight[chosen]
    soft = None if rows.soft is None else rows.soft[chosen]
    return Rows(X=take_matrix(rows.X, chosen), y=rows.y[chosen], weight=weight, soft=soft)


def take_matrix(X: Matrix, chosen: NDArray[np.intp]) -> Matrix:
    """Return some rows of a matrix."""
    return replace(X, values=np.ascontiguousarray(X.values[chosen]))


def first_feature(rows: Rows) -> Rows:
    """Return the rows with their first feature only."""
    X = Matrix.numbers(np.ascontiguousarray(rows.X.values[:, :1]), rows.X.names[:1])
    return replace(rows, X=X)


# --------------------------------------------------------------------------- typed columns


def sample_columns(kinds: frozenset[Kind], *, n_rows: int, seed: int) -> Columns:
    """Make two columns of each kind, about a tenth of their values missing."""
    columns: list[Column] = []
    values: dict[str, Array] = {}
    for kind in sorted(kinds & MAKEABLE):
        for position in range(2):
            random = np.random.default_rng([seed, position, sorted(Kind).index(kind)])
            name = f"{kind}_{position}"
            categories = tuple("abcdef") if kind is Kind.CATEGORY else ()
            columns.append(Column(name=name, kind=kind, reason="sample", categories=categories))
            values[name] = _sample_values(kind, random, n_rows)
    return Columns(columns=tuple(columns), values=values, n_rows=n_rows)


def _sample_values(kind: Kind, random: np.random.Generator, n_rows: int) -> Array:
    missing = random.random(n_rows) < 0.1
    if kind is Kind.CATEGORY:
        codes = random.integers(6, size=n_rows).astype(np.int32)
        return np.where(missing, np.int32(MISSING_CODE), codes)
    if kind is Kind.DATETIME:
        start = np.datetime64("2020-01-01", "us")
        moments = start + random.integers(0, 10**14, size=n_rows).astype("timedelta64[us]")
        return np.where(missing, np.datetime64("NaT", "us"), moments)
    if kind is Kind.TEXT:
        sentences = [" ".join(random.choice(_WORDS, size=4)) for _ in range(n_rows)]
        return np.array([None if m else s for m, s in zip(missing, sentences, strict=True)], object)
    if kind in MEDIA:
        return media_cells(kind, random, missing)
    numbers = random.normal(size=n_rows)
    values = (numbers > 0).astype(np.float64) if kind is Kind.BOOLEAN else numbers
    return np.where(missing, np.nan, values)


def all_missing(columns: Columns) -> Columns:
    """Return the columns with every value missing."""
    empty: dict[Kind, object] = {
        Kind.CATEGORY: MISSING_CODE,
        Kind.DATETIME: np.datetime64("NaT", "us"),
        **dict.fromkeys((Kind.TEXT, *MEDIA)),
    }
    values = {
        c.name: np.full_like(columns.values[c.name], empty.get(c.kind, np.nan))
        for c in columns.columns
    }
    return replace(columns, values=values)


def odd_columns(columns: Columns) -> Columns:
    """Return rows of values that bring out differences between a graph and Python.

    Each row takes one odd value of each column, in an order of its own for each column: numbers
    in single precision, tiny, huge and infinite; all codes, unseen ones included; dates long
    ago and far ahead; empty, long and foreign texts; images, sounds and sequences of other sizes.
    """
    odd = {c.name: _odd_values(c, columns.values[c.name]) for c in columns.columns}
    n_rows = max([len(values) for values in odd.values()], default=0)
    values = {
        name: np.random.default_rng(position).permutation(np.resize(values, n_rows))
        for position, (name, values) in enumerate(odd.items())
    }
    return Columns(columns=columns.columns, values=values, n_rows=n_rows)


def _odd_values(column: Column, values: Array) -> Array:
    if column.kind is Kind.CATEGORY:
        return np.array([*range(len(column.categories)), MISSING_CODE, UNSEEN_CODE], np.int32)
    if column.kind is Kind.DATETIME:
        return np.array(_MOMENTS, dtype="datetime64[us]")
    if column.kind is Kind.TEXT:
        return np.array([None, *_TEXTS], dtype=object)
    if column.kind is Kind.BOOLEAN:
        return np.array([0.0, 1.0, np.nan])
    if column.kind in MEDIA:
        return odd_cells(column.kind, values)
    single = values[:20].astype(np.float32).astype(np.float64)
    sizes = [0.0, 5e-324, 1e-30, 1e6, 2.0**53 + 2, 1e30, 1e300, np.inf]
    return np.concatenate([single, sizes, np.negative(sizes), [np.nan]])


def random_identifiers(*, n_rows: int, per_value: int, seed: int) -> Columns:
    """Make one category column whose values say nothing, each shared by ``per_value`` rows."""
    n_values = n_rows // per_value
    codes = np.repeat(np.arange(n_values, dtype=np.int32), per_value)
    codes = np.random.default_rng(seed).permutation(codes)
    categories = tuple(f"v{i}" for i in range(n_values))
    column = Column(name="who", kind=Kind.CATEGORY, reason="sample", categories=categories)
    return Columns(columns=(column,), values={"who": codes}, n_rows=len(codes))
