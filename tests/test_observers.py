import io
import json

from automl_fuse.budget import Stopwatch
from automl_fuse.observers import JsonLog, Observers, ProgressLine
from automl_fuse.specs import ObserverSpec


class Recorder:
    def __init__(self):
        self.names = []

    def notify(self, event):
        self.names.append(event.name)


class Faulty:
    def notify(self, event):
        raise ValueError("no ink")


def test_a_faulty_observer_is_silenced_and_the_others_go_on(caplog):
    recorder = Recorder()
    observers = Observers([Faulty(), recorder], Stopwatch())
    observers("run_started", {})
    observers("run_finished", {})
    assert recorder.names == ["run_started", "run_finished"]
    assert observers.failures == ["observer Faulty raised ValueError('no ink')"]
    assert "no ink" in caplog.text


def test_an_observer_that_cannot_be_built_is_reported():
    observers = Observers([], Stopwatch())
    faulty = ObserverSpec(name="faulty", api_version=1, build=lambda run: 1 / 0)
    recorder = Recorder()
    observers.add(faulty, "run")
    observers.add(ObserverSpec(name="good", api_version=1, build=lambda run: recorder), "run")
    observers("run_started", {})
    assert recorder.names == ["run_started"]
    (failure,) = observers.failures
    assert "'faulty' could not be built: ZeroDivisionError" in failure


def test_the_log_is_json_lines(tmp_path):
    observers = Observers([JsonLog(tmp_path / "log.jsonl")], Stopwatch())
    observers("trial_started", {"member": "a-0"})
    observers("trial_failed", {"member": "a-0", "error": "odd \n line"})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["trial_started", "trial_failed"]
    assert lines[1]["error"] == "odd \n line"
    assert lines[0]["seconds"] >= 0


def test_the_progress_line_shows_scores_in_their_own_direction():
    stream = io.StringIO()
    observers = Observers([ProgressLine(stream)], Stopwatch())
    start = {"time_limit": 60, "metric": "roc_auc", "greater_is_better": True}
    observers("run_started", start)
    observers("trial_started", {"member": "linear-0"})
    observers("trial_finished", {"loss": -0.9, "ensemble_loss": -0.91})
    observers("fused", {"loss": -0.92, "fusion": "greedy"})
    observers("run_finished", {})
    text = stream.getvalue()
    assert "linear-0" in text
    assert "roc_auc: best 0.9  ensemble 0.92" in text
    assert text.endswith("\n")
    assert text.count("\n") == 1
