"""Optuna behind two small classes: the only module that imports it."""

from __future__ import annotations

import math
import traceback
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from automl_fuse.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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


class Draw:
    """One trial of a study: its number, what was drawn, and how it ended.

    Attributes
    ----------
    number : int
        Position in its study.
    params : dict
        What the space returned.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, params: dict[str, Any]) -> None:
        self._study = study
        self._trial = trial
        self.number = int(trial.number)
        self.params = params

    def finish(self, *losses: float) -> None:
        """Tell the study the losses of the trial, one for each of its objectives."""
        if all(map(math.isfinite, losses)):
            self._study.tell(self._trial, losses)
        else:
            self._study.tell(self._trial, state=TrialState.FAIL)

    def stop(self, loss: float) -> None:
        """Tell the study that the trial was not worth finishing, and its loss so far."""
        if math.isfinite(loss):
            self._trial.report(loss, step=0)
        self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, error: str) -> None:
        """Tell the study that the trial failed, and why."""
        self._trial.set_user_attr("error", error)
        self._study.tell(self._trial, state=TrialState.FAIL)


class Study:
    """An Optuna study that minimises a loss.

    Parameters
    ----------
    name : str
        Name in the storage.
    storage : Storage
        Where it is kept.
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
        sampler = (
            optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
            if genetic
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=6, constant_liar=True)
        )
        self._study = optuna.create_study(
            study_name=name,
            storage=storage.backend,
            sampler=sampler,
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
        if point is not None:
            self._study.enqueue_trial(dict(point))
        trial = self._study.ask()
        draw = Draw(self._study, trial, {})
        try:
            draw.params = space(TrialSuggest(trial))
        except OSError:  # of the storage: the disk may be full
            raise
        except (Exception, SystemExit) as error:
            draw.fail(traceback.format_exc())
            raise PluginError(f"its search space raised {error!r}") from error
        return draw


class Storage:
    """Where studies are kept: a journal file, or memory.

    Parameters
    ----------
    journal : Path or None
        The file; memory if None.
    """

    def __init__(self, journal: Path | None) -> None:
        self.backend = (
            InMemoryStorage()
            if journal is None
            else JournalStorage(JournalFileBackend(str(journal)))
        )
