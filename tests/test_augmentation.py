"""Rows made from rows: marginals, dependence, kinds of column, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from automl_fuse.augmentation import augment
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Column, Columns, Kind
from automl_fuse.testing._data import sample_columns


def table(n_rows=4_000, seed=0) -> Columns:
    """Four pairs: each ``b`` follows its ``a`` closely; pairs know nothing of each other."""
    rng = np.random.default_rng(seed)
    values = {}
    for pair in range(3):
        a = rng.normal(size=n_rows) if pair else rng.exponential(size=n_rows)
        values[f"a{pair}"] = a
        values[f"b{pair}"] = np.round(10 * a) if pair == 1 else a + 0.1 * rng.normal(size=n_rows)
    code = rng.integers(0, 6, n_rows).astype(np.int32)
    noisy = rng.random(n_rows) < 0.05
    values["a3"] = code
    values["b3"] = np.where(noisy, rng.integers(0, 6, n_rows), code).astype(np.int32)
    columns = tuple(
        Column(
            name=name,
            kind=Kind.CATEGORY if name.endswith("3") else Kind.NUMERIC,
            reason="sample",
            categories=tuple("uvwxyz") if name.endswith("3") else (),
        )
        for name in values
    )
    return Columns(columns=columns, values=values, n_rows=n_rows)


def drawn(made: Columns, source, original: Columns, name: str):
    """Return where a column of a copy has another value than its source."""
    new, old = made.values[name], original.values[name][source]
    if new.dtype.kind == "f":
        return ~((new == old) | (np.isnan(new) & np.isnan(old)))
    return new != old


def largest_gap(one, other) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples."""
    grid = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def test_copies_stand_in_the_order_of_their_rows():
    original = table(500)
    made, source = augment(original, 3, seed=1)
    assert made.n_rows == 1_500
    assert source.tolist() == [*range(500)] * 3
    assert made.columns == original.columns
    # Three quarters of the values are those of the source row.
    kept = np.mean([~drawn(made, source, original, name) for name in made.values])
    assert 0.7 < kept < 0.85


def test_each_copy_takes_values_from_one_other_row():
    n_rows = 300
    names = [f"x{i}" for i in range(8)]
    original = Columns(
        columns=tuple(Column(name=n, kind=Kind.NUMERIC, reason="") for n in names),
        values={n: np.arange(n_rows) + 1_000.0 * i for i, n in enumerate(names)},
        n_rows=n_rows,
    )
    made, source = augment(original, 2, seed=0)
    row = np.stack([made.values[n] - 1_000.0 * i for i, n in enumerate(names)], axis=1)
    changed = row != source[:, None]
    assert (changed.sum(axis=1) == 2).all()  # a quarter of eight, never the row itself
    for values, where in zip(row, changed, strict=True):
        assert len(set(values[where])) == 1


def test_every_column_is_drawn_equally_often():
    original = table(1_000)
    made, source = augment(original, 8, seed=0)
    shares = [drawn(made, source, original, name).mean() for name in ("a0", "b0", "a1", "a2", "b2")]
    assert max(shares) < 1.35 * min(shares)


def test_marginals_are_kept():
    original = table()
    made, _ = augment(original, 2, seed=0)
    for name, column in original.values.items():
        if name.endswith("3"):
            counts = [np.bincount(x, minlength=6) / len(x) for x in (column, made.values[name])]
            assert np.abs(counts[0] - counts[1]).max() < 0.02, name
        else:
            assert largest_gap(column, made.values[name]) < 0.03, name


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_dependence_survives_where_only_one_of_a_pair_was_drawn(pair):
    original = table()
    made, source = augment(original, 2, seed=0)
    a, b = f"a{pair}", f"b{pair}"
    one = drawn(made, source, original, a) ^ drawn(made, source, original, b)
    assert one.sum() > 1_000
    x, y = made.values[a][one], made.values[b][one]
    shuffled = np.random.default_rng(0).permutation(y)
    assert np.corrcoef(x, y)[0, 1] > 0.85
    assert abs(np.corrcoef(x, shuffled)[0, 1]) < 0.1


def test_dependence_of_categories_survives():
    original = table()
    made, _ = augment(original, 2, seed=0)
    agree = [np.mean(t.values["a3"] == t.values["b3"]) for t in (original, made)]
    share_drawn_apart = 0.375  # about: one of the two columns was drawn, at two of eight each
    independent = (1 - share_drawn_apart) * agree[0] + share_drawn_apart / 6
    assert agree[1] > 0.5 * (agree[0] + independent)


def test_the_same_seed_gives_the_same_rows_and_another_does_not():
    original = table(400)
    one, two, three = (augment(original, 2, seed)[0] for seed in (5, 5, 6))
    assert all((one.values[name] == two.values[name]).all() for name in original.values)
    assert any((one.values[name] != three.values[name]).any() for name in original.values)


def test_the_original_is_not_touched():
    original = table(200)
    for values in original.values.values():
        values.flags.writeable = False  # as workers map it
    before = {name: values.copy() for name, values in original.values.items()}
    made, _ = augment(original, 1, seed=0)
    assert all((original.values[name] == before[name]).all() for name in before)
    assert all(values.flags.writeable for values in made.values.values())


def test_every_kind_is_copied_whole_with_its_missing_values():
    kinds = frozenset({Kind.NUMERIC, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATETIME, Kind.TEXT})
    typed = sample_columns(kinds, n_rows=300, seed=0)
    sequences = np.empty(300, dtype=object)
    sequences[:] = [[float(i)] * (i % 4) for i in range(300)]
    codes = typed.values["category_0"].copy()
    codes[:20] = UNSEEN_CODE
    original = Columns(
        columns=(*typed.columns, Column(name="s", kind=Kind.SEQUENCE, reason="")),
        values={**typed.values, "category_0": codes, "s": sequences},
        n_rows=300,
    )
    made, _ = augment(original, 2, seed=0)
    for name, column in original.values.items():
        new = made.values[name]
        assert new.dtype == column.dtype, name
        assert set(map(repr, new)) <= set(map(repr, column)), name
    assert np.isnan(made.values["numeric_0"]).any()
    assert np.isnat(made.values["datetime_0"]).any()
    assert (made.values["category_0"] == MISSING_CODE).any()
    assert None in made.values["text_0"].tolist()
    assert (made.values["s"] != np.tile(sequences, 2)).any()


def test_missing_and_infinite_numbers_go_with_what_they_depend_on():
    rng = np.random.default_rng(0)
    n_rows = 3_000
    group = rng.integers(0, 2, n_rows).astype(np.int32)
    x = np.where(group == 1, np.nan, np.where(rng.random(n_rows) < 0.5, np.inf, 3.0))
    original = Columns(
        columns=(
            Column(name="g", kind=Kind.CATEGORY, reason="", categories=("p", "q")),
            Column(name="x", kind=Kind.NUMERIC, reason=""),
        ),
        values={"g": group, "x": x},
        n_rows=n_rows,
    )
    made, _ = augment(original, 1, seed=0)
    assert (np.isnan(made.values["x"]) == (made.values["g"] == 1)).mean() > 0.98
    assert np.isposinf(made.values["x"]).any()


def test_identifiers_and_constants_stay():
    original = table(200)
    columns = tuple(
        Column(name=c.name, kind=Kind.ID if c.name == "a0" else c.kind, reason="")
        for c in original.columns
    )
    made, source = augment(Columns(columns=columns, values=original.values, n_rows=200), 2, seed=0)
    assert (made.values["a0"] == original.values["a0"][source]).all()


def test_rare_texts_say_nothing_but_frequent_ones_are_categories():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 2_000)
    words = np.array(["amber", "birch", "cedar", None], dtype=object)[codes]
    unique = np.array([f"text {i}" for i in range(2_000)], dtype=object)
    original = Columns(
        columns=(
            Column(name="n", kind=Kind.NUMERIC, reason=""),
            Column(name="w", kind=Kind.TEXT, reason=""),
            Column(name="u", kind=Kind.TEXT, reason=""),
        ),
        values={"n": codes + 0.01 * rng.normal(size=2_000), "w": words, "u": unique},
        n_rows=2_000,
    )
    made, _ = augment(original, 1, seed=0)
    expected = np.array(["amber", "birch", "cedar", None], dtype=object)[
        np.clip(np.round(made.values["n"]), 0, 3).astype(int)
    ]
    assert (made.values["w"] == expected).mean() > 0.95
    assert (made.values["u"] != unique).mean() > 0.2


@pytest.mark.parametrize("n_rows", [0, 1, 2, 7])
def test_tiny_tables(n_rows):
    original = table(50).take(np.arange(n_rows))
    made, source = augment(original, 2, seed=0)
    assert made.n_rows == len(source) == 2 * n_rows
    for name in original.values:
        assert set(made.values[name]) <= set(original.values[name])


def test_one_column_no_column_and_no_copies():
    single = table(100).select(frozenset({Kind.NUMERIC}))
    alone = Columns(columns=single.columns[:1], values={"a0": single.values["a0"]}, n_rows=100)
    made, source = augment(alone, 1, seed=0)
    assert (made.values["a0"] != alone.values["a0"]).all()
    # Whoever must not hear of a row must be able to leave out the copies that are that row.
    assert (made.values["a0"] == alone.values["a0"][source]).all()
    empty = Columns(columns=(), values={}, n_rows=5)
    assert augment(empty, 2, seed=0)[0].n_rows == 10
    assert augment(alone, 0, seed=0)[0].n_rows == 0


def test_more_columns_than_a_tree_reads():
    rng = np.random.default_rng(0)
    values = {f"x{i}": rng.normal(size=80) for i in range(60)}
    original = Columns(
        columns=tuple(Column(name=n, kind=Kind.NUMERIC, reason="") for n in values),
        values=values,
        n_rows=80,
    )
    made, source = augment(original, 1, seed=0)
    changed = np.sum([drawn(made, source, original, name) for name in values], axis=0)
    assert (changed == 15).all()
