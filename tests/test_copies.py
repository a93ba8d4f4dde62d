"""Copies of rows, and what they do to folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings
from automl_fuse.copies import copies
from automl_fuse.folds import make_folds
from automl_fuse.schema import infer
from automl_fuse.specs import Task
from automl_fuse.table import prepare


def columns_of(table, **kinds):
    dataset = prepare(table.assign(y=np.arange(len(table)) % 2), target="y")
    return infer(dataset.table, kinds).convert(dataset.table)


def distinct(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "x": rng.normal(size=n_rows),
        "town": rng.choice(["Bath", "York", "Hull"], n_rows),
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(50, size=n_rows), "D"),
    })  # fmt: skip


def test_copies_are_told_by_all_their_columns():
    table = distinct(40)
    table.loc[:4, "x"] = np.nan
    repeated = pd.concat([table, table.iloc[:30], table.iloc[:10]], ignore_index=True)
    groups = copies(columns_of(repeated))
    assert len(np.unique(groups)) == 40
    expected = np.concatenate([np.arange(40), np.arange(30), np.arange(10)])
    assert len(np.unique(groups * 100 + expected)) == 40


@pytest.mark.parametrize(
    "table",
    [
        distinct(200),
        pd.concat([distinct(200), distinct(200).iloc[:5]]),
        pd.DataFrame({"a": np.arange(200) % 7, "b": np.arange(200) % 3}),
        distinct(200).assign(x=0.5 * (np.arange(200) % 3), day=None),
        pd.concat([distinct(60)] * 2).assign(town=[f"t{k}" for k in range(120)]),
    ],
    ids=["none", "few", "integers alone", "few fractions", "another column differs"],
)
def test_rows_that_chance_made_equal_or_that_differ_are_left_alone(table):
    assert (
        copies(columns_of(table, town="category") if "town" in table else columns_of(table)) is None
    )


def test_folds_that_keep_copies_together_are_not_fooled():
    """Noise learned by heart: a fold that trains on copies scores it as if it were true."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    table["y"] = rng.permutation(np.arange(60) % 2)
    oversampled = pd.concat([table] * 6, ignore_index=True)
    settings = Settings(
        compressors=(), executor="inline", folds=4, learners=("decision_tree",), max_trials=1,
        progress=False,
    )  # fmt: skip
    scores = [
        automl_fuse.fit(
            oversampled, target="y", metric="roc_auc", groups=groups, settings=settings
        ).report["score"]
        for groups in (None, copies(columns_of(oversampled.drop(columns="y"))))
    ]
    assert scores[0] > 0.85
    assert scores[1] < 0.7


def test_copies_stay_in_one_fold():
    table = pd.concat([distinct(50)] * 4, ignore_index=True)
    groups = copies(columns_of(table))
    y = np.tile(np.arange(50) % 2, 4)
    for fold in make_folds(y, Task.BINARY, 0, folds=5, groups=groups):
        assert not set(groups[fold.train]) & set(groups[fold.valid])
