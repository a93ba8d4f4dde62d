"""What comes from files is data: shown without effect, parsed, never executed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings, cli
from automl_fuse.cli.console import printable
from automl_fuse.configuration import read_configuration
from automl_fuse.errors import AutoFuseError, RunError, SettingsError
from automl_fuse.progress import Log
from automl_fuse.schema import infer
from automl_fuse.table import read_table

CLEAR, RED, RETITLE, BACKWARDS = "\x1b[2J", "\x1b[31m", "\x1b]0;title\x07", "\u202e"
HOSTILE = ("<script>alert(1)</script>", f"{CLEAR}gone", f"a{RETITLE}", f"{BACKWARDS}txt", "a\nb\rc")
FORMULAS = ("=1+1", "=cmd|' /C calc'!A0", "@SUM(A1)", "+1+cmd", "-2+3", '=HYPERLINK("http://x")')
N = 60


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, len(HOSTILE))), columns=list(HOSTILE))
    return frame.assign(y=np.where(frame[HOSTILE[0]] > 0, f"{RED}yes", "no"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Return a run on a table whose names and labels would do harm if anything obeyed them."""
    folder = tmp_path_factory.mktemp("untrusted") / "run"
    settings = Settings(
        output=str(folder), executor="processes", workers=1, learners=("linear",), folds=2,
        max_trials=1, compressors=(), progress=False,
    )  # fmt: skip
    automl_fuse.fit(table(), target="y", time_limit=60, settings=settings)
    return folder


@pytest.mark.parametrize("text", [*HOSTILE, "\x9b31m", "\x08\x08", "a\tb"])
def test_printable_text_moves_no_terminal(text):
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
    assert printable("größe 😀 <b>") == "größe 😀 <b>"


@pytest.mark.parametrize("command", ["inspect", "leaderboard", "status"])
def test_commands_print_nothing_that_a_terminal_obeys(run, capsys, command):
    assert cli.main([command, str(run)]) == cli.OK
    told = capsys.readouterr()
    assert "y" in told.out
    assert all(line.isprintable() for line in (told.out + told.err).split("\n"))


def test_commands_print_names_of_columns_on_one_line(run, capsys):
    assert cli.main(["inspect", str(run)]) == cli.OK
    lines = capsys.readouterr().out.split("\n")
    assert any(line.startswith("a b c ") for line in lines)


def test_errors_print_nothing_that_a_terminal_obeys(tmp_path, run, capsys):
    path = tmp_path / "rows.csv"
    pd.DataFrame({f"other {CLEAR}": [1.0]}).to_csv(path, index=False)
    assert cli.main(["predict", str(run), str(path)]) == cli.DATA
    told = capsys.readouterr().err
    assert "missing" in told
    assert all(line.isprintable() for line in told.split("\n"))


def test_html_shows_names_and_reasons_as_text():
    shown = infer(read_table({name: [1.5, 2.5, 3.5] for name in HOSTILE}), {})._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_formulas_in_cells_are_texts(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "train.csv"
    cells = rng.choice(FORMULAS, N)
    pd.DataFrame({"cell": cells, "x": rng.normal(size=N), "y": cells}).to_csv(path, index=False)
    assert set(read_table(path).columns["cell"]) == set(FORMULAS)
    settings = Settings(
        executor="inline", learners=("decision_tree",), folds=2, max_trials=1, compressors=(),
        progress=False,
    )  # fmt: skip
    model = automl_fuse.fit(path, target="y", time_limit=60, settings=settings)
    assert set(model.classes_) <= set(FORMULAS)
    assert set(model.predict(path)) <= set(FORMULAS)


def test_predictions_of_formulas_are_quoted_as_csv_asks(tmp_path, capsys):
    stream = io.StringIO()
    from automl_fuse.cli.predicting import _write_rows

    _write_rows(stream, ["y"], [[formula] for formula in FORMULAS])
    assert [row[0] for row in csv.reader(io.StringIO(stream.getvalue()))] == ["y", *FORMULAS]


# --------------------------------------------------------------------------- parsed, not executed

BOMB = "__import__('pathlib').Path('executed').touch()"


def nothing_happened() -> bool:
    return not Path("executed").exists()


@pytest.mark.parametrize(
    "text",
    [
        f'data = "{BOMB}"',
        f'target = "{BOMB}"\nlearners = ["{BOMB}"]',
        f"seed = {BOMB}",
        '!!python/object/apply:os.system ["touch executed"]',
        f'output = "${{{BOMB}}}"\n[kinds]\n"{BOMB}" = "category"',
    ],
)
def test_a_configuration_is_parsed_and_nothing_else(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fuse.toml"
    path.write_text(text)
    with contextlib.suppress(SettingsError):
        assert BOMB in json.dumps(read_configuration(path).values, default=str)
    assert nothing_happened()


@pytest.mark.parametrize(
    "line",
    [
        BOMB,
        json.dumps({"event": "__init__", "seconds": 1.0}),
        json.dumps({"event": f"run_started'; {BOMB}", "seconds": 1.0}),
        json.dumps({"event": "run_started"}),
        json.dumps({"event": "trial_failed", "member": BOMB, "error": BOMB, "seconds": "x"}),
        json.dumps([1, 2]),
        '{"event": ' * 2_000,
        "\x00\xff",
    ],
)
def test_a_log_is_parsed_and_nothing_else(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.jsonl").write_text(f"{line}\n")
    with contextlib.suppress(RunError):
        assert Log(tmp_path).progress().state in {"running", "died"}
    assert nothing_happened()


@pytest.mark.parametrize("name", ["train.csv", "train.parquet", "train.tsv", "train.csv.gz"])
def test_a_pickle_under_another_name_is_not_loaded(tmp_path, monkeypatch, name):
    import pickle

    class Bomb:
        def __reduce__(self):
            return Path("executed").touch, ()

    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AutoFuseError, match="train"):
        automl_fuse.fit(tmp_path / name, target="y", time_limit=5)
    assert nothing_happened()


def test_only_the_owner_reads_what_is_pickled(run):
    pickles = [*run.rglob("*.pkl"), run / "runner.joblib"]
    assert len(pickles) > 3
    for path in pickles:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
