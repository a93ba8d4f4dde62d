"""``fit --config``."""

import json
import tomllib

import pandas as pd
import pytest

import automl_fuse
from automl_fuse import cli

CONFIG = """
data = "train.csv"
target = "diagnosis"
output = "run"
time_limit = "20s"
executor = "inline"
learners = ["linear"]
compressors = []
folds = 2
max_trials = 1
[kinds]
"worst radius" = "category"
"""


@pytest.fixture
def folder(tmp_path, train):
    (tmp_path / "train.csv").write_bytes(train.read_bytes())
    (tmp_path / "fuse.toml").write_text(CONFIG)
    return tmp_path


def report(run):
    return json.loads((run / "report.json").read_text())


def test_a_run_from_a_file_is_repeated_from_what_it_leaves(folder, capsys):
    assert cli.main(["fit", "--config", str(folder / "fuse.toml")]) == cli.OK
    left = folder / "run" / "fuse.toml"
    again = ["fit", "--config", str(left), "--output", str(folder / "again")]
    assert cli.main(again) == cli.OK
    first, second = report(folder / "run"), report(folder / "again")
    assert first["leaderboard"][0]["learner"] == "linear"
    assert first["score"] == second["score"]
    assert first["data_sha256"] == second["data_sha256"]
    assert left.read_text() == (folder / "again" / "fuse.toml").read_text()
    capsys.readouterr()
    # The same directory would be that of the finished run.
    assert cli.main(["fit", "--config", str(left), "--output", str(folder / "run")]) == cli.FILES
    assert "finished run" in capsys.readouterr().err


def test_the_effective_configuration_is_kept(folder, capsys):
    options = ["--seed", "5", "--kind", "worst area=numeric", "--prefer", "quality"]
    options += ["--stop-after-no-gain", "none", "--time-limit", "0.4m", "--quiet"]
    assert cli.main(["fit", "--config", str(folder / "fuse.toml"), *options]) == cli.OK
    kept = tomllib.loads((folder / "run" / "fuse.toml").read_text())
    assert kept["seed"] == 5
    assert kept["kinds"] == {"worst radius": "category", "worst area": "numeric"}
    assert kept["prefer"] == "quality"
    assert kept["stop_after_no_gain"] == "none"
    assert kept["time_limit"] == 24.0
    assert kept["progress"] is False
    assert kept["folds"] == 2
    assert kept["data"] == str(folder / "train.csv")
    assert "output" not in kept


def test_a_run_from_python_keeps_its_configuration_too(folder):
    table = pd.read_csv(folder / "train.csv")
    settings = automl_fuse.Settings(
        executor="inline", learners=("linear",), compressors=(), folds=2, max_trials=1,
        output=str(folder / "python"), progress=False,
    )  # fmt: skip
    automl_fuse.fit(table, target="diagnosis", time_limit="20s", settings=settings)
    left = folder / "python" / "fuse.toml"
    assert "# data: DataFrame, which a file cannot hold" in left.read_text()
    output = str(folder / "repeated")
    arguments = ["fit", str(folder / "train.csv"), "--config", str(left), "--output", output]
    assert cli.main(arguments) == cli.OK
    assert report(folder / "python")["score"] == report(folder / "repeated")["score"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("learner = ['linear']", "unknown key 'learner': did you mean 'learners'"),
        ("seed = '1'", "seed = '1' is wrong: expected a whole number"),
    ],
)
def test_what_is_wrong_in_the_file_ends_with_the_usage_code(folder, capsys, line, words):
    (folder / "fuse.toml").write_text(f"{line}\n{CONFIG}")
    assert cli.main(["fit", "--config", str(folder / "fuse.toml")]) == cli.USAGE
    told = capsys.readouterr().err
    assert str(folder / "fuse.toml") in told
    assert words in told
    assert not (folder / "run").exists()


def test_what_a_run_needs_may_come_from_either(folder, capsys):
    (folder / "half.toml").write_text('target = "diagnosis"\n')
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "--config", str(folder / "half.toml")])
    assert end.value.code == cli.USAGE
    told = capsys.readouterr().err
    assert "a table, --output must be given" in told
    assert "--target" not in told.rsplit("error:", 1)[1]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--time-limit", "soon"], "'soon' is not a time"),
        (["--memory-limit", "much"], "'much' is not a size"),
        (["--stop-after-no-gain", "0"], "no positive number"),
        (["--webhook", "file:///etc/passwd"], "not an http or https address"),
        (["--on-finish", "say 'done"], "No closing quotation"),
        (["--on-finish", " "], "empty"),
    ],
)
def test_options_of_another_form_are_refused(option, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "t.csv", "--target", "y", "--output", "r", *option])
    assert end.value.code == cli.USAGE
    told = capsys.readouterr().err
    assert option[0] in told
    assert words in told


def test_executor_options_are_read_as_in_toml(folder, capsys):
    options = ["--executor-option", "cores=4", "--executor-option", "address=here:1"]
    arguments = ["fit", "--config", str(folder / "fuse.toml"), *options]
    assert cli.main(arguments) == cli.USAGE  # no built-in executor takes any
    assert "executor_options has address, cores" in capsys.readouterr().err
    kept = tomllib.loads((folder / "run" / "fuse.toml").read_text())
    assert kept["executor_options"] == {"cores": 4, "address": "here:1"}
    assert cli.main([*arguments, "--executor-option", "nothing"]) == cli.USAGE
    assert "NAME=VALUE" in capsys.readouterr().err
