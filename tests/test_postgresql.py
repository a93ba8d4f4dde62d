"""Studies in a PostgreSQL database: of a server that a variable names, or one started here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pandas as pd
import pytest
from dying_run import PATIENCE, STORAGE, fit
from sklearn.datasets import load_breast_cancer

from automl_fuse.errors import RunError, SettingsError
from automl_fuse.search import times
from automl_fuse.search.studies import Storage, Study

if TYPE_CHECKING:
    from collections.abc import Iterator

sqlalchemy = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg", reason="psycopg, the driver, is not installed")

VARIABLE = "AUTOML_FUSE_TEST_POSTGRESQL"
"""URL of a server on which databases may be created: ``postgresql+psycopg://me@host/postgres``."""
SCRIPT = Path(__file__).parent / "dying_run.py"


class Server:
    """A server of this machine, which listens on a socket in its own folder.

    PostgreSQL refuses to be run by root, so that another user is taken there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "tester", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://tester@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -F"
        self._run("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self._folder,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if command[0] == "initdb" else subprocess.DEVNULL,
            check=False,
        )
        assert not done.returncode, f"{command}: {done.stdout}"


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    lacking = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"no PostgreSQL server: {', '.join(lacking)} not found on PATH")
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture(scope="module")
def server_url(request: pytest.FixtureRequest) -> str:
    given = os.environ.get(VARIABLE)
    return given or request.getfixturevalue("own_server").url


def administered(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def within(url: str, database: str) -> str:
    made = sqlalchemy.make_url(url).set(database=database)
    return str(made.render_as_string(hide_password=False))


@pytest.fixture
def url(server_url: str) -> Iterator[str]:
    """Return the URL of a new database."""
    name = f"fuse_{os.getpid()}"
    administered(server_url, f"CREATE DATABASE {name}")
    yield within(server_url, name)
    administered(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    data = load_breast_cancer(as_frame=True)
    path = tmp_path / "train.csv"
    data.data.assign(diagnosis=data.target).iloc[:300, -12:].to_csv(path, index=False)
    return path


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PATIENCE.items():
        monkeypatch.setattr(times, name, value)


def outcome(pipeline, table):
    rows = pd.read_csv(table).head(40)
    board = [(row["member"], row["weight"], row["score"]) for row in pipeline.report["leaderboard"]]
    return board, pipeline.report["trials"], pipeline.predict_proba(rows).tolist()


def studies(url):
    """Return trials by study, without what tells the run."""
    found = {}
    engine = {"poolclass": sqlalchemy.NullPool}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
    for summary in optuna.get_all_study_summaries(storage):
        word, _, name = summary.study_name.split(" ", 2)
        assert word == "run"
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        found[name] = [(t.state.name, t.params, t.values) for t in study.trials]
    storage.remove_session()
    storage.engine.dispose()
    return found


def test_a_run_that_was_killed_goes_on_and_leaves_the_same_studies(url, table, tmp_path):
    whole = fit(table, tmp_path / "whole", resume=False, storage=url)
    expected = studies(url)
    assert expected.keys() == {"linear", "naive_bayes", "fusion"}
    assert all(state != "RUNNING" for trials in expected.values() for state, *_ in trials)
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "whole/study.journal"))
    assert optuna.get_all_study_names(optuna.storages.JournalStorage(journal)) == ["front"]

    administered(url, "DROP SCHEMA public CASCADE")
    administered(url, "CREATE SCHEMA public")
    run = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(table), str(run), "60", "inline"],
        env={**os.environ, STORAGE: url},
        check=False,
    )
    assert killed.returncode == -9
    assert any(state == "RUNNING" for trials in studies(url).values() for state, *_ in trials)
    resumed = fit(table, run, resume=True, storage=url)
    assert outcome(resumed, table) == outcome(whole, table)
    assert studies(url) == expected


def test_a_study_in_a_database_draws_what_one_in_memory_does(url):
    def space(suggest):
        return {"depth": suggest.integer("depth", 1, 9), "kind": suggest.choice("kind", "ab")}

    drawn = []
    with Storage(None, url, "7") as storage:
        for study in (Study("a", Storage(None), 3), Study("a", storage, 3)):
            drawn.append([])
            for number in range(9):
                draw = study.ask(space)
                drawn[-1].append(draw.params)
                if number == 4:
                    draw.fail("no luck")
                elif number == 5:
                    draw.stop(0.5)
                else:
                    draw.finish(float(draw.params["depth"]))
    assert drawn[0] == drawn[1]
    trials = studies(url)["a"]
    assert [params for _, params, _ in trials] == drawn[0]
    assert [state for state, *_ in trials] == ["COMPLETE"] * 4 + ["FAIL", "PRUNED"] + [
        "COMPLETE"
    ] * 3
    assert trials[0][2] == [drawn[0][0]["depth"]]


def test_runs_that_meet_an_empty_database_all_begin(url):
    def opened(number):
        with Storage(None, url, str(number)) as storage:
            Study("a", storage, 0)
        return number

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(opened, range(6))) == list(range(6))
    assert studies(url) == {"a": []}


def test_a_database_that_is_not_there_is_named(server_url):
    with pytest.raises(SettingsError, match=r'"absent" does not exist\. See that its server runs'):
        Storage(None, within(server_url, "absent"))


def test_a_server_may_be_started_anew_between_trials(own_server):
    with Storage(None, own_server.url, "1") as storage:
        study = Study("a", storage, 0)
        draw = study.ask(lambda suggest: {"x": suggest.real("x", 0.0, 1.0)})
        own_server.stop()
        with pytest.raises(RunError, match=r"cannot be reached any more: .* resume the run"):
            draw.finish(0.5)
        own_server.start()
        study.ask(lambda suggest: {"x": suggest.real("x", 0.0, 1.0)}).finish(0.25)
    assert [values for _, _, values in studies(own_server.url)["a"]] == [None, [0.25]]
