import json
import os
import subprocess
import sys

import numpy as np
import pytest

from automl_fuse.errors import RunError
from automl_fuse.run import (
    RunDirectory,
    open_run,
    write_array,
    write_json,
)


def test_a_temporary_run_is_removed():
    with open_run(None) as run:
        write_json(run.report, {"a": 1})
        root = run.root
        assert run.report.is_file()
    assert not root.exists()


def test_a_named_run_is_kept_and_not_overwritten(tmp_path):
    with open_run(str(tmp_path / "run")) as run:
        write_json(run.report, {"a": 1})
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == {"a": 1}
    with (
        pytest.raises(RunError, match="finished run"),
        open_run(str(tmp_path / "run")),
    ):
        pass


def test_a_run_in_use_is_refused(tmp_path):
    with (
        open_run(str(tmp_path)),
        pytest.raises(RunError, match="in use"),
        open_run(str(tmp_path)),
    ):
        pass


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=r"thesis\.txt"), open_run(str(tmp_path)):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_what_an_interrupted_run_left_is_cleared(tmp_path):
    with open_run(str(tmp_path)) as run:
        run.seals.dump(run.fold_model("a-0", 1), "model")
    with open_run(str(tmp_path)) as run:
        assert not run.fold_model("a-0", 1).exists()


def test_a_run_with_finished_members_is_not_cleared(tmp_path):
    with open_run(str(tmp_path)) as run:
        write_json(run.identity, {})
        write_array(run.oof("a-0"), np.zeros(2))
    with pytest.raises(RunError, match=r"automl-fuse resume .*fit\(…, resume="):
        open_run(str(tmp_path)).__enter__()
    with open_run(str(tmp_path), resume=True) as run:
        assert run.oof("a-0").exists()


def test_the_second_process_is_told_who_holds_the_run(tmp_path):
    with open_run(str(tmp_path), resume=True):
        holder = json.loads((tmp_path / "holder.json").read_text())
        script = f"from automl_fuse.run import open_run; open_run({str(tmp_path)!r}).__enter__()"
        command = [sys.executable, "-c", script]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        expected = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        assert f"in use by another run, {expected}" in told
    assert holder["pid"] == os.getpid()
    assert not (tmp_path / "holder.json").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    script = (
        "import os, sys; from automl_fuse.run import open_run; "
        f"held = open_run({str(tmp_path)!r}); held.__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert json.loads((tmp_path / "holder.json").read_text())["pid"] != os.getpid()
    with open_run(str(tmp_path), resume=True) as run:
        assert json.loads(run.holder.read_text())["pid"] == os.getpid()


def test_files_that_were_being_written_are_removed(tmp_path):
    left = [".report.json.x1", "members/.a-0.fold-0.pkl.x2", "encoders/features/.c.joblib.x3"]
    for name in left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    with open_run(str(tmp_path), resume=True):
        assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
        (tmp_path / left[1]).write_text("half")
    assert not (tmp_path / left[1]).exists()


def test_a_run_has_its_key_before_anything_is_written(tmp_path):
    with open_run(str(tmp_path / "run")) as run:
        assert (run.root / "key").stat().st_size == 32


def test_a_run_directory_is_its_owners(tmp_path):
    with open_run(str(tmp_path / "run")) as run:
        run.seals.dump(run.fold_model("a-0", 0), "model")
        assert run.root.stat().st_mode & 0o777 == 0o700
        assert run.fold_model("a-0", 0).stat().st_mode & 0o777 == 0o600


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot use"), open_run(str(tmp_path / "file")):
        pass


def test_writes_are_whole(tmp_path):
    path, seals = tmp_path / "deep" / "thing.pkl", RunDirectory(tmp_path).seals
    size = seals.dump(path, {"x": [1, 2]})
    assert path.stat().st_size == size
    assert seals.load(path) == {"x": [1, 2]}
    assert [file.name for file in path.parent.iterdir()] == ["thing.pkl"]


def test_a_member_is_discarded_alone(tmp_path):
    run = RunDirectory(tmp_path)
    for name in ("knn-1", "knn-10"):
        run.seals.dump(run.fold_model(name, 0), name)
        write_array(run.oof(name), np.zeros(2))
    run.discard("knn-1")
    assert not run.fold_model("knn-1", 0).exists()
    assert not run.oof("knn-1").exists()
    assert run.fold_model("knn-10", 0).exists()
    assert run.oof("knn-10").exists()


def test_a_failed_write_leaves_nothing_and_names_the_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match="taken"):
        RunDirectory(tmp_path).seals.dump(tmp_path / "taken", 1)
    assert {file.name for file in tmp_path.iterdir()} == {"key", "taken"}
