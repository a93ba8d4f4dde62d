"""``fit --memory-limit``."""

import json

import pytest

from automl_fuse import cli
from automl_fuse.processes import HAS_PROC


@pytest.mark.skipif(not HAS_PROC, reason="needs Linux's /proc")
def test_a_learner_that_leaks_costs_its_trial(train, plugin, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--learners", "leak,prior", "--plugins", plugin, "--workers", "1", "--folds", "2"]
    options += ["--memory-limit", "1200MB", "--max-trials", "2", "--time-limit", "10m"]
    options += ["--compressors", "", "--quiet"]
    arguments = ["fit", str(train), "--target", "diagnosis", "--output", str(run), *options]
    assert cli.main(arguments) == cli.OK
    report = json.loads((run / "report.json").read_text())
    assert [row["learner"] for row in report["leaderboard"]] == ["prior"]
    (failure,) = report["failures"]
    assert failure["learner"] == "leak"
    assert "memory_limit=1.2GB" in failure["error"].strip().rsplit("\n", 1)[-1]
    told = capsys.readouterr().out
    assert "leak-0 failed: " in told
    assert "memory_limit=1.2GB" in told


def test_a_limit_that_leaves_too_little_is_refused(train, tmp_path, capsys):
    options = ["--memory-limit", "40MB", "--workers", "3", "--time-limit", "20"]
    arguments = ["fit", str(train), "--target", "diagnosis", "--output", str(tmp_path / "run")]
    assert cli.main([*arguments, *options]) == cli.USAGE
    assert "memory_limit=40MB is too little for 3 workers" in capsys.readouterr().err
