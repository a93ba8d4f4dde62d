import json

import numpy as np
import pytest

from automl_fuse.errors import RunError
from automl_fuse.run import (
    RunDirectory,
    open_run,
    read_pickle,
    write_array,
    write_json,
    write_pickle,
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
        write_pickle(run.fold_model("a-0", 1), "model")
    with open_run(str(tmp_path)) as run:
        assert not run.fold_model("a-0", 1).exists()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot use"), open_run(str(tmp_path / "file")):
        pass


def test_writes_are_whole(tmp_path):
    path = tmp_path / "deep" / "thing.pkl"
    size = write_pickle(path, {"x": [1, 2]})
    assert path.stat().st_size == size
    assert read_pickle(path) == {"x": [1, 2]}
    assert [file.name for file in path.parent.iterdir()] == ["thing.pkl"]


def test_a_member_is_discarded_alone(tmp_path):
    run = RunDirectory(tmp_path)
    for name in ("knn-1", "knn-10"):
        write_pickle(run.fold_model(name, 0), name)
        write_array(run.oof(name), np.zeros(2))
    run.discard("knn-1")
    assert not run.fold_model("knn-1", 0).exists()
    assert not run.oof("knn-1").exists()
    assert run.fold_model("knn-10", 0).exists()
    assert run.oof("knn-10").exists()


def test_a_failed_write_leaves_nothing_and_names_the_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match="taken"):
        write_pickle(tmp_path / "taken", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
