import inspect
import tomllib
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from automl_fuse import Settings, fit
from automl_fuse.configuration import (
    ARGUMENTS,
    Configuration,
    keep_configuration,
    keys,
    read_configuration,
)
from automl_fuse.errors import SettingsError
from automl_fuse.run import RunDirectory


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "fuse.toml").write_text(text, encoding="utf-8")
        return read_configuration(tmp_path / "fuse.toml")

    return read


def test_a_file_may_hold_all_that_fit_takes():
    # A table in memory is no file's; ``settings`` are held field by field.
    others = {"y", "settings", "resume", "accept_changes"}
    assert set(ARGUMENTS) == set(inspect.signature(fit).parameters) - others
    assert {each.name for each in fields(Settings)} <= set(keys())
    assert not set(ARGUMENTS) & {each.name for each in fields(Settings)}


def test_a_file_is_read_into_arguments_and_settings(read, tmp_path):
    found = read(
        """
        data = "tables/train.csv"
        target = "y"
        time_limit = "1h30m"
        max_size_mb = 2
        learners = ["linear", "knn"]
        compressors = []
        memory_limit = "2GB"
        output = "/runs/one"
        stop_after_no_gain = "none"
        [kinds]
        "mean radius" = "numeric"
        [executor_options]
        address = "here:1"
        retries = 3
        """
    )
    assert found.arguments == {
        "data": str(tmp_path / "tables" / "train.csv"),
        "target": "y",
        "time_limit": "1h30m",
        "max_size_mb": 2.0,
    }
    assert found.settings == Settings(
        learners=("linear", "knn"),
        compressors=(),
        memory_limit="2GB",
        output="/runs/one",
        stop_after_no_gain=None,
        kinds={"mean radius": "numeric"},
        executor_options={"address": "here:1", "retries": 3},
    )


def test_an_empty_file_says_nothing(read):
    assert read("").arguments == {}
    assert read("").settings == Settings()


def test_addresses_are_not_taken_for_paths(read):
    assert read('data = "s3://bucket/t.parquet"').arguments == {"data": "s3://bucket/t.parquet"}


def test_later_values_override_and_tables_are_merged():
    said = Configuration(values={"seed": 1, "folds": 3, "kinds": {"a": "text", "b": "text"}})
    found = said.overridden({"seed": 2, "kinds": {"b": "category"}})
    assert found.values == {"seed": 2, "folds": 3, "kinds": {"a": "text", "b": "category"}}
    assert said.values["seed"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 1", r"fuse\.toml: unknown key 'sed': did you mean 'seed'"),
        ("time-limit = 1", "unknown key 'time-limit': did you mean 'time_limit'"),
        ("[settings]\nseed = 1", "unknown key 'settings'"),
        ("on_finish = 'rm -r x'", "'on_finish' is no key: give --on-finish on the command line"),
        ('seed = "x"', r"fuse\.toml: seed = 'x' is wrong: expected a whole number"),
        ("seed = 1.5", "seed = 1.5 is wrong"),
        ("workers = true", "workers = True is wrong: expected a whole number"),
        ("progress = 1", "progress = 1 is wrong: expected true or false"),
        ('learners = "linear"', "learners = 'linear' is wrong: expected a list of texts"),
        ("learners = [1]", "learners = 1 is wrong: expected a list of texts"),
        ('folds = "many"', "folds = 'many' is wrong: expected a whole number"),
        ('prefer = "luck"', "prefer = 'luck' is wrong: expected 'balanced' or"),
        ('task = "clustering"', "task = 'clustering' is wrong: expected 'binary' or"),
        ("[kinds]\na = 1", "kinds = 1 is wrong: expected a table of texts"),
        ("output = 1979-05-27", "output = .* is wrong: expected a text"),
        ("[executor_options]\na = 1979-05-27", "executor_options = .* is wrong"),
        ('stop_after_no_gain = "never"', "expected a number, or 'none'"),
        ('seed = "none"', "seed = 'none' is wrong"),
        ('time_limit = "long"', r"fuse\.toml: time_limit='long' is not a time"),
        ('memory_limit = "much"', r"fuse\.toml: memory_limit='much' is not a size"),
        ("seed = \ntask = 1", r"fuse\.toml is not a TOML file: .*line 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(read, text, words):
    with pytest.raises(SettingsError, match=words):
        read(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"Cannot read .*nowhere\.toml"):
        read_configuration(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'target = "\xe9"')
    with pytest.raises(SettingsError, match=r"latin\.toml is not a TOML file"):
        read_configuration(tmp_path / "latin.toml")


def test_what_is_written_is_what_is_read(tmp_path):
    settings = Settings(
        kinds={'odd "name"': "text", "a.b": "numeric"},
        learners=("linear",),
        stop_after_no_gain=None,
        seed=np.int64(3),
        memory_limit="2GB",
        executor_options={"deep": {"list": [1, 2.5, "x", True]}},
        output="elsewhere",
    )
    said = {"data": tmp_path / "t.csv", "target": "größe\n", "time_limit": 30, "metric": None}
    keep_configuration(RunDirectory(tmp_path), said, settings)
    found = read_configuration(tmp_path / "fuse.toml")
    assert found.arguments == {
        "data": str(tmp_path / "t.csv"), "target": "größe\n", "time_limit": 30.0,
    }  # fmt: skip
    assert found.settings == Settings(
        **{
            **{each.name: getattr(settings, each.name) for each in fields(Settings)},
            "seed": 3,
            "output": None,
        }
    )
    assert (tmp_path / "fuse.toml").stat().st_mode & 0o077 == 0


def test_what_a_file_cannot_hold_is_named_in_it(tmp_path):
    said = {"data": pd.DataFrame({"x": [1]}), "metric": max, "groups": np.zeros(3)}
    keep_configuration(RunDirectory(tmp_path), said, Settings(folds=[([0], [1])]))
    text = (tmp_path / "fuse.toml").read_text()
    for words in ("# data: DataFrame,", "# metric: builtin", "# groups: ndarray,", "# folds: list"):
        assert words in text
    assert not {"data", "metric", "groups", "folds"} & tomllib.loads(text).keys()


def test_relative_data_is_written_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_configuration(RunDirectory(tmp_path), {"data": "train.csv"}, Settings())
    found = read_configuration(tmp_path / "fuse.toml").arguments
    assert found == {"data": str(tmp_path / "train.csv")}
