import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from handmade import ROWS, handmade
from sklearn.datasets import load_breast_cancer

import automl_fuse
from automl_fuse import cli
from automl_fuse.cli.console import fused_by

FIT = ["--executor", "inline", "--learners", "linear", "--folds", "2", "--max-trials", "1"]
FIT += ["--time-limit", "10"]


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
    assert str(output / "model.onnx") in told


def test_fit_prints_json(files, capsys):
    arguments = ["fit", str(files / "train.csv"), "--target", "diagnosis"]
    arguments += ["--output", str(files / "as-json"), "--kind", "mean radius=category", "--json"]
    assert cli.main([*arguments, *FIT]) == cli.OK
    report = json.loads(capsys.readouterr().out)
    assert report["leaderboard"][0]["learner"] == "linear"
    assert automl_fuse.load(report["artefact"]).target == "diagnosis"


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


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portable")
    (folder / "model.onnx").write_bytes(handmade().content())
    pd.DataFrame(ROWS).to_csv(folder / "rows.csv", index=False)
    return folder


def test_a_run_and_its_portable_file_predict_the_same(run, files, capsys):
    test = str(files / "test.csv")
    told = []
    for model in (run, f"{run}/model.onnx"):
        assert cli.main(["predict", model, test, "--proba", "--json"]) == cli.OK
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]


def test_predictions_keep_every_digit(portable, capsys):
    model, rows = str(portable / "model.onnx"), str(portable / "rows.csv")
    assert cli.main(["predict", model, rows, "--proba"]) == cli.OK
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "no,yes"
    found = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    assert np.array_equal(found, automl_fuse.load(model).predict_proba(rows))


def test_inspect_tells_what_a_file_holds(portable, capsys):
    model = str(portable / "model.onnx")
    assert cli.main(["inspect", model]) == cli.OK
    told = capsys.readouterr().out
    for words in ("'bought'", "binary", "'no', 'yes'", "colour", "t-0", "0.750", "log_loss",
                  "onnx", "TreeEnsemble", "manifest", "undefined"):  # fmt: skip
        assert words in told
    assert cli.main(["inspect", str(portable), "--json"]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["parts"]["total"] == (portable / "model.onnx").stat().st_size
    assert told["parts"]["operators"]["TreeEnsemble"]["count"] == 2
    assert told["manifest"]["target"] == "bought"


def test_benchmark_times_a_file(portable, capsys):
    model, rows = str(portable / "model.onnx"), str(portable / "rows.csv")
    assert cli.main(["benchmark", model, "--rows", "1,20"]) == cli.OK
    told = capsys.readouterr().out
    assert "Inside onnxruntime" in told
    assert "Through predict" in told
    assert cli.main(["benchmark", model, "--rows", "2", "--table", rows, "--json"]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    for speeds in told.values():
        assert [speed["rows"] for speed in speeds] == [2]
        assert 0 < speeds[0]["p50_us"] <= speeds[0]["p99_us"]


@pytest.mark.parametrize("command", ["export", "compress"])
def test_another_file_of_a_run_is_written(run, files, tmp_path, capsys, command):
    output = str(tmp_path / "small.onnx")
    assert cli.main([command, run, "--output", output, "--max-size-mb", "50"]) == cli.OK
    assert output in capsys.readouterr().out
    assert len(automl_fuse.load(output).predict(files / "test.csv")) == 169
    arguments = [command, run, "--output", output, "--prefer", "quality", "--max-loss", "0.5"]
    assert cli.main([*arguments, "--json"]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["artefact"] == output
    assert told["bytes"] > 1_000
    limits = ["--max-latency-ms", "1e-9"]
    assert cli.main([command, run, "--output", output, *limits]) == cli.USAGE
    assert "max_latency_ms" in capsys.readouterr().err


def test_fit_passes_the_limits_on(files, tmp_path, monkeypatch):
    seen = {}

    def fit(table, **options):
        seen.update(options)
        raise automl_fuse.errors.DataError("enough")

    monkeypatch.setattr("automl_fuse.engine.fit", fit)
    arguments = ["fit", str(files / "train.csv"), "--target", "x", "--output", str(tmp_path / "r")]
    assert cli.main(arguments) == cli.DATA
    assert not {"prefer", "max_latency_ms", "max_size_mb"} & seen.keys()
    limits = ["--prefer", "speed", "--max-latency-ms", "0.5", "--max-size-mb", "2"]
    assert cli.main([*arguments, *limits]) == cli.DATA
    assert (seen["prefer"], seen["max_latency_ms"], seen["max_size_mb"]) == ("speed", 0.5, 2.0)


@pytest.mark.parametrize(
    "option",
    [
        ["compress", "r", "--output", "o.onnx", "--max-size-mb", "0"],
        ["compress", "r", "--output", "o.onnx", "--max-latency-ms", "nan"],
        ["compress", "r", "--output", "o.onnx", "--max-loss", "-0.1"],
        ["compress", "r", "--output", "o.onnx", "--prefer", "luck"],
        ["benchmark", "m.onnx", "--rows", "1,0"],
        ["benchmark", "m.onnx", "--rows", "some"],
        ["export", "r"],
    ],
)
def test_wrong_options_are_named(option, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(option)
    assert end.value.code == cli.USAGE
    assert option[-2] in capsys.readouterr().err or option[0] == "export"


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
        (["predict", "HERE", "TRAIN"], cli.FILES, "no finished run"),
        (["inspect", "TRAIN"], cli.FILES, "not written by automl_fuse"),
        (["benchmark", "TRAIN"], cli.FILES, "not written by automl_fuse"),
        (["export", "HERE", "--output", "x.onnx"], cli.FILES, "no finished run"),
        (["export", "DONE", "--output", "RUN"], cli.FILES, "must end in .onnx"),
        (["predict", "DONE", "TRAIN", "--output", "HERE"], cli.FILES, "Cannot write"),
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


@pytest.mark.parametrize(
    "command",
    [[], ["fit"], ["predict"], ["evaluate"], ["plugins"], ["inspect"], ["benchmark"], ["compress"]],
)
def test_help_needs_no_heavy_import(command):
    code = (
        "import sys, automl_fuse.cli as cli\n"
        f"try: cli.main({[*command, '--help']!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'numpy', 'pandas', 'sklearn', 'optuna', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: automl-fuse" in done.stdout


def test_wrong_usage_ends_with_the_usage_code():
    with pytest.raises(SystemExit) as end:
        cli.main(["fit"])
    assert end.value.code == cli.USAGE


def test_one_member_is_not_called_fused():
    assert fused_by({"method": "none"}) == "One member, not fused"
    assert fused_by({"method": "greedy"}) == "Fused by greedy"
