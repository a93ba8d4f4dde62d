import json
import subprocess
import sys

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from automl_fuse import cli

FIT = ["--executor", "inline", "--learners", "linear", "--folds", "2", "--max-trials", "1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(diagnosis=data.target.map({0: "malignant", 1: "benign"}))
    table.iloc[:400].to_csv(folder / "train.csv", index=False)
    table.iloc[400:].to_csv(folder / "test.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(files):
    output = str(files / "run")
    train = str(files / "train.csv")
    assert cli.main(["fit", train, "--target", "diagnosis", "--output", output, *FIT]) == cli.OK
    return output


def test_fit_prints_the_leaderboard_and_where_it_saved(files, capsys):
    output = files / "told"
    arguments = ["fit", str(files / "train.csv"), "--target", "diagnosis", "--output", str(output)]
    assert cli.main([*arguments, *FIT, "--metric", "f1"]) == cli.OK
    told = capsys.readouterr().out
    assert "linear-0" in told
    assert "f1" in told
    assert str(output / "pipeline") in told


def test_fit_prints_json(files, capsys):
    arguments = ["fit", str(files / "train.csv"), "--target", "diagnosis"]
    arguments += ["--output", str(files / "as-json"), "--kind", "mean radius=category", "--json"]
    assert cli.main([*arguments, *FIT]) == cli.OK
    report = json.loads(capsys.readouterr().out)
    assert report["leaderboard"][0]["learner"] == "linear"
    assert report["pipeline"].endswith("pipeline")


def test_predict_writes_labels_or_probabilities(run, files, capsys, tmp_path):
    test = str(files / "test.csv")
    assert cli.main(["predict", run, test, "--output", str(tmp_path / "out.csv")]) == cli.OK
    labels = pd.read_csv(tmp_path / "out.csv")
    assert list(labels.columns) == ["diagnosis"]
    assert len(labels) == 169
    capsys.readouterr()
    assert cli.main(["predict", run, test, "--proba", "--json"]) == cli.OK
    rows = json.loads(capsys.readouterr().out)
    assert set(rows[0]) == {"benign", "malignant"}
    likely = ["malignant" if row["malignant"] > 0.5 else "benign" for row in rows]
    assert likely == labels["diagnosis"].tolist()


def test_evaluate_and_leaderboard(run, files, capsys):
    assert cli.main(["evaluate", run, str(files / "test.csv"), "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["roc_auc"] > 0.9
    assert cli.main(["evaluate", run, str(files / "test.csv")]) == cli.OK
    assert "roc_auc" in capsys.readouterr().out
    assert cli.main(["leaderboard", run]) == cli.OK
    assert "linear-0" in capsys.readouterr().out
    assert cli.main(["leaderboard", run, "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)[0]["member"] == "linear-0"


def test_plugins_are_listed(capsys):
    assert cli.main(["plugins"]) == cli.OK
    told = capsys.readouterr().out
    assert "sklearn" in told
    assert "automl-fuse" in told
    assert cli.main(["plugins", "--json"]) == cli.OK
    assert "linear" in json.loads(capsys.readouterr().out)["learners"]


def test_a_new_plugin_is_written_once(tmp_path, capsys):
    arguments = ["plugins", "new", "my_learners", "--folder", str(tmp_path)]
    assert cli.main(arguments) == cli.OK
    written = capsys.readouterr().out.splitlines()
    assert any(path.endswith("pyproject.toml") for path in written)
    assert cli.main(arguments) != cli.OK


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "nowhere.csv", "--target", "y", "--output", "RUN"], cli.DATA, "nowhere.csv"),
        (["fit", "TRAIN", "--target", "diagnose", "--output", "RUN"], cli.DATA, "diagnosis"),
        (
            ["fit", "TRAIN", "--target", "diagnosis", "--output", "RUN", "--metric", "rmse"],
            cli.USAGE,
            "rmse",
        ),
        (
            ["fit", "TRAIN", "--target", "diagnosis", "--output", "RUN", "--kind", "x"],
            cli.USAGE,
            "COLUMN=KIND",
        ),
        (["fit", "TRAIN", "--target", "diagnosis", "--output", "HERE"], cli.FILES, "other files"),
        (["predict", "nowhere", "TRAIN"], cli.FILES, "nowhere"),
        (["evaluate", "DONE", "TRAIN.missing"], cli.DATA, "missing"),
    ],
)
def test_errors_go_to_stderr_with_a_code(run, files, tmp_path, capsys, arguments, code, words):
    names = {
        "TRAIN": str(files / "train.csv"),
        "RUN": str(tmp_path / "run"),
        "HERE": str(files),
        "DONE": run,
    }
    assert cli.main([names.get(argument, argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert not captured.out


@pytest.mark.parametrize("command", [[], ["fit"], ["predict"], ["evaluate"], ["plugins"]])
def test_help_needs_no_heavy_import(command):
    code = (
        "import sys, automl_fuse.cli as cli\n"
        f"try: cli.main({[*command, '--help']!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'numpy', 'pandas', 'sklearn', 'optuna'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: automl-fuse" in done.stdout


def test_wrong_usage_ends_with_the_usage_code():
    with pytest.raises(SystemExit) as end:
        cli.main(["fit"])
    assert end.value.code == cli.USAGE
