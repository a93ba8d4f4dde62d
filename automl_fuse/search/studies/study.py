"""Trials of a study: what is asked of Optuna, and what it is told."""

from __future__ import annotations

import json
import math
import traceback
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from automl_fuse.errors import PluginError
from automl_fuse.folds import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.search.studies.storage import Record, Storage
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
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        params: dict[str, Any],
        storage: Storage,
        record: Record | None,
    ) -> None:
        self._study = study
        self._trial = trial
        self._storage = storage
        self._record = record
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
            self.recorded()

    def stop(self, loss: float) -> None:
        """Tell the study that the trial was not worth finishing, and its loss so far."""
        with self._storage.reached():
            if math.isfinite(loss):
                self._trial.report(loss, step=0)
            self._study.tell(self._trial, state=TrialState.PRUNED)
            self.recorded()

    def fail(self, error: str) -> None:
        """Tell the study that the trial failed, and why."""
        with self._storage.reached():
            self._trial.set_user_attr("error", error)
            self._study.tell(self._trial, state=TrialState.FAIL)
            self.recorded()

    def recorded(self) -> None:
        """Write the trial as it is into the database, if studies are recorded in one."""
        if self._record is not None:
            self._record.write(self._study.get_trials(deepcopy=False)[self.number])


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
                study_name=name,
                storage=storage.backend(cheap=genetic),
                sampler=self._sampler(),
                directions=["minimize"] * n_objectives,
            )
            self._record = None if genetic else storage.record(name)

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
            draw = Draw(self._study, trial, {}, self._storage, self._record)
            try:
                draw.params = space(TrialSuggest(trial))
            except OSError:  # of the storage: the disk may be full
                raise
            except (Exception, SystemExit) as error:
                draw.fail(traceback.format_exc())
                raise PluginError(f"its search space raised {error!r}") from error
            draw.recorded()
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
                else:
                    draw.recorded()
                draws.append(draw)
        return draws

    def _draw(self, trial: optuna.Trial, space: Callable[[TrialSuggest], dict[str, Any]]) -> Draw:
        params = space(TrialSuggest(trial))
        return Draw(self._study, trial, params, self._storage, self._record)

    def _sampler(self) -> BaseSampler:
        if self._genetic is not None:
            return self._genetic
        seed = seed_of(self._seed, self._n_asked)
        return TPESampler(seed=seed, n_startup_trials=6, constant_liar=True)
