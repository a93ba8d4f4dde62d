"""Features of a fold's rows: made once, kept in files, of all training rows or of a sample."""

from __future__ import annotations

import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_trial import FOLDS, PLUGINS, N, Plain, columns_of, data_of

from automl_fuse import encoding, features
from automl_fuse.budget import Deadline
from automl_fuse.encoding import FoldEncoder, rows_of
from automl_fuse.errors import PluginError, RunError
from automl_fuse.features import beside, forget_features, give_back, taken, with_stored_objects
from automl_fuse.run import RunDirectory
from automl_fuse.specs import ALL_ROWS, Column, EncoderSpec, Kind, Matrix, Task
from automl_fuse.trial import FoldRunner, PluginChoice

NEVER = Deadline(float("inf"))


class Drifting:
    """Gives other features each time it is fitted, as one that chooses by the clock may."""

    fits = 0

    def fit_transform(self, columns, y, weight):
        type(self).fits += 1
        self.number = type(self).fits
        return self.transform(columns)

    def transform(self, columns):
        values = np.full((columns.n_rows, self.number), float(self.number))
        return Matrix.numbers(values, [f"choice {i} of {self.number}" for i in range(self.number)])


class DriftingOutOfFold(Drifting):
    """Gives training rows other features than the same rows later."""

    def fit_transform(self, columns, y, weight):
        features = super().fit_transform(columns, y, weight)
        return replace(features, values=features.values + 0.5)


def drifting_spec(encoder=Drifting):
    encoder.fits = 0
    kinds = frozenset({Kind.NUMERIC})
    return EncoderSpec(name="drifting", api_version=1, kinds=kinds, build=lambda _: encoder())


def shifted_spec():
    """An encoder that reads the target, in effect, and whose fits are all the same."""

    def build(_):
        DriftingOutOfFold.fits = 0
        return DriftingOutOfFold()

    kinds = frozenset({Kind.NUMERIC})
    return EncoderSpec(name="shifted", api_version=1, kinds=kinds, build=build)


@pytest.fixture
def run(tmp_path):
    Plain.calls = 0
    return RunDirectory(tmp_path)


def encoder_of(run, data=None, **more):
    return FoldEncoder(data or data_of(), run, {**PLUGINS.encoders, **more}, 1)


# --------------------------------------------------------------------------- files


def test_features_are_those_of_the_folds_rows_and_cannot_be_written(run):
    train, valid = encoder_of(run).of_fold(0, ("plain",), NEVER)
    columns = columns_of()
    expected = np.column_stack([columns.values["row"], columns.values["x"]])
    assert np.array_equal(train.values, expected[FOLDS[0].train])
    assert np.array_equal(valid.values, expected[FOLDS[0].valid])
    assert train.names == ("row", "x")
    with pytest.raises(ValueError, match="read-only"):
        train.values[0, 0] = 1.0


def test_another_worker_reads_what_the_first_one_made(run):
    first = encoder_of(run).of_fold(1, ("plain",), NEVER)
    again = encoder_of(run).of_fold(1, ("plain",), NEVER)
    assert Plain.calls == 2  # training and validation rows, once
    assert np.array_equal(first[0].values, again[0].values)


def test_workers_that_need_the_same_features_at_once_make_them_once(run):
    started = threading.Barrier(4)
    seen = []

    def work():
        encoder = encoder_of(run)
        started.wait()
        seen.append(encoder.of_fold(0, ("plain",), NEVER)[0].values)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Plain.calls == 2
    assert all(np.array_equal(values, seen[0]) for values in seen)


def test_large_features_are_mapped_again_and_not_kept(run, monkeypatch):
    monkeypatch.setattr(encoding, "LARGE_BYTES", 0)
    encoder = encoder_of(run)
    first = encoder.of_fold(0, ("plain",), NEVER)
    forget_features(run)
    again = encoder.of_fold(0, ("plain",), NEVER)
    # Nothing was kept in memory, and no file was left; one row tells which features those are.
    assert Plain.calls == 5
    assert np.array_equal(first[0].values, again[0].values)


def test_features_made_anew_are_those_of_the_encoder_that_is_kept(run):
    spec = drifting_spec()
    encoder_of(run, drifting=spec).of_fold(0, ("drifting",), NEVER)
    forget_features(run)
    train, valid = encoder_of(run, drifting=spec).of_fold(0, ("drifting",), NEVER)
    assert Drifting.fits == 2
    assert run.seals.load(run.encoder("drifting", 0)).transform(columns_of(1)).values == [[1.0]]
    assert train.names == valid.names == ("choice 0 of 1",)
    assert (train.values == 1.0).all()
    assert (valid.values == 1.0).all()


def test_features_out_of_fold_that_nothing_can_repeat_are_an_error(run):
    spec = drifting_spec(DriftingOutOfFold)
    encoder_of(run, drifting=spec).of_fold(0, ("drifting",), NEVER)
    forget_features(run)
    with pytest.raises(PluginError, match=r"'drifting' chose other features .* block_encoders"):
        encoder_of(run, drifting=spec).of_fold(0, ("drifting",), NEVER)


def test_features_out_of_fold_are_made_anew_by_the_same_fit(run):
    encoder = encoder_of(run, shifted=shifted_spec())
    before = encoder.of_fold(0, ("shifted",), NEVER)[0].values.copy()
    forget_features(run)
    train, valid = encoder_of(run, shifted=shifted_spec()).of_fold(0, ("shifted",), NEVER)
    assert np.array_equal(train.values, before)
    assert (train.values == 1.5).all()
    assert (valid.values == 1.0).all()


def test_features_not_read_for_longest_make_room(run, monkeypatch):
    monkeypatch.setattr(encoding, "LARGE_BYTES", 0)
    encoder = encoder_of(run)
    for fold in range(2):
        encoder.of_fold(fold, ("plain",), NEVER)
    folder = run.encoder("plain", 0).parent / "features"
    for path in folder.glob("*.joblib"):
        os.utime(path, (1, 1))
    encoder.of_fold(0, ("plain",), NEVER)
    size = max(path.stat().st_size for path in folder.glob("*.joblib"))
    monkeypatch.setattr(features, "FILES_BYTES", int(2.5 * size))
    encoder.of_fold(2, ("plain",), NEVER)
    kept = sorted(path.name for path in folder.glob("*.joblib"))
    assert kept == ["plain.fold-0.joblib", "plain.fold-2.joblib"]


def test_features_that_cannot_be_written_say_so(run, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features.joblib, "dump", full)
    with pytest.raises(RunError, match="No space left"):
        encoder_of(run).of_fold(0, ("plain",), NEVER)
    folder = run.encoder("plain", 0).parent / "features"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


# --------------------------------------------------------------------------- samples


def test_a_sample_has_encoders_of_its_own(run):
    data = data_of(Task.REGRESSION)
    encoder = encoder_of(run, data)
    keys = encoder.readable(("plain",), 0, 10)
    assert keys == ("plain@10",)
    train, valid = encoder.of_fold(0, keys, NEVER)
    chosen = data.split(0, 10).train
    assert len(chosen) == 10
    assert train.values[:, 0].astype(int).tolist() == chosen.tolist()
    assert valid.values[:, 0].astype(int).tolist() == FOLDS[0].valid.tolist()
    assert run.encoder("plain@10", 0).exists()
    assert not run.encoder("plain", 0).exists()


@pytest.mark.parametrize("max_rows", [None, 40, 10_000])
def test_a_sample_of_all_rows_is_none(run, max_rows):
    assert len(FOLDS[0].train) == 40
    assert encoder_of(run).readable(("plain",), 0, max_rows) == ("plain",)
    assert data_of().split(0, max_rows) is FOLDS[0]


def test_a_sample_is_the_same_for_every_worker_and_another_in_every_fold():
    data = data_of(Task.REGRESSION)
    assert np.array_equal(data.split(0, 12).train, data_of(Task.REGRESSION).split(0, 12).train)
    assert len(data.split(0, 12).train) == 12
    assert set(data.split(1, 12).train) <= set(FOLDS[1].train)
    assert len(data.split(ALL_ROWS, 12).train) == 12


def test_keys_tell_the_rows_of_their_sample():
    assert rows_of(("codes@50000", "numbers@50000")) == 50_000
    assert rows_of(("codes", "numbers")) is None
    assert rows_of(()) is None


# --------------------------------------------------------------------------- objects in files


class Lengths:
    """Gives the length of each text."""

    def fit_transform(self, columns, y, weight):
        return self.transform(columns)

    def transform(self, columns):
        (column,) = columns.columns
        texts = columns.values[column.name]
        return Matrix.numbers(np.array([[len(text or "")] for text in texts.tolist()]), ["length"])


def texts_of(run):
    """A table with a column of text, and an encoder that reads it."""
    kinds = frozenset({Kind.TEXT})
    spec = EncoderSpec(name="lengths", api_version=1, kinds=kinds, build=lambda _: Lengths())
    columns = columns_of()
    texts = np.array(["x" * (i % 7) if i % 5 else None for i in range(N)], dtype=object)
    described = (*columns.columns, Column(name="a/b", kind=Kind.TEXT, reason=""))
    values = {**columns.values, "a/b": texts}
    return data_of(columns=replace(columns, columns=described, values=values)), spec


def test_objects_are_read_from_files_when_they_are_encoded(run):
    data, spec = texts_of(run)
    runner = FoldRunner(data, run, PluginChoice(), 1).shared()
    content = pickle.dumps(runner)
    assert b"xxxxxx" not in content
    copy = pickle.loads(content)
    copy.__dict__["_plugins"] = SimpleNamespace(encoders={"lengths": spec})
    train, valid = copy._encoder.of_fold(1, ("lengths",), NEVER)
    expected = [len(text or "") for text in data.columns.values["a/b"]]
    assert train.values.ravel().tolist() == [expected[i] for i in FOLDS[1].train]
    assert valid.values.ravel().tolist() == [expected[i] for i in FOLDS[1].valid]


def test_columns_of_numbers_stay_as_they_are(run):
    data, _ = texts_of(run)
    stored = with_stored_objects(data.columns, run)
    assert stored.values["x"] is data.columns.values["x"]
    assert len(stored.values["a/b"]) == N
    forget_features(run)
    with pytest.raises(FileNotFoundError):
        stored.values["a/b"][np.arange(3)]


# --------------------------------------------------------------------------- memory


def test_features_side_by_side_are_those_of_each(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "CHUNK_ROWS", 7)
    rng = np.random.default_rng(0)
    parts = [("a", _mapped(rng, tmp_path, 1)), ("b", Matrix.numbers(rng.normal(size=(N, 2)), "xy"))]
    merged = beside(parts, N)
    assert np.array_equal(merged.values, np.hstack([part.values for _, part in parts]))
    assert merged.names == ("x", "x (b)", "y")
    assert beside([], 5).values.shape == (5, 0)


def _mapped(rng, folder: Path, width: int, n_rows: int = N) -> Matrix:
    np.save(folder / "mapped.npy", rng.normal(size=(n_rows, width)))
    values = np.load(folder / "mapped.npy", mmap_mode="r")
    return Matrix.numbers(values, [f"{'xyz'[i]}" for i in range(width)])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_pages_of_mapped_rows_are_given_back(tmp_path):
    values = _mapped(np.random.default_rng(0), tmp_path, 2, 1_000_000).values
    before = _mapped_kilobytes()
    total = values.sum()
    assert _mapped_kilobytes() > before + 12_000
    give_back(values)
    assert _mapped_kilobytes() < before + 4_000
    assert values.sum() == total


def _mapped_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssFile")).split()[1])


def test_rows_are_taken_from_mapped_and_other_columns(tmp_path):
    columns = columns_of()
    rows = np.array([5, 3, 3])
    assert taken(columns, rows).values["row"].tolist() == [5.0, 3.0, 3.0]
    assert taken(columns, rows).n_rows == 3
