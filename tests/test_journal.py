"""Optuna's journal in a run directory is Optuna's: its own tools read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sklearn.datasets import load_iris

import automl_fuse
from automl_fuse import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_optuna_loads_the_study_of_a_learner(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    run = tmp_path / "run"
    settings = Settings(
        output=str(run), learners=("linear",), compressors=(), max_trials=2, executor="inline"
    )
    report = automl_fuse.fit(X, y, time_limit=40, settings=settings).report
    storage = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    study = optuna.load_study(study_name="linear", storage=storage)
    finished = {f"linear-{trial.number}": trial for trial in study.trials if trial.value}
    board = {row["member"]: row for row in report["leaderboard"]}
    assert board.keys() <= finished.keys()
    for name, row in board.items():
        # The report leaves out rows that not every member has predicted; here there are none.
        assert finished[name].value == pytest.approx(row["score"])
        assert finished[name].params
    assert "fusion" in {each.study_name for each in optuna.get_all_study_summaries(storage)}
