import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import PredefinedSplit, ShuffleSplit

from automl_fuse.errors import SettingsError
from automl_fuse.folds import (
    FEWEST_OF_CLASS,
    HOLDOUT_ROWS,
    cross_fitting,
    default_n_folds,
    holdout_by_cost,
    make_folds,
    sampled,
    seed_of,
)
from automl_fuse.specs import Task


def classes(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@settings(max_examples=60, deadline=None)
@given(
    y=st.lists(st.integers(0, 4), min_size=4, max_size=60),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 9),
)
def test_folds_partition_the_rows_and_balance_the_classes(y, n_folds, seed):
    y = np.unique(y, return_inverse=True)[1]
    folds = make_folds(y, Task.MULTICLASS, seed, folds=n_folds)
    assert sorted(np.concatenate([fold.valid for fold in folds])) == list(range(len(y)))
    for fold in folds:
        assert not set(fold.train) & set(fold.valid)
        assert len(fold.train) + len(fold.valid) == len(y)
    sizes = [len(fold.valid) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_every_fold_sees_each_frequent_class():
    y = classes(90, 10)
    for fold in make_folds(y, Task.BINARY, 0, folds=5):
        assert np.bincount(y[fold.valid]).tolist() == [18, 2]


def test_a_class_with_one_member_does_not_break_the_split():
    y = classes(20, 1)
    folds = make_folds(y, Task.BINARY, 0, folds=4)
    assert sum(20 in fold.valid for fold in folds) == 1


def test_folds_are_reproducible_and_depend_on_the_seed():
    y = np.random.default_rng(0).normal(size=50)
    first, again, other = (make_folds(y, Task.REGRESSION, seed, folds=3) for seed in (1, 1, 2))
    assert all(np.array_equal(a.valid, b.valid) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.valid, b.valid) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_groups_stay_on_one_side(task):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 12, 200)
    y = rng.integers(0, 2, 200) if task is Task.BINARY else rng.normal(size=200)
    for fold in make_folds(y, task, 0, folds=4, groups=groups):
        assert not set(groups[fold.train]) & set(groups[fold.valid])


def test_forward_folds_validate_on_later_rows():
    order = np.random.default_rng(0).permutation(100).astype(float)
    folds = make_folds(np.arange(100.0), Task.REGRESSION, 0, folds=4, order=order)
    assert len(folds) == 4
    for fold in folds:
        assert order[fold.train].max() < order[fold.valid].min()


def test_a_scikit_learn_splitter_is_used_as_it_is():
    y = classes(30, 30)
    given_folds = make_folds(y, Task.BINARY, 0, folds=ShuffleSplit(3, random_state=5))
    expected = ShuffleSplit(3, random_state=5).split(y)
    for fold, (train, valid) in zip(given_folds, expected, strict=True):
        assert np.array_equal(fold.train, train)
        assert np.array_equal(fold.valid, valid)


def test_a_predefined_split_and_pairs_of_positions_work():
    y = classes(5, 5)
    by_test_fold = make_folds(y, Task.BINARY, 0, folds=PredefinedSplit([-1, 0] * 5))
    assert by_test_fold[0].valid.tolist() == [1, 3, 5, 7, 9]
    mask = np.arange(10) < 4
    by_mask = make_folds(y, Task.BINARY, 0, folds=[(~mask, mask)])
    assert by_mask[0].valid.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (1, "from 2 to 10"),
        (11, "from 2 to 10"),
        ([], "no fold"),
        ([([0, 1], [1, 2])], "trains on"),
        ([([0], [10])], "row 10"),
        ([([0], [])], "valid part"),
        ([(0,)], "pair of positions"),
        (3.5, "neither a number"),
    ],
)
def test_impossible_folds_are_refused(folds, words):
    with pytest.raises(SettingsError, match=words):
        make_folds(classes(5, 5), Task.BINARY, 0, folds=folds)


def test_one_group_and_missing_times_are_refused():
    y = classes(5, 5)
    with pytest.raises(SettingsError, match="single group"):
        make_folds(y, Task.BINARY, 0, groups=np.zeros(10, dtype=int))
    with pytest.raises(SettingsError, match="missing values"):
        make_folds(y, Task.BINARY, 0, order=np.array([np.nan, *range(9)]))
    with pytest.raises(SettingsError, match="exclude"):
        make_folds(y, Task.BINARY, 0, order=np.arange(10.0), groups=np.arange(10))


def test_cross_fitting_covers_all_rows_once():
    splits = cross_fitting(classes(7, 8), 3, 0)
    assert sorted(np.concatenate([score for _, score in splits])) == list(range(15))
    assert all(not set(choose) & set(score) for choose, score in splits)


def test_rows_are_dealt_block_by_block_along_the_target():
    y, n_folds, seed = np.random.default_rng(3).normal(size=103), 4, 7
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(y))
    ranked = shuffled[np.argsort(y[shuffled], kind="stable")]
    expected = np.empty(len(y), dtype=int)
    for start in range(0, len(y), n_folds):
        block = ranked[start : start + n_folds]
        expected[block] = rng.permutation(n_folds)[: len(block)]
    for k, fold in enumerate(make_folds(y, Task.REGRESSION, seed, folds=n_folds)):
        assert fold.valid.tolist() == np.flatnonzero(expected == k).tolist()


# --------------------------------------------------------------------------- one fold


def test_one_fold_holds_out_about_so_many_rows_balanced_on_the_target():
    y = classes(900, 100)
    (fold,) = make_folds(y, Task.BINARY, 0, holdout=100)
    assert np.bincount(y[fold.valid]).tolist() == [90, 10]
    assert sorted([*fold.train, *fold.valid]) == list(range(1_000))


def test_one_fold_in_time_validates_on_the_last_rows():
    order = np.random.default_rng(0).permutation(100).astype(float)
    (fold,) = make_folds(np.arange(100.0), Task.REGRESSION, 0, order=order, holdout=10)
    assert 5 <= len(fold.valid) <= 10
    assert order[fold.valid].min() > order[fold.train].max()
    assert len(fold.train) + len(fold.valid) == 100


def test_one_fold_of_groups_keeps_them_on_one_side():
    rng = np.random.default_rng(0)
    groups, y = rng.integers(0, 30, 300), rng.normal(size=300)
    (fold,) = make_folds(y, Task.REGRESSION, 0, groups=groups, holdout=30)
    assert not set(groups[fold.train]) & set(groups[fold.valid])
    assert 10 <= len(fold.valid) <= 60


def test_folds_that_are_asked_for_win():
    y = classes(50, 50)
    assert len(make_folds(y, Task.BINARY, 0, folds=4, holdout=10)) == 4
    assert len(make_folds(y, Task.BINARY, 0, folds=ShuffleSplit(3), holdout=10)) == 3


@pytest.mark.parametrize("holdout", [1, 3, 10_000])
def test_one_fold_always_has_rows_on_both_sides(holdout):
    for y in (classes(2, 2), classes(40, 3)):
        (fold,) = make_folds(y, Task.BINARY, 0, holdout=holdout)
        assert len(fold.train)
        assert len(fold.valid)


def test_what_several_folds_would_cost_decides():
    assert holdout_by_cost(25_000, 30, 1, 42.0, 2) is None
    assert holdout_by_cost(1_000_000, 30, 1, 42.0, 2) == HOLDOUT_ROWS
    assert holdout_by_cost(1_000_000, 30, 1, 36_000.0, 16) is None
    assert holdout_by_cost(100_000, 3_000, 1, 42.0, 2) == 20_000
    assert holdout_by_cost(40_000, 30, 1, 42.0, 2) is None
    assert holdout_by_cost(60_000, 30, 1, 42.0, 2) == 12_000
    assert holdout_by_cost(60_000, 30, 1, 90.0, 2) is None
    assert holdout_by_cost(40_000, 30, 100, 42.0, 2) == 8_000


def test_a_small_table_has_several_folds_whatever_they_cost():
    assert holdout_by_cost(4_000, 100_000, 1, 1.0, 1) is None


def test_a_table_of_some_thousand_rows_has_one_fold_only_where_little_else_would_finish():
    assert holdout_by_cost(14_000, 16, 26, 7.0, 2) == 2_800
    assert holdout_by_cost(14_000, 16, 26, 45.0, 2) is None


@pytest.mark.parametrize("grown", [0, 1, 2])
def test_the_more_work_the_sooner_one_fold_must_do(grown):
    sizes = [30_000, 10, 1]
    chosen = []
    for factor in (1, 10, 100, 1_000):
        given = [size * factor if i == grown else size for i, size in enumerate(sizes)]
        chosen.append(holdout_by_cost(*given, 42.0, 2) is not None)
    assert chosen == sorted(chosen)
    assert chosen[0] is not chosen[-1]


# --------------------------------------------------------------------------- samples


def test_a_sample_is_spread_evenly_over_the_target():
    y = np.random.default_rng(0).normal(size=1_000)
    rows = np.arange(100, 900)
    chosen = sampled(rows, y, 80, 0, classes=False)
    assert len(chosen) == 80
    assert set(chosen) <= set(rows)
    assert (np.diff(chosen) > 0).all()
    ranks = np.sort(np.argsort(np.argsort(y[rows]))[np.isin(rows, chosen)])
    assert (np.diff(ranks) >= 1).all()
    assert np.abs(ranks - np.arange(80) * 10).max() < 10


def test_a_sample_keeps_rare_classes():
    y = np.random.default_rng(0).permutation(classes(10_000, 60, 3))
    counts = np.bincount(y[sampled(np.arange(len(y)), y, 500, 0, classes=True)])
    assert counts[2] == 3
    assert FEWEST_OF_CLASS <= counts[1] <= FEWEST_OF_CLASS + 3
    assert 490 <= counts[0] <= 520


def test_samples_depend_on_the_seed_alone():
    y = classes(300, 300)
    first, again, other = (sampled(np.arange(600), y, 60, s, classes=True) for s in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_more_rows_need_fewer_folds():
    assert [default_n_folds(n) for n in (3, 100, 10_000, 1_000_000)] == [3, 8, 5, 3]


def test_seeds_differ_by_purpose_and_do_not_change():
    assert seed_of(0, "a", 1) == 1_967_582_674
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a"), seed_of(0, "a", 1)}) == 4
