"""``status`` and ``watch``."""

import json
import os
import signal

import pytest

from automl_fuse import cli, processes
from automl_fuse.cli.following import described
from automl_fuse.errors import RunError
from automl_fuse.progress import Log

STARTED = {
    "event": "run_started", "seconds": 2.0, "started": "2026-11-21T00:00:00+00:00",
    "time_limit": 28_800.0, "task": "binary", "metric": "roc_auc", "greater_is_better": True,
    "rows": 48_842, "columns": 14, "folds": 5, "learners": ["linear", "knn"],
}  # fmt: skip
FINISHED = {
    "event": "trial_finished", "seconds": 9.0, "member": "linear-0", "learner": "linear",
    "loss": -0.9, "ensemble_loss": -0.91,
}  # fmt: skip


@pytest.fixture
def log(tmp_path):
    """Write events into the log of a run whose process is this one."""

    def write(*events):
        with (tmp_path / "log.jsonl").open("a") as stream:
            for event in events:
                stream.write(json.dumps(event) + "\n")
        return tmp_path

    write({**STARTED, "process": processes.identity()})
    return write


def test_a_run_is_followed_while_it_goes_on_and_when_it_ends(
    train, tmp_path, start, wait_for, capsys
):
    run = tmp_path / "run"
    options = ["--learners", "linear", "--executor", "inline", "--folds", "2"]
    options += ["--time-limit", "2h", "--stop-after-no-gain", "none"]
    fit = start("fit", train, "--target", "diagnosis", "--output", run, *options)
    wait_for(run, "trial_finished")
    assert cli.main(["status", str(run), "--json"]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "running"
    assert told["stage"] == "search"
    assert told["alive"] is True
    assert told["process"]["pid"] == fit.pid
    assert told["limit"] == 7_200.0
    assert 0 < told["elapsed"] < told["limit"]
    assert told["remaining"] == pytest.approx(told["limit"] - told["elapsed"])
    assert told["members"]["finished"] >= 1
    assert told["best"].startswith("linear-")
    assert told["best_score"] > 0
    watch = start("watch", run)
    assert "at search" in watch.stdout.readline()
    fit.send_signal(signal.SIGTERM)
    assert fit.wait(timeout=120) == cli.TERMINATED
    assert watch.wait(timeout=60) == cli.OK
    assert "ended early, on request, with the best so far" in watch.stdout.read()
    assert cli.main(["status", str(run)]) == cli.OK
    assert "pipeline: " in capsys.readouterr().out


def test_a_run_that_was_killed_has_died(train, plugin, tmp_path, start, wait_for, capsys):
    run = tmp_path / "run"
    options = ["--learners", "endless", "--plugins", plugin, "--workers", "1"]
    fit = start("fit", train, "--target", "diagnosis", "--output", run, *options)
    wait_for(run, "trial_started")
    fit.kill()
    fit.wait()
    assert cli.main(["watch", str(run)]) == cli.FILES
    assert "died: its process is gone" in capsys.readouterr().out
    assert cli.main(["watch", str(run), "--json"]) == cli.FILES
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "died"
    assert told["alive"] is False


def test_a_run_that_failed_says_why(train, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--max-size-mb", "0.000001", "--executor", "inline", "--learners", "linear"]
    options += ["--max-trials", "1", "--folds", "2", "--time-limit", "5", "--compressors", ""]
    arguments = ["fit", str(train), "--target", "diagnosis", "--output", str(run), *options]
    assert cli.main(arguments) == cli.USAGE
    assert cli.main(["status", str(run)]) == cli.OK
    told = capsys.readouterr().out
    assert "failed" in told
    assert "max_size_mb" in told


def test_members_are_counted_and_scores_told_in_their_own_direction(log):
    run = log(
        {"event": "stage_started", "seconds": 3.0, "stage": "search"},
        *({"event": "trial_started", "seconds": 4.0, "member": f"linear-{i}"} for i in range(6)),
        FINISHED,
        {**FINISHED, "member": "linear-1", "loss": -0.95},
        {**FINISHED, "member": "linear-2", "loss": float("nan"), "ensemble_loss": -0.96},
        {"event": "trial_stopped", "seconds": 10.0, "member": "linear-3", "folds": 2},
        {"event": "trial_failed", "seconds": 11.0, "member": "linear-4", "error": "\x1b[31mbad"},
        {"event": "of a later version", "seconds": 12.0},
    )
    progress = Log(run).progress()
    assert progress.state == "running"
    assert progress.alive is True
    assert (progress.best, progress.best_score) == ("linear-1", 0.95)
    assert progress.ensemble_score == 0.96
    members = progress.members
    assert (members.finished, members.stopped, members.failed) == (3, 1, 1)
    assert members.running == ["linear-5"]
    told = described("run", progress)
    assert "linear-5" in told
    assert "48,842 rows" in told
    assert "\x1b" not in told
    assert "[31mbad" in told


def test_what_is_added_is_read_once_and_half_a_line_later(log):
    run = log()
    following = Log(run)
    assert following.progress().members.finished == 0
    with (run / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(FINISHED)[:40])
    assert following.progress().members.finished == 0
    with (run / "log.jsonl").open("a") as stream:
        stream.write(json.dumps(FINISHED)[40:] + "\n")
    assert following.progress().members.finished == 1
    assert following.progress().members.finished == 1


def test_a_line_that_a_crash_cut_short_is_passed_over(log):
    run = log()
    with (run / "log.jsonl").open("a") as stream:
        stream.write('{"event": "trial_fin\n')
    assert Log(log(FINISHED)).progress().members.finished == 1


def test_an_event_that_lacks_something_is_named(log):
    run = log({"event": "trial_finished", "seconds": 1.0})
    with pytest.raises(RunError, match=r"log\.jsonl .* 'trial_finished': KeyError"):
        Log(run).progress()


def test_of_a_process_elsewhere_nothing_is_known(log):
    run = log({**STARTED, "process": {"pid": 1, "host": "elsewhere.example", "ticks": 5}})
    progress = Log(run).progress()
    assert progress.alive is None
    assert progress.state == "running"
    assert "elsewhere.example" in described("run", progress)


def test_a_number_of_a_process_that_is_used_again_is_not_taken_for_it(log):
    here = processes.identity()
    run = log({**STARTED, "process": {**here, "ticks": here["ticks"] - 1}})
    assert here["pid"] == os.getpid()
    assert Log(run).progress().state == "died"


def test_a_directory_without_a_run_is_refused(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == cli.FILES
    assert "no run that has begun" in capsys.readouterr().err


def test_a_log_that_is_gone_is_told(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    log = Log(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    with pytest.raises(RunError, match=r"log\.jsonl cannot be read"):
        log.progress()
