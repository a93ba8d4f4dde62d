"""Pickles of a run are loaded only if the run has written them."""

from __future__ import annotations

import pickle
from functools import partial

import joblib
import numpy as np
import pytest

from automl_fuse.errors import RunError
from automl_fuse.run import RunDirectory


class Trap:
    """Runs code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def test_what_was_put_in_place_of_a_pickle_is_never_interpreted(run, tmp_path):
    path = run.fold_model("a-0", 0)
    run.seals.dump(path, "a model")
    path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")) + bytes(32))
    with pytest.raises(RunError, match=r"a-0\.fold-0\.pkl was not written by this run"):
        run.seals.load(path)
    assert not (tmp_path / "sprung").exists()


def test_a_changed_byte_is_noticed_in_what_is_mapped_too(run):
    path = run.runner
    run.seals.stream(path, partial(joblib.dump, {"x": np.arange(1000.0)}))
    run.seals.check(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="was not written by this run"):
        run.seals.check(path)


def test_sealed_arrays_are_mapped(run):
    path = run.runner
    run.seals.stream(path, partial(joblib.dump, {"x": np.arange(1000.0)}))
    run.seals.check(path)
    values = joblib.load(path, mmap_mode="r")["x"]
    assert isinstance(values, np.memmap)
    np.testing.assert_array_equal(values, np.arange(1000.0))


@pytest.mark.parametrize("size", [0, 31, 32])
def test_files_too_short_for_a_tag_are_refused(run, size):
    run.seals.dump(run.pipelines, 1)
    run.pipelines.write_bytes(bytes(size))
    for read in (run.seals.load, run.seals.check):
        with pytest.raises(RunError, match="damaged"):
            read(run.pipelines)


def test_each_run_has_a_key_of_its_own_for_its_owner_only(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        RunDirectory(tmp_path / name).seals.dump(tmp_path / name / "pipelines.pkl", name)
    keys = [tmp_path / name / "key" for name in ("one", "other")]
    assert keys[0].read_bytes() != keys[1].read_bytes()
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600, 0o600]
    (tmp_path / "one" / "pipelines.pkl").replace(tmp_path / "other" / "pipelines.pkl")
    with pytest.raises(RunError, match="was not written by this run"):
        RunDirectory(tmp_path / "other").seals.load(tmp_path / "other" / "pipelines.pkl")


def test_a_lost_or_damaged_key_is_named(run):
    run.seals.dump(run.pipelines, 1)
    key = run.root / "key"
    content = key.read_bytes()
    key.write_bytes(content[:5])
    with pytest.raises(RunError, match="damaged"):
        RunDirectory(run.root).seals.load(run.pipelines)
    key.unlink()
    with pytest.raises(RunError, match=r"key is missing"):
        RunDirectory(run.root).seals.load(run.pipelines)
    assert not key.exists(), "reading makes no key"


def test_the_key_is_in_no_pickle(run):
    run.seals.dump(run.pipelines, 1)
    copy = pickle.dumps(run)
    assert (run.root / "key").read_bytes() not in copy
    assert pickle.loads(copy).seals.load(run.pipelines) == 1
