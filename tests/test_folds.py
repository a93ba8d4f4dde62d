import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import PredefinedSplit, ShuffleSplit

from automl_fuse.errors import SettingsError
from automl_fuse.folds import cross_fitting, default_n_folds, make_folds, seed_of
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


def test_more_rows_need_fewer_folds():
    assert [default_n_folds(n) for n in (3, 100, 10_000, 1_000_000)] == [3, 8, 5, 3]


def test_seeds_differ_by_purpose_and_do_not_change():
    assert seed_of(0, "a", 1) == 1_967_582_674
    assert len({seed_of(0, "a"), seed_of(0, "b"), seed_of(1, "a"), seed_of(0, "a", 1)}) == 4
