"""SIGINT and SIGTERM: the best so far is saved; a second signal ends at once."""

import signal
import threading
import time

import pytest

import automl_fuse
from automl_fuse import cli
from automl_fuse.budget import STOP, Deadline
from automl_fuse.cli.signals import listening

QUICK = ["--executor", "inline", "--learners", "linear,naive_bayes", "--folds", "2"]
QUICK += ["--quiet", "--stop-after-no-gain", "none", "--compressors", ""]


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGTERM, "trial_finished", cli.TERMINATED),
        (signal.SIGINT, "trial_finished", cli.INTERRUPTED),
        (signal.SIGTERM, "fuse", cli.TERMINATED),
        (signal.SIGINT, "compress", cli.INTERRUPTED),
        (signal.SIGTERM, "save", cli.TERMINATED),
    ],
)
def test_a_signal_ends_a_run_with_the_best_so_far(
    train, plugin, tmp_path, monkeypatch, capfd, events, number, moment, code
):
    monkeypatch.setenv("SIGNAL_AT", f"{moment}:{number.value}")
    run = tmp_path / "run"
    arguments = ["fit", str(train), "--target", "diagnosis", "--output", str(run), *QUICK]
    arguments += ["--time-limit", "10s" if moment == "save" else "1h"]
    if moment != "trial_finished":
        arguments += ["--max-trials", "2"]
    before = signal.getsignal(number)
    assert cli.main([*arguments, "--plugins", plugin]) == code
    assert signal.getsignal(number) is before
    told = capfd.readouterr()
    assert "ending with the best so far" in told.err
    assert "Saved in" in told.out
    assert automl_fuse.load(run).target == "diagnosis"
    assert events(run)[-1]["event"] == "run_finished"
    assert events(run)[-1]["interrupted"] is True
    # An hour was allowed, and the test would time out long before.
    assert (run / "report.json").is_file()
    assert not STOP.is_requested


def test_a_signal_before_any_member_leaves_no_pipeline(train, plugin, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SIGNAL_AT", f"trial_started:{signal.SIGTERM.value}")
    arguments = ["fit", str(train), "--target", "diagnosis", "--output", str(tmp_path / "run")]
    arguments += ["--learners", "endless", "--plugins", plugin, "--workers", "1", "--quiet"]
    assert cli.main(arguments) == cli.TERMINATED
    assert "Interrupted before the first member" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, cli.INTERRUPTED), (signal.SIGTERM, cli.TERMINATED)]
)
def test_a_signal_before_the_run_ends_at_once(monkeypatch, tmp_path, capfd, number, code):
    def fit(data, **options):
        signal.raise_signal(number)
        time.sleep(600)

    monkeypatch.setattr("automl_fuse.engine.fit", fit)
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "t.csv", "--target", "y", "--output", str(tmp_path / "run")])
    assert end.value.code == code
    assert "interrupted" in capfd.readouterr().err


def test_a_second_signal_ends_at_once(train, plugin, tmp_path, start, wait_for):
    run = tmp_path / "run"
    options = ["--executor", "inline", "--learners", "endless", "--plugins", plugin]
    process = start("fit", train, "--target", "diagnosis", "--output", run, *options)
    wait_for(run, "trial_started")
    process.send_signal(signal.SIGTERM)
    # Heard once although it is sent twice, as ``timeout`` does.
    process.send_signal(signal.SIGTERM)
    assert any("ending with the best so far" in line for line in process.stderr)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert not (run / "model.onnx").exists()


def test_deadlines_heed_a_request():
    long = Deadline(3_600)
    with STOP.heeded():
        assert STOP.is_heeded
        STOP.request()
        assert long.expired()
        later = Deadline(3_600)
        assert 0 < later.remaining() < 60
        assert Deadline(0.5).remaining() <= 0.5
    assert not STOP.is_heeded
    assert not STOP.is_requested
    assert long.remaining() > 3_000


def test_a_thread_without_signals_can_run_commands():
    seen = []

    def body():
        with listening() as ending:
            seen.append(ending.code)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [None]
