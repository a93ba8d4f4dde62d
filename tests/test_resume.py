"""Runs that were killed go on, and end as they would have."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from dying_run import FEW, PATIENCE, fit
from sklearn.datasets import load_breast_cancer

import automl_fuse
from automl_fuse import Settings, cli, files
from automl_fuse.budget import Stopwatch
from automl_fuse.errors import DiskFullError, MissingDependencyError, RunError, SettingsError
from automl_fuse.progress import Log
from automl_fuse.run import RunDirectory, load_run
from automl_fuse.search import times
from automl_fuse.search.incumbent import Incumbent
from automl_fuse.search.keeping import drop_excess
from automl_fuse.search.ledger import Ledger, elapsed, read_ledger
from automl_fuse.search.outcome import FinishedMember
from automl_fuse.search.plateau import Plateau
from automl_fuse.search.replay import as_details, kept_ensemble, kept_members
from automl_fuse.search.studies import PastTrial, Storage, Study
from automl_fuse.search.tally import Tally

SCRIPT = Path(__file__).parent / "dying_run.py"
AFTER_SOME = 60
"""A moment at which some members have finished, and one is open."""


@pytest.fixture(scope="module", autouse=True)
def patient():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENCE.items():
            patch.setattr(times, name, value)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    data = load_breast_cancer(as_frame=True)
    path = tmp_path_factory.mktemp("table") / "train.csv"
    frame = data.data.assign(diagnosis=data.target)
    frame.iloc[:300, -12:].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """Return a run that nothing interrupted, and its directory."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return fit(table, run, resume=False), run


@pytest.fixture(scope="module")
def left(table, tmp_path_factory):
    """Return what a run has left that was killed when some members had finished."""
    run = tmp_path_factory.mktemp("left") / "run"
    kill(table, run, AFTER_SOME)
    return run


@pytest.fixture
def killed(left, tmp_path):
    """Return a directory of such a run."""
    return shutil.copytree(left, tmp_path / "run")


def kill(table, run, moment, *how):
    command = [sys.executable, str(SCRIPT), str(table), str(run), str(moment), *(how or ["inline"])]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == -9, process.stdout + process.stderr


def resumed(table, run, **others):
    """Go on; a run that was killed before it was configured is begun again."""
    return fit(table, run, resume=(run / "fuse.toml").is_file(), **others)


def events(run):
    lines = (run / "ledger.jsonl").read_text().splitlines()
    return [(line["event"], line.get("member")) for line in map(json.loads, lines)]


def outcome(pipeline, table):
    rows = pd.read_csv(table).head(40)
    board = [(row["member"], row["weight"], row["score"]) for row in pipeline.report["leaderboard"]]
    return board, pipeline.report["trials"], pipeline.predict_proba(rows).tolist()


# The configuration, the identity, predictions of the first member, its line in the ledger cut in
# half, a later member, one that TPE has drawn, the end of the search, the portable file.
@pytest.mark.parametrize(
    "moment",
    [4, 46, 116, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 43, 75, 139, 142))],
)
def test_a_run_killed_at_any_moment_ends_as_it_would_have(table, whole, tmp_path, moment):
    run = tmp_path / "run"
    kill(table, run, moment)
    assert outcome(resumed(table, run), table) == outcome(whole[0], table)
    ended = [each for each in events(run) if each[0] in {"finished", "stopped", "failed"}]
    assert len(set(ended)) == len(ended) == 9
    assert not [path for path in run.rglob(".*") if path.is_file()]
    assert outcome(load_run(run), table) == outcome(whole[0], table)


def test_a_run_killed_again_and_again_ends_as_it_would_have(table, whole, tmp_path):
    run = tmp_path / "run"
    for _ in range(3):
        kill(table, run, 40)
    assert outcome(resumed(table, run), table) == outcome(whole[0], table)


def test_a_run_killed_in_the_compression_stage_ends_as_it_would_have(table, tmp_path):
    how, few = ["inline", "refit"], {"compressors": ("refit",), "max_trials": FEW}
    expected = fit(table, tmp_path / "whole", resume=False, **few)
    assert any(row["models"] == 1 for row in expected.report["front"])
    kill(table, tmp_path / "run", 90, *how)
    told = (tmp_path / "run" / "log.jsonl").read_text()
    assert '"stage": "compress"' in told
    assert '"stage": "save"' not in told
    refits = list((tmp_path / "run" / "members").glob("*.fold--1.pkl"))
    assert refits
    pipeline = resumed(table, tmp_path / "run", **few)
    assert outcome(pipeline, table) == outcome(expected, table)


@pytest.mark.parametrize(
    "moment", [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 46))]
)
def test_a_run_with_worker_processes_ends_as_it_would_have(table, tmp_path, moment):
    # With several, the order in which members finish depends on the machine.
    how = {"executor": "processes", "workers": 1}
    expected = fit(table, tmp_path / "whole", resume=False, **how)
    kill(table, tmp_path / "run", moment, "processes")
    assert outcome(resumed(table, tmp_path / "run", **how), table) == outcome(expected, table)


def test_members_that_finished_are_not_fitted_again(table, killed):
    before = [member for event, member in events(killed) if event == "finished"]
    kept = {name: (killed / "members" / f"{name}.fold-0.pkl").stat() for name in before}
    assert kept
    resumed(table, killed)
    for name, status in kept.items():
        after = (killed / "members" / f"{name}.fold-0.pkl").stat()
        assert (after.st_ino, after.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_what_is_not_given_is_as_it_was(table, whole, killed):
    pipeline = automl_fuse.fit(resume=killed)
    assert outcome(pipeline, table) == outcome(whole[0], table)


def test_a_table_in_memory_is_given_again(whole, table, tmp_path, capsys):
    frame = pd.read_csv(table)
    X, y = frame.drop(columns="diagnosis"), frame["diagnosis"]
    settings = Settings(
        output=str(tmp_path / "run"), learners=("naive_bayes",), max_trials=1, compressors=(),
        executor="inline",
    )  # fmt: skip
    automl_fuse.fit(X, y, settings=settings, time_limit=100)
    with pytest.raises(RunError, match=r"in memory.*fit\(X, y, resume="):
        automl_fuse.fit(resume=tmp_path / "run")
    assert cli.main(["resume", str(tmp_path / "run")]) == cli.FILES
    assert "fit(X, y, resume=" in capsys.readouterr().err
    more = automl_fuse.fit(X, y, settings=replace(settings, max_trials=2), resume=tmp_path / "run")
    assert len([event for event, _ in events(tmp_path / "run") if event == "opened"]) == 2
    assert more.report["seconds"]["limit"] == 100


def test_a_complete_run_is_returned_as_it_is(table, whole):
    pipeline, run = whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert outcome(resumed(table, run), table) == outcome(pipeline, table)
    changed = {path.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed <= {"lock"}


def test_a_complete_run_goes_on_when_it_is_allowed_more(table, whole, tmp_path):
    run = tmp_path / "run"
    fit(table, run, resume=False, max_trials=2)
    assert outcome(resumed(table, run, max_trials=9), table) == outcome(whole[0], table)
    assert [event for event, _ in events(run)].count("opened") == 9


def test_the_log_goes_on_and_progress_counts_what_was_there(table, killed):
    with (killed / "log.jsonl").open("ab") as stream:
        stream.write(b'{"event": "tri')
    before = len([event for event, _ in events(killed) if event == "finished"])
    log = Log(killed)
    assert log.progress().state == "died"
    resumed(table, killed)
    progress = log.progress()
    assert progress.state == "finished"
    lines = (killed / "log.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines if line.endswith("}")]
    assert [line.get("resumed", {}).get("finished") for line in told].count(before) == 1
    ends = [event for event, _ in events(killed)]
    assert progress.members.finished == ends.count("finished")
    assert progress.members.stopped == ends.count("stopped")


# --------------------------------------------------------------------------- studies


def test_the_study_goes_on_in_the_journal(table, killed):
    resumed(table, killed)
    backend = optuna.storages.journal.JournalFileBackend(str(killed / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name="linear", storage=storage)
    opened = {member for event, member in events(killed) if event == "opened"}
    named = {f"linear-{trial.number}" for trial in study.trials}
    assert named == {name for name in opened if name.startswith("linear")}
    assert all(trial.state.is_finished() for trial in study.trials)


def test_studies_can_be_in_a_database(table, whole, tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    run = tmp_path / "run"
    fit(table, run, resume=False, storage=url, max_trials=2)
    names = optuna.get_all_study_names(url)
    assert outcome(resumed(table, run, storage=url), table) == outcome(whole[0], table)
    assert optuna.get_all_study_names(url) == names, "the same studies, not others beside them"
    name = next(name for name in names if name.startswith("run ") and name.endswith(" linear"))
    assert len(optuna.load_study(study_name=name, storage=url).trials) == 8
    journal = optuna.storages.journal.JournalFileBackend(str(run / "study.journal"))
    assert optuna.get_all_study_names(optuna.storages.JournalStorage(journal)) == ["front"]


@pytest.mark.parametrize(
    ("url", "error", "reason"),
    [
        ("nosuch://me:secret@host/db", SettingsError, r"storage='nosuch://host/db' cannot be used"),
        ("sqlite:////no/such/folder/a.db", SettingsError, "unable to open"),
        ("mssql+nosuch://me:secret@host/db", SettingsError, "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(url, error, reason):
    with pytest.raises(error, match=reason) as told:
        Storage(None, url)
    assert "secret" not in str(told.value)


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(MissingDependencyError, match="pip install psycopg2-binary") as told:
        Storage(None, "postgresql+psycopg2://me:secret@host/db")
    assert "secret" not in str(told.value)


def space(suggest):
    return {"depth": suggest.integer("depth", 1, 9), "rate": suggest.real("rate", 0.1, 1.0)}


def test_a_study_that_is_told_its_past_draws_what_it_would_have():
    whole, past = Study("a", Storage(None), 3), []
    for number in range(12):
        draw = whole.ask(space, {"depth": 2, "rate": 0.5} if number == 0 else None)
        told = {"values": draw.values, "distributions": draw.distributions}
        if number % 4 == 3:
            draw.stop(0.5)
            past.append(PastTrial(**told, stopped_at=0.5))
        elif number == 6:
            draw.fail("no luck")
            past.append(PastTrial(**told, error="no luck"))
        else:
            loss = (draw.params["depth"] - 3) ** 2 + draw.params["rate"]
            draw.finish(loss)
            past.append(PastTrial(**told, loss=loss))
    begun = whole.ask(space)
    open_trial = PastTrial(values=begun.values, distributions=begun.distributions)
    expected = whole.ask(space).params

    again = Study("a", Storage(None), 3)
    draws = again.restore([*past, open_trial], space)
    assert draws[-1].params == begun.params
    assert draws[-1].number == 12
    assert again.ask(space).params == expected
    other = Study("a", Storage(None), 3)
    other.restore([replace(trial, loss=trial.loss and -trial.loss) for trial in past], space)
    assert [other.ask(space).params for _ in range(2)] != [begun.params, expected]


# --------------------------------------------------------------------------- changes


def changed(table, tmp_path, change):
    path = tmp_path / "changed.csv"
    change(pd.read_csv(table)).to_csv(path, index=False)
    return path


def test_changed_data_are_refused_unless_accepted(table, killed, tmp_path, capsys):
    def other_cell(frame):
        return frame.assign(**{"worst area": frame["worst area"].where(frame.index > 0, 1.5)})

    other = changed(table, tmp_path, other_cell)
    with pytest.raises(RunError, match=r"the data changed.*accept_changes"):
        fit(other, killed, resume=True)
    command = ["resume", str(killed), "--data", str(other), "--quiet"]
    assert cli.main(command) == cli.FILES
    assert "the data changed" in capsys.readouterr().err
    assert cli.main([*command, "--accept-changes"]) == 0
    assert load_run(killed).report["score"] > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda frame: frame.head(290), "number of rows was 300, is 290"),
        (lambda frame: frame.drop(columns="worst area"), "worst area was numeric, is absent"),
        (lambda frame: frame.assign(diagnosis=frame["diagnosis"] + 1), r"classes was \[0, 1\]"),
        (
            lambda frame: frame.assign(diagnosis=frame["diagnosis"].to_numpy()[::-1]),
            "folds changed",
        ),
    ],
)
def test_what_predictions_are_bound_to_is_always_refused(table, killed, tmp_path, change, reason):
    other = changed(table, tmp_path, change)
    for accept in (False, True):
        with pytest.raises(RunError, match=reason):
            fit(other, killed, resume=True, accept=accept)


def test_changed_learners_are_refused_unless_accepted(table, killed):
    with pytest.raises(RunError, match=r"learners was .*naive_bayes"):
        fit(table, killed, resume=True, learners=("linear",))
    pipeline = fit(table, killed, resume=True, learners=("naive_bayes",), accept=True)
    assert {row["member"].split("-")[0] for row in pipeline.report["leaderboard"]} == {
        "naive_bayes"
    }


def test_changed_plugins_are_refused(table, killed):
    path = killed / "run.json"
    identity = json.loads(path.read_text())
    identity["formed"]["plugin sklearn"] = "automl-fuse 0.0.1"
    path.write_text(json.dumps(identity))
    with pytest.raises(RunError, match=r"plugin sklearn was automl-fuse 0\.0\.1, is"):
        resumed(table, killed)


def test_what_may_change_freely(table, killed):
    assert resumed(table, killed, fusions=("average",), max_trials=10).report["score"]


# --------------------------------------------------------------------------- files


def test_a_line_cut_short_is_cut_off(table, whole, killed):
    with (killed / "ledger.jsonl").open("ab") as stream:
        stream.write(b'{"event": "fini')
    assert outcome(resumed(table, killed), table) == outcome(whole[0], table)
    assert events(killed)[-1][0] == "search_ended"


def test_a_damaged_line_is_refused_with_its_number(table, killed):
    path = killed / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:20] + "\n", *lines[2:]]))
    with pytest.raises(RunError, match=r"Line 2 of .*ledger\.jsonl is damaged"):
        resumed(table, killed)


def test_lost_predictions_are_refused_by_name(table, killed):
    member = next(member for event, member in events(killed) if event == "finished")
    (killed / "oof" / f"{member}.npy").unlink()
    with pytest.raises(RunError, match=f"{member}.npy is missing or damaged"):
        resumed(table, killed)


def test_a_damaged_identity_is_refused(table, killed):
    (killed / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        resumed(table, killed)


def test_a_directory_without_a_run_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match=r"no run that has begun: it has no fuse\.toml"):
            automl_fuse.fit(resume=folder)
        assert cli.main(["resume", str(folder)]) == cli.FILES
        assert "no run that has begun" in capsys.readouterr().err


def test_the_second_process_on_a_run_is_refused(table, killed):
    with RunDirectoryHeld(killed) as process, pytest.raises(RunError, match=f"process {process} "):
        resumed(table, killed)


class RunDirectoryHeld:
    """Another process that holds a run directory."""

    def __init__(self, run):
        script = (
            "import sys; from automl_fuse.run import open_run\n"
            "with open_run(sys.argv[1], resume=True): print('held', flush=True); input()"
        )
        command = [sys.executable, "-c", script, str(run)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self._process.stdout.readline() == "held\n"
        return self._process.pid

    def __exit__(self, *_error):
        self._process.communicate("\n")


def test_what_is_not_in_the_ledger_is_removed(tmp_path):
    run = RunDirectory(tmp_path)
    paths = [run.fold_model("a-0", 0), run.fold_model("a-0", -1), run.fold_model("b-0", 0)]
    paths += [run.oof("a-0"), run.oof("b-0"), run.oof("_ensemble-1"), run.oof("_ensemble-2")]
    paths += [run.encoder("n", 0), run.encoder("n", -1), run.teacher("t"), run.augmented("t")]
    paths += [run.study, run.root / "study.journal.lock", run.root / "key"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    run.clear_attempt({"a-0": (0,)}, ["_ensemble-2"])
    left = {path for path in paths if path.exists()}
    expected = [run.fold_model("a-0", 0), run.oof("a-0"), run.oof("_ensemble-2")]
    assert left == {*expected, run.encoder("n", 0), run.root / "key"}


def test_a_ledger_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "ledger.jsonl").mkdir()
    ledger = Ledger(RunDirectory(tmp_path, is_kept=True), Stopwatch())
    with pytest.raises(RunError, match=r"Cannot write .*ledger\.jsonl"):
        ledger.write("opened", {})


# --------------------------------------------------------------------------- disk


class Disk:
    """Refuses writes: of every file after some, or of fold models alone."""

    def __init__(self, room, only=""):
        self._stream_whole = files.stream_whole
        self._room = room
        self._only = only

    def stream_whole(self, path, write, **how):
        if self._only in str(path):
            self._room -= 1
        if self._room < 0 and self._only in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        self._stream_whole(path, write, **how)


def test_a_full_disk_ends_the_search_with_the_best_so_far(
    table, whole, tmp_path, monkeypatch, caplog
):
    run = tmp_path / "run"
    with monkeypatch.context() as full:
        full.setattr(files, "stream_whole", Disk(7, "/members/").stream_whole)
        pipeline = fit(table, run, resume=False)
    assert "the disk is full: " in caplog.text
    assert "2 members" in caplog.text
    trials = pipeline.report["trials"]
    assert trials["finished"] == 2
    assert trials["failed"] == 0
    assert "No space left on device" in trials["disk_full"]
    expected = pipeline.predict_proba(pd.read_csv(table))
    np.testing.assert_array_equal(load_run(run).predict_proba(pd.read_csv(table)), expected)
    assert outcome(resumed(table, run), table) == outcome(whole[0], table)


def test_a_disk_that_has_no_room_at_all_is_named_and_the_run_goes_on_later(
    table, whole, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    with monkeypatch.context() as full:
        full.setattr(files, "stream_whole", Disk(25).stream_whole)
        with pytest.raises(DiskFullError, match=r"Cannot write .*: No space left on device"):
            fit(table, run, resume=False)
    assert any(event == "finished" for event, _ in events(run))
    assert not any(event == "failed" for event, _ in events(run))
    assert not [path for path in run.rglob(".*") if path.is_file()]
    assert outcome(resumed(table, run), table) == outcome(whole[0], table)


def test_a_full_disk_before_the_first_member_is_named(table, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "stream_whole", Disk(0, "/members/").stream_whole)
    with pytest.raises(DiskFullError, match=r"No member had finished\. Make room"):
        fit(table, tmp_path / "run", resume=False)


def test_a_disk_limit_drops_the_worst_members(table, tmp_path):
    run = tmp_path / "run"
    limit = 30_000
    pipeline = fit(table, run, resume=False, disk_limit=limit)
    kept = kept_members(read_ledger(RunDirectory(run)))
    assert pipeline.report["trials"]["dropped"] > 0
    files = [*(run / "members").iterdir(), *(run / "oof").glob("[!_]*")]
    assert {path.name.split(".")[0] for path in files} == set(kept)
    assert sum(path.stat().st_size for path in files) < limit / 2


def test_a_disk_limit_must_be_a_size(capsys):
    with pytest.raises(SettingsError, match="disk_limit='much' is not a size"):
        Settings(disk_limit="much")
    with pytest.raises(SystemExit):
        cli.main(["fit", "a.csv", "--disk-limit", "much"])
    assert "--disk-limit" in capsys.readouterr().err


def member(name, loss, oof):
    return FinishedMember(
        name=name,
        learner="a",
        params={},
        folds=(0,),
        rows=np.arange(len(oof)),
        oof=oof,
        loss=loss,
        fold_losses=np.array([loss]),
        fit_seconds=0.0,
        predict_seconds=0.0,
        row_seconds=0.0,
        bytes=100,
    )


def test_dropped_members_stay_in_the_ensemble(tmp_path):
    def squared(y, prediction, weight):
        return float(np.mean((y - prediction[:, 0]) ** 2))

    y = np.arange(8.0)
    incumbent = Incumbent(y, None, squared, np.arange(8))
    tally = Tally(incumbent=incumbent, plateau=Plateau(1.0))
    run = RunDirectory(tmp_path, is_kept=True)
    watch = Stopwatch()
    watch.advance(100.0)
    ledger = Ledger(run, watch)
    for number, shift in enumerate([2.0, 1.0, 0.5]):
        found = member(f"a-{number}", shift, (y + shift)[:, None])
        ledger.keep(found.name, found.oof)
        ledger.write("finished", {"member": found.name, **as_details(found)})
        incumbent.absorb(found.oof)
        tally.finished.append(found)
        drop_excess(tally, ledger, 300)
        assert [kept.name for kept in tally.finished] == [f"a-{number}"]
    lines = read_ledger(run)
    assert [line["member"] for line in lines if line["event"] == "dropped"] == ["a-0", "a-1"]
    assert set(kept_members(lines)) == {"a-2"}
    assert [path.stem for path in tmp_path.glob("oof/_*")] == [kept_ensemble(lines)]
    np.testing.assert_array_equal(ledger.kept(kept_ensemble(lines)), incumbent.prediction)
    assert elapsed(lines) >= 100.0
