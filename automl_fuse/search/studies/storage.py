"""Where studies are kept: a journal, a database, or memory."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import optuna
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from automl_fuse.errors import MissingDependencyError, RunError, SettingsError
from automl_fuse.files import cannot_write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.trial import FrozenTrial

_PACKAGES: Final = {
    "psycopg": "'automl-fuse[postgresql]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
"""What installs the drivers that SQLAlchemy imports, where that has another name."""
COLLISIONS: Final = 4
"""Times that other runs may create a table before this one."""


class Storage:
    """Where studies are kept: a journal file, a database, or memory.

    What goes to a database is held in memory as well, and read from there. Studies of many trials
    that cost nothing are kept in the journal all the same.

    Parameters
    ----------
    journal : Path or None
        The file; memory if None.
    url : str, optional
        A database in place of it, as SQLAlchemy names them.
    run : str
        What tells the studies of this run from others in the database.

    Raises
    ------
    SettingsError
        If the database cannot be used.
    MissingDependencyError
        If what talks to such databases is not installed.
    """

    def __init__(self, journal: Path | None, url: str | None = None, run: str = "") -> None:
        self._journal = journal
        self._url = url
        self._run = run
        self._database = None if url is None else _database(url)
        self._local: Any = InMemoryStorage()
        if journal is not None:
            with self.reached():
                self._local = JournalStorage(_Journal(str(journal)))
        self._memory = InMemoryStorage()

    def backend(self, *, cheap: bool) -> Any:
        """Return what Optuna is to read and write; ``cheap`` says that trials cost nothing."""
        return self._local if cheap or self._database is None else self._memory

    def record(self, name: str) -> Record | None:
        """Return a new study in the database, in place of one that has the name; None without one.

        Call it within ``reached``, and use what it returns there.
        """
        if self._database is None:
            return None
        full = f"run {self._run} {name}"
        with contextlib.suppress(KeyError):
            self._database.delete_study(self._database.get_study_id_from_name(full))
        return Record(self._database, full)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the storage into an error of ours.

        Raises
        ------
        RunError
            If the file cannot be written, or the database not be reached.
        """
        lost: tuple[type[Exception], ...] = ()
        if self._database is not None:
            from sqlalchemy.exc import SQLAlchemyError

            lost = SQLAlchemyError, optuna.exceptions.StorageInternalError
        try:
            yield
        except lost as error:
            raise RunError(
                f"The studies in {_without_password(str(self._url))} cannot be reached any more: "
                f"{_reason(error)}. Mend that, then resume the run."
            ) from error
        except OSError as error:
            if self._journal is None:
                raise
            raise cannot_write(self._journal, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Close what connects to a database."""
        if self._database is not None:
            self._database.remove_session()
            self._database.engine.dispose()


class Record:
    """A study in a database, written trial by trial as a study in memory goes on.

    Optuna itself sends a database a hundred statements a trial, in dozens of transactions, and
    waits for each. Here they are one transaction when a trial begins, and one to three when it
    ends; nothing is read.

    Parameters
    ----------
    database : RDBStorage
        Where to write.
    name : str
        Name of the study, which is not there yet.
    """

    def __init__(self, database: RDBStorage, name: str) -> None:
        self._database = database
        self._study = database.create_new_study([StudyDirection.MINIMIZE], name)
        self._trials: dict[int, int] = {}

    def write(self, trial: FrozenTrial) -> None:
        """Write a trial, or how it ended if it is there; new ones come in their order."""
        known = self._trials.get(trial.number)
        if known is None:
            self._trials[trial.number] = self._database.create_new_trial(self._study, trial)
            return
        for key, value in trial.user_attrs.items():
            self._database.set_trial_user_attr(known, key, value)
        for step, loss in trial.intermediate_values.items():
            self._database.set_trial_intermediate_value(known, step, loss)
        self._database.set_trial_state_values(known, trial.state, trial.values)


class _Journal(JournalFileBackend):  # type: ignore[misc] # Optuna is not typed
    """Optuna's journal file, written without waiting for the disk at every value of every trial.

    What must survive stands in the run's ledger, from which studies are made anew; and the run is
    locked, so that nobody else writes.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries, each a line."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with Path(self._file_path).open("ab") as stream:
            stream.write(lines.encode())


def _database(url: str) -> RDBStorage:
    from sqlalchemy.exc import NoSuchModuleError, OperationalError, SQLAlchemyError

    shown = _without_password(url)
    try:
        return _with_tables(url)
    except ImportError as error:
        lacking = getattr(error.__cause__ or error.__context__ or error, "name", None)
        raise MissingDependencyError(
            f"storage={shown!r} needs {lacking or 'a driver'}, not installed: "
            f"{_installed_by(url, lacking)}."
        ) from error
    except OperationalError as error:
        raise SettingsError(
            f"storage={shown!r} cannot be used: {_reason(error)}. See that its server runs, and "
            "that the database and its user are there."
        ) from error
    except (
        SQLAlchemyError, NoSuchModuleError, optuna.exceptions.StorageInternalError, ValueError,
    ) as error:  # fmt: skip
        raise SettingsError(
            f"storage={shown!r} cannot be used: {_reason(error)}. Give a URL such as "
            "'sqlite:///studies.db' or 'postgresql+psycopg://user:password@host/database'."
        ) from error


def _with_tables(url: str) -> RDBStorage:
    """Return Optuna's tables, made where there are none.

    Of several runs that meet an empty database each makes them, and all but one fail: they find
    them when they look again.
    """
    from sqlalchemy import NullPool
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(COLLISIONS):
        with contextlib.suppress(IntegrityError, ProgrammingError):
            RDBStorage(url, engine_kwargs={"poolclass": NullPool})
            break
    # A connection that was cut in a long fit is made anew before the next trial is written.
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


def _installed_by(url: str, module: str | None) -> str:
    if module is None:
        return f"install what SQLAlchemy needs for {url.partition(':')[0]!r}"
    return f"pip install {_PACKAGES.get(module, module)}"


def _reason(error: BaseException) -> str:
    """Return the first line of what a database says, which is followed by its statements."""
    cause = error.__cause__ or error
    return _without_password(str(cause).strip().partition("\n")[0])


def _without_password(text: str) -> str:
    return re.sub(r"([?&]password=)[^&\s]*", r"\1", re.sub(r"://[^/\s]*@", "://", text))
