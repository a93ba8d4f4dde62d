"""``fit --on-finish`` and ``--webhook``."""

import json
import shlex
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from automl_fuse import cli
from automl_fuse.cli import fitting

QUICK = ["--executor", "inline", "--learners", "linear", "--folds", "2", "--max-trials", "1"]
QUICK += ["--time-limit", "20", "--compressors", "", "--quiet"]

NOTE = """
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("AUTOML_FUSE_")}
told["arguments"] = sys.argv[2:]
told["report"] = os.path.exists(os.path.join(told["AUTOML_FUSE_RUN"], "report.json"))
with open(sys.argv[1], "w") as stream:
    json.dump(told, stream)
print("printed by the command")
"""


@pytest.fixture
def note(tmp_path):
    """Return a command that notes what it is told, and where it does."""
    script, notes = tmp_path / "note it.py", tmp_path / "notes.json"
    script.write_text(NOTE)
    command = shlex.join([sys.executable, str(script), str(notes), "$HOME", "a b; exit 3"])
    return command, notes


@pytest.fixture
def server():
    """Serve a web address that keeps what is posted to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], json.loads(content)))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    posted = []
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


def fit(train, run, *options):
    return cli.main(["fit", str(train), "--target", "diagnosis", "--output", str(run), *options])


def test_a_command_and_a_web_address_hear_of_the_end(train, tmp_path, note, server, capfd):
    run, (command, notes), (address, posted) = tmp_path / "run", note, server
    options = ["--on-finish", command, "--webhook", f"{address}/hook?key=1", "--json"]
    assert fit(train, run, *QUICK, *options) == cli.OK
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert "printed by the command" in captured.err
    told = json.loads(notes.read_text())
    assert told == {
        "AUTOML_FUSE_RUN": str(run),
        "AUTOML_FUSE_STATUS": "finished",
        "AUTOML_FUSE_METRIC": "log_loss",
        "AUTOML_FUSE_SCORE": repr(report["score"]),
        "AUTOML_FUSE_ERROR": "",
        "arguments": ["$HOME", "a b; exit 3"],
        "report": True,
    }
    ((path, kind, content),) = posted
    assert path == "/hook?key=1"
    assert kind == "application/json"
    assert content == {
        "run": str(run),
        "status": "finished",
        "metric": "log_loss",
        "score": report["score"],
        "error": "",
    }
    assert "finish_failures" not in json.loads((run / "report.json").read_text())


def test_a_run_that_fails_is_told_too(train, tmp_path, note, server):
    (command, notes), (address, posted) = note, server
    options = ["--on-finish", command, "--webhook", address, "--metric", "rmse"]
    assert fit(train, tmp_path / "run", *QUICK, *options) == cli.USAGE
    told = json.loads(notes.read_text())
    assert told["AUTOML_FUSE_STATUS"] == posted[0][2]["status"] == "failed"
    assert told["AUTOML_FUSE_SCORE"] == ""
    assert posted[0][2]["score"] is None
    assert "rmse" in told["AUTOML_FUSE_ERROR"]


def test_a_configuration_that_is_wrong_is_told_too(train, tmp_path, note):
    command, notes = note
    (tmp_path / "fuse.toml").write_text("sed = 1\n")
    options = ["--config", str(tmp_path / "fuse.toml"), "--on-finish", command]
    assert fit(train, tmp_path / "run", *options) == cli.USAGE
    told = json.loads(notes.read_text())
    assert told["AUTOML_FUSE_STATUS"] == "failed"
    assert "did you mean 'seed'" in told["AUTOML_FUSE_ERROR"]


def test_what_fails_at_the_end_is_a_warning_and_in_the_report(train, tmp_path, server, capfd):
    run, (address, posted) = tmp_path / "run", server
    options = ["--on-finish", f"{sys.executable} -c 'exit(3)'", "--webhook", f"{address}/broken"]
    assert fit(train, run, *QUICK, *options) == cli.OK
    assert len(posted) == 1
    told = capfd.readouterr().err
    failures = json.loads((run / "report.json").read_text())["finish_failures"]
    assert len(failures) == 2
    assert "127.0.0.1 failed: HTTP Error 500" in failures[0]
    assert "/broken" not in failures[0]
    assert "exit code 3" in failures[1]
    assert all(failure in told for failure in failures)


def test_a_command_or_address_that_is_not_there_changes_nothing(train, tmp_path, capfd):
    run = tmp_path / "run"
    options = ["--on-finish", "no-such-command-here", "--webhook", "http://127.0.0.1:9/"]
    assert fit(train, run, *QUICK, *options) == cli.OK
    told = capfd.readouterr().err
    assert "the webhook at 127.0.0.1 failed" in told
    assert "no-such-command-here" in told
    assert (run / "model.onnx").is_file()


def test_an_interrupted_run_is_told_as_such(train, plugin, tmp_path, note, monkeypatch):
    monkeypatch.setenv("SIGNAL_AT", "fuse:15")
    command, notes = note
    options = ["--on-finish", command, "--plugins", plugin]
    assert fit(train, tmp_path / "run", *QUICK, *options) == cli.TERMINATED
    told = json.loads(notes.read_text())
    assert told["AUTOML_FUSE_STATUS"] == "interrupted"
    assert float(told["AUTOML_FUSE_SCORE"]) > 0


def test_a_reader_that_has_gone_keeps_nobody_from_being_told(tmp_path, monkeypatch):
    def gone(*_, **__):
        raise BrokenPipeError

    told = []
    model = SimpleNamespace(report={"metric": "rmse", "score": 1.0})
    monkeypatch.setattr(fitting, "_model", lambda *_, **__: model)
    monkeypatch.setattr(fitting, "_show", gone)
    monkeypatch.setattr(fitting, "tell", lambda _, ended: told.append(ended))
    given = ["fit", "rows.csv", "--target", "diagnosis", "--output", str(tmp_path / "run")]
    options = cli._parser().parse_args(given)
    with pytest.raises(BrokenPipeError):
        options.command(options)
    assert [(ended.status, ended.score) for ended in told] == [("finished", 1.0)]
