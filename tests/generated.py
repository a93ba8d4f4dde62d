"""Frames of every sort, generated: kinds of column and of table, targets, and rows to predict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse
from hypothesis import strategies as st

Make = Callable[[np.random.Generator, int], Any]

WORDS = ("red", "green", "blue", "", " ", "Größe", "=1+1", "<b>x</b>", "\x1b[31m", "a\nb", "😀")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu")


def _days(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.datetime64("2020-01-01", "us") + rng.integers(0, 10**14, n).astype("timedelta64[us]")


def _texts(rng: np.random.Generator, n: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(n)]


def _picked(*cells: Any) -> Make:
    """Return columns whose cells are some of these."""

    def make(rng: np.random.Generator, n: int) -> list[Any]:
        return [cells[k] for k in rng.integers(0, len(cells), n)]

    return make


COLUMNS: dict[str, Make] = {
    "floats": lambda rng, n: rng.normal(size=n),
    "extreme floats": _picked(1e308, -1e308, 5e-324, 0.0, -0.0, np.inf, -np.inf, np.nan, 1.5),
    "half floats": lambda rng, n: rng.normal(size=n).astype(np.float16),
    "integers": lambda rng, n: rng.integers(-5, 5, n),
    "small integers": lambda rng, n: rng.integers(0, 3, n).astype(np.int8),
    "unsigned": lambda rng, n: rng.integers(2**63, 2**64, n, dtype=np.uint64),
    "huge integers": _picked(10**30, -(10**30), 0, 10**400),
    "row numbers": lambda rng, n: np.arange(n),
    "booleans": lambda rng, n: rng.random(n) < 0.5,
    "words": lambda rng, n: rng.choice(["a", "b", "c"], n).tolist(),
    "odd words": lambda rng, n: rng.choice(WORDS, n).tolist(),
    "many words": lambda rng, n: [f"w{k}" for k in rng.integers(0, 80, n)],
    "texts": _texts,
    "numbers as text": lambda rng, n: [f"{x:.2f}" for x in rng.normal(size=n)],
    "dates as text": lambda rng, n: [str(day)[:10] for day in _days(rng, n)],
    "nulls as text": _picked("", "NA", "nan", "1", "?", "-"),
    "dates": _days,
    "extreme dates": _picked(dt.datetime.min, dt.datetime.max, dt.datetime(2020, 1, 1)),
    "zoned dates": lambda rng, n: pd.Series(pd.DatetimeIndex(_days(rng, n), tz=rng.choice(ZONES))),
    "zones of objects": _picked(
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2021, 1, 1), dt.date(2020, 5, 5)
    ),
    "durations": lambda rng, n: rng.integers(0, 10**9, n).astype("timedelta64[s]"),
    "times": _picked(dt.time(1, 2, 3), dt.time(23, 59)),
    "decimals": _picked(Decimal("1.50"), Decimal(-3), Decimal("NaN"), Decimal("1e500")),
    "bytes": _picked(b"a", b"", b"\xff\x00", b"\x89PNG\r\n\x1a\n"),
    "lists": lambda rng, n: [rng.normal(size=rng.integers(0, 4)).tolist() for _ in range(n)],
    "lists of words": lambda rng, n: [["a"] * int(rng.integers(0, 3)) for _ in range(n)],
    "matrices": lambda rng, n: [rng.integers(0, 255, (4, 4), dtype=np.uint8) for _ in range(n)],
    "dicts": lambda rng, n: [{"a": 1}] * n,
    "complex": lambda rng, n: rng.normal(size=n) + 1j,
    "mixed": _picked(1, "two", 3.5, None, True, dt.date(2020, 1, 1)),
    "mixed deeply": _picked(1, [1], "x", {"a": 1}, b"y", object),
    "flags and numbers": _picked(True, 0, 2.5),
    "all missing": lambda rng, n: [None] * n,
    "all not a time": lambda rng, n: [pd.NaT] * n,
    "constant": lambda rng, n: ["same"] * n,
    "categories": lambda rng, n: pd.Series(pd.Categorical(rng.choice(["x", "y"], n))),
    "ordered categories": lambda rng, n: pd.Series(
        pd.Categorical(rng.choice([3, 1], n), categories=[3, 1, 2], ordered=True)
    ),
    "categories of dates": lambda rng, n: pd.Series(pd.Categorical(_days(rng, n)[: n // 2 + 1][
        rng.integers(0, n // 2 + 1, n)] if n else _days(rng, n))),
    "nullable integers": lambda rng, n: pd.array(_picked(1, 2, None)(rng, n), dtype="Int64"),
    "nullable floats": lambda rng, n: pd.array(_picked(1.5, 2, None)(rng, n), dtype="Float32"),
    "nullable flags": lambda rng, n: pd.array(_picked(True, False, None)(rng, n), dtype="boolean"),
    "strings": lambda rng, n: pd.array(_picked("a", "b", None)(rng, n), dtype="string"),
    "arrow strings": lambda rng, n: pd.array(
        _picked("a", "b", None)(rng, n), dtype=pd.ArrowDtype(pa.string())
    ),
    "arrow lists": lambda rng, n: pd.array(
        _picked([1], [], None)(rng, n), dtype=pd.ArrowDtype(pa.list_(pa.int64()))
    ),
    "periods": lambda rng, n: pd.Series(pd.PeriodIndex(_days(rng, n), freq="M")),
    "intervals": lambda rng, n: pd.Series(
        pd.IntervalIndex.from_arrays(np.arange(n), np.arange(n) + 1.0)
    ),
    "sparse": lambda rng, n: pd.arrays.SparseArray(rng.integers(0, 2, n) * 1.0, fill_value=0.0),
}  # fmt: skip

TARGETS: dict[str, Make] = {
    "binary": lambda rng, n: rng.choice(["no", "yes"], n),
    "flags": lambda rng, n: rng.random(n) < 0.5,
    "classes": lambda rng, n: rng.choice(list("abcd"), n),
    "integers": lambda rng, n: rng.integers(0, 4, n),
    "numbers": lambda rng, n: rng.normal(size=n),
    "long tail": lambda rng, n: np.exp(3 * rng.normal(size=n)),
    "rare": lambda rng, n: np.where(np.arange(n) == 0, "rare", "common"),
    "with gaps": _picked(1.5, 2.5, None, np.nan, 7.0),
    "labels with gaps": _picked("a", "b", None),
    **{f"as column: {name}": make for name, make in COLUMNS.items()},
}
TAME_TARGETS = (
    "binary", "flags", "classes", "integers", "numbers", "long tail", "rare", "with gaps",
    "labels with gaps", "as column: booleans", "as column: floats", "as column: decimals",
    "as column: nullable integers", "as column: strings", "as column: categories",
    "as column: ordered categories", "as column: integers",
)  # fmt: skip
REFUSED = frozenset({
    "bytes", "complex", "dicts", "extreme dates", "huge integers", "lists of words",
    "mixed deeply", "matrices",
})  # fmt: skip
"""Sorts of column that make the whole table unusable, or that are slow to read."""
NAMES = (
    "a", "b", "c", "", " ", "a ", "A", "größe 😀", 'x["1"] <= 2', "a\nb", "=cmd()", "target", "y",
    "\x1b[2J", "__index__", "lock", "../up", "%s {0} {name}", "null", "0",
)  # fmt: skip
CONTAINERS = ("pandas", "dict", "rows", "polars", "arrow", "objects", "array", "sparse")


@dataclass(frozen=True)
class Case:
    """A training table and its target, and a table to predict."""

    train: Any
    y: Any
    rows: Any
    told: str

    def __repr__(self) -> str:
        return self.told


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw the sorts of things, and make the cells from a seed: cells one by one take too long."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tame = rng.random() < 0.7  # else most of it is refused, and little is seen
    n = draw(st.sampled_from([12, 30, 60, 61, 120, 300] if tame else [0, 1, 2, 3, 5, 12, 60]))
    known = sorted(COLUMNS.keys() - REFUSED if tame else COLUMNS)
    sorts = draw(st.lists(st.sampled_from(known), min_size=1, max_size=5))
    names: list[Any] = [draw(st.sampled_from(NAMES)) for _ in sorts]
    if tame or draw(st.booleans()):  # else some of them may be the same
        names = [f"{name}{k}" if k else name for k, name in enumerate(names)]
    odd = draw(st.sampled_from(["", "integers"] if tame else ["", "tuples", "mixed", "none"]))
    names = [_odd_name(odd, name, k) for k, name in enumerate(names)]
    target = draw(st.sampled_from(TAME_TARGETS if tame else sorted(TARGETS)))
    share = draw(st.sampled_from([0.0, 0.0, 0.1, 0.9]))
    container = draw(st.sampled_from(("pandas", *CONTAINERS)))
    change = draw(st.sampled_from(sorted(CHANGES)))
    columns = [_holed(COLUMNS[sort](rng, n), share, rng) for sort in sorts]
    fresh = [COLUMNS[sort](rng, 7) for sort in sorts]
    train = _contained(container, names, columns, n)
    rows = CHANGES[change](names, fresh, rng)
    told = f"{container} of {n} rows, {dict(enumerate(sorts))}, names {names}, {share:.0%} missing"
    return Case(train, TARGETS[target](rng, n), rows, f"{told}, target {target}, then {change}")


def _odd_name(odd: str, name: str, k: int) -> Any:
    return {"integers": k, "tuples": (name, k), "none": None if k == 0 else name}.get(
        odd, k if odd == "mixed" and k % 2 else name
    )


def _holed(cells: Any, share: float, rng: np.random.Generator) -> Any:
    """Return cells of which a share is missing, where they can be."""
    if not share or not len(cells):
        return cells
    series = pd.Series(cells) if not isinstance(cells, list) else pd.Series(cells, dtype=object)
    holes = rng.random(len(series)) < share
    try:
        return series.mask(holes)
    except (TypeError, ValueError):
        return cells


def _contained(container: str, names: list[Any], columns: list[Any], n: int) -> Any:
    """Return the columns in a container, or in a pandas frame where it cannot hold them."""
    try:
        return _CONTAINED[container](names, columns)
    except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - of each library, its own
        return _pandas(names, columns)


def _pandas(names: list[Any], columns: list[Any]) -> pd.DataFrame:
    parts = [
        pd.Series(c, dtype=object) if isinstance(c, list) else pd.Series(c).reset_index(drop=True)
        for c in columns
    ]
    frame = pd.concat(parts, axis=1)
    frame.columns = pd.Index(names, dtype=object) if not _all_tuples(names) else (
        pd.MultiIndex.from_tuples(names)
    )  # fmt: skip
    if len(frame) % 2:
        frame.index = pd.MultiIndex.from_product([["a"], range(len(frame))])
    return frame


def _all_tuples(names: list[Any]) -> bool:
    return all(isinstance(name, tuple) for name in names)


def _rows(names: list[Any], columns: list[Any]) -> list[dict[Any, Any]]:
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _numbers(columns: list[Any]) -> np.ndarray:
    return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])


_CONTAINED: dict[str, Callable[[list[Any], list[Any]], Any]] = {
    "pandas": _pandas,
    "dict": lambda names, columns: dict(zip(names, columns, strict=True)),
    "rows": _rows,
    "polars": lambda names, columns: pl.DataFrame(
        {
            name: pl.Series(values=list(c), strict=False)
            for name, c in zip(names, columns, strict=True)
        }
    ),
    "arrow": lambda names, columns: pa.table([pa.array(list(c)) for c in columns], names=names),
    "objects": lambda names, columns: np.array(_pandas(names, columns), dtype=object),
    "array": lambda names, columns: _numbers(columns),
    "sparse": lambda names, columns: scipy.sparse.csr_matrix(_numbers(columns)),
}

Change = Callable[[list[Any], list[Any], np.random.Generator], Any]


def _shuffled(names: list[Any], columns: list[Any], rng: np.random.Generator) -> pd.DataFrame:
    frame = _pandas(names, columns)
    return frame.iloc[:, rng.permutation(frame.shape[1])]


def _with_extra(names: list[Any], columns: list[Any], rng: np.random.Generator) -> pd.DataFrame:
    return _pandas([*names, "extra column"], [*columns, rng.normal(size=7)])


def _of_other_sorts(names: list[Any], columns: list[Any], rng: np.random.Generator) -> Any:
    sorts = rng.choice(sorted(COLUMNS), len(names))
    return _pandas(names, [COLUMNS[sort](rng, 7) for sort in sorts])


CHANGES: dict[str, Change] = {
    "the same": lambda names, columns, rng: _pandas(names, columns),
    "shuffled": _shuffled,
    "extra": _with_extra,
    "without one": lambda names, columns, rng: _pandas(names, columns).iloc[:, 1:],
    "as objects": lambda names, columns, rng: _pandas(names, columns).astype(object),
    "as texts": lambda names, columns, rng: _pandas(names, columns).map(str),
    "no rows": lambda names, columns, rng: _pandas(names, columns).iloc[:0],
    "one row": lambda names, columns, rng: _pandas(names, columns).iloc[:1],
    "all missing": lambda names, columns, rng: _pandas(names, [[None] * 7 for _ in names]),
    "of other sorts": _of_other_sorts,
    "a dict": lambda names, columns, rng: dict(zip(names, columns, strict=True)),
    "dicts": lambda names, columns, rng: _rows(names, columns),
    "polars": lambda names, columns, rng: _contained("polars", names, columns, 7),
    "arrow": lambda names, columns, rng: _contained("arrow", names, columns, 7),
    "an array": lambda names, columns, rng: _contained("objects", names, columns, 7),
    "a series": lambda names, columns, rng: pd.Series([1, 2, 3]),
    "nothing": lambda names, columns, rng: None,
    "columns of unequal length": lambda names, columns, rng: {"a": [1, 2], "b": [1]},
}
