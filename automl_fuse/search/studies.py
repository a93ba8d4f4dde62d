"""Optuna behind two small classes: the only module that imports it."""

from __future__ import annotations

import contextlib
import json
import math
import re
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from automl_fuse.errors import MissingDependencyError, PluginError, RunError, SettingsError
from automl_fuse.files import cannot_write
from automl_fuse.folds import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from automl_fuse.specs import Params

optuna.logging.disable_default_handler()

POPULATION = 24
"""Trials of one generation of NSGA-II."""


class TrialSuggest:
    """The ``Suggest`` protocol on an Optuna trial.

    Parameters
    ----------
    trial : optuna.Trial
        Draws the values.
    prefix : str
        Put before every name, where several spaces share a study.
    """

    def __init__(self, trial: optuna.Trial, prefix: str = "") -> None:
        self._trial = trial
        self._prefix = prefix

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Ask for an integer in [low, high]."""
        return int(self._trial.suggest_int(self._prefix + name, low, high, log=log))

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Ask for a real number in [low, high]."""
        return float(self._trial.suggest_float(self._prefix + name, low, high, log=log))

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Ask for one of the options."""
        return self._trial.suggest_categorical(self._prefix + name, options)

    def within(self, prefix: str) -> TrialSuggest:
        """Return the same trial with a prefix before every name."""
        return TrialSuggest(self._trial, self._prefix + prefix)


@dataclass(frozen=True, kw_only=True)
class PastTrial:
    """A trial of an earlier attempt at a run, as its ledger has it.

    Attributes
    ----------
    values : mapping of str to object
        What was drawn, by name.
    distributions : mapping of str to object
        What it was drawn from, as ``Draw.distributions`` gives it.
    loss : float or None
        How it finished; None if it did not.
    stopped_at : float or None
        Its loss so far when it was stopped, NaN if there was none; None if it was not stopped.
    error : str or None
        Why it failed; None if it did not.
    """

    values: Mapping[str, Any]
    distributions: Mapping[str, Any]
    loss: float | None = None
    stopped_at: float | None = None
    error: str | None = None


class Draw:
    """One trial of a study: its number, what was drawn, and how it ended.

    Attributes
    ----------
    number : int
        Position in its study.
    params : dict
        What the space returned.
    """

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, params: dict[str, Any], storage: Storage
    ) -> None:
        self._study = study
        self._trial = trial
        self._storage = storage
        self.number = int(trial.number)
        self.params = params

    @property
    def values(self) -> dict[str, Any]:
        """What was drawn, by name: JSON values."""
        return dict(self._trial.params)

    @property
    def distributions(self) -> dict[str, Any]:
        """What it was drawn from, by name: JSON values."""
        found = self._trial.distributions
        return {name: json.loads(distribution_to_json(each)) for name, each in found.items()}

    def finish(self, *losses: float) -> None:
        """Tell the study the losses of the trial, one for each of its objectives."""
        with self._storage.reached():
            if all(map(math.isfinite, losses)):
                self._study.tell(self._trial, losses)
            else:
                self._study.tell(self._trial, state=TrialState.FAIL)

    def stop(self, loss: float) -> None:
        """Tell the study that the trial was not worth finishing, and its loss so far."""
        with self._storage.reached():
            if math.isfinite(loss):
                self._trial.report(loss, step=0)
            self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, error: str) -> None:
        """Tell the study that the trial failed, and why."""
        with self._storage.reached():
            self._trial.set_user_attr("error", error)
            self._study.tell(self._trial, state=TrialState.FAIL)


class Study:
    """An Optuna study that minimises a loss.

    What it draws depends on its trials and their numbers alone, not on what this process has asked
    before: one that is told its past goes on as if it had not been interrupted.

    Parameters
    ----------
    name : str
        Name in the storage.
    storage : Storage
        Where it is kept; a study of this name that an earlier attempt has left is replaced.
    seed : int
        Seed of the sampler.
    n_objectives : int
        Losses of each trial, of which the front is looked for.
    genetic : bool
        Whether NSGA-II draws the points, which takes a millisecond, where many cheap trials are
        wanted; by default TPE does.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        seed: int,
        n_objectives: int = 1,
        *,
        genetic: bool = False,
    ) -> None:
        self._seed = seed
        self._storage = storage
        self._n_asked = 0
        self._genetic = NSGAIISampler(population_size=POPULATION, seed=seed) if genetic else None
        with storage.reached():
            self._study = optuna.create_study(
                study_name=storage.fresh(name),
                storage=storage.backend,
                sampler=self._sampler(),
                directions=["minimize"] * n_objectives,
            )

    def ask(
        self,
        space: Callable[[TrialSuggest], dict[str, Any]],
        point: Params | None = None,
    ) -> Draw:
        """Draw a trial; ``point`` fixes the values of a portfolio's configuration.

        Raises
        ------
        PluginError
            If the space does.
        """
        with self._storage.reached():
            self._study.sampler = self._sampler()
            if point is not None:
                self._study.enqueue_trial(dict(point))
            trial = self._study.ask()
            self._n_asked += 1
            draw = Draw(self._study, trial, {}, self._storage)
            try:
                draw.params = space(TrialSuggest(trial))
            except OSError:  # of the storage: the disk may be full
                raise
            except (Exception, SystemExit) as error:
                draw.fail(traceback.format_exc())
                raise PluginError(f"its search space raised {error!r}") from error
            return draw

    def restore(
        self, past: Sequence[PastTrial], space: Callable[[TrialSuggest], dict[str, Any]]
    ) -> list[Draw]:
        """Tell a study that is empty its trials, by number; those without an end stay open.

        Raises
        ------
        ValueError
            If the space does not hold what was drawn.
        """
        draws = []
        # Every value is given, so that nothing is drawn; a portfolio's may lie outside the space.
        self._study.sampler = RandomSampler(seed=self._seed)
        with self._storage.reached(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for each in past:
                self._study.enqueue_trial(dict(each.values))
                distributions = {
                    name: json_to_distribution(json.dumps(given))
                    for name, given in each.distributions.items()
                }
                draw = self._draw(self._study.ask(fixed_distributions=distributions), space)
                self._n_asked += 1
                if each.loss is not None:
                    draw.finish(each.loss)
                elif each.stopped_at is not None:
                    draw.stop(each.stopped_at)
                elif each.error is not None:
                    draw.fail(each.error)
                draws.append(draw)
        return draws

    def _draw(self, trial: optuna.Trial, space: Callable[[TrialSuggest], dict[str, Any]]) -> Draw:
        return Draw(self._study, trial, space(TrialSuggest(trial)), self._storage)

    def _sampler(self) -> BaseSampler:
        if self._genetic is not None:
            return self._genetic
        seed = seed_of(self._seed, self._n_asked)
        return TPESampler(seed=seed, n_startup_trials=6, constant_liar=True)


class Storage:
    """Where studies are kept: a journal file, a database, or memory.

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
        self.backend: Any = InMemoryStorage()
        if url is not None:
            self.backend = _database(url)
        elif journal is not None:
            with self.reached():
                self.backend = JournalStorage(_Journal(str(journal)))

    def fresh(self, name: str) -> str:
        """Return the name of a study in the storage, and remove what has it there."""
        if self._url is None:
            return name
        full = f"run {self._run} {name}"
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=full, storage=self.backend)
        return full

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the storage into an error of ours.

        Raises
        ------
        RunError
            If the file cannot be written, or the database not be reached.
        """
        if self._url is not None:
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                raise RunError(
                    f"The studies in {_without_password(self._url)} cannot be reached any more: "
                    f"{_reason(error)}. Mend that, then resume the run."
                ) from error
        elif self._journal is not None:
            try:
                yield
            except OSError as error:
                raise cannot_write(self._journal, error) from error
        else:
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Close what connects to a database."""
        if self._url is not None:
            self.backend.remove_session()
            self.backend.engine.dispose()


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
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    shown = _without_password(url)
    try:
        return RDBStorage(url)
    except ImportError as error:
        lacking = getattr(error.__cause__ or error.__context__ or error, "name", None)
        raise MissingDependencyError(
            f"storage={shown!r} needs {lacking or 'a driver'}, not installed: "
            f"{_installed_by(url, lacking)}."
        ) from error
    except (
        SQLAlchemyError, NoSuchModuleError, optuna.exceptions.StorageInternalError, ValueError,
    ) as error:  # fmt: skip
        raise SettingsError(
            f"storage={shown!r} cannot be used: {_reason(error)}. Give a URL such as "
            "'sqlite:///studies.db' or 'postgresql+psycopg2://user:password@host/database'."
        ) from error


def _installed_by(url: str, module: str | None) -> str:
    known = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
    if module is None:
        return f"install what SQLAlchemy needs for {url.partition(':')[0]!r}"
    return f"pip install {known.get(module, module)}"


def _reason(error: BaseException) -> str:
    """Return the first line of what a database says, which is followed by its statements."""
    cause = error.__cause__ or error
    return _without_password(str(cause).strip().partition("\n")[0])


def _without_password(text: str) -> str:
    return re.sub(r"://[^/@\s]*@", "://", text)
