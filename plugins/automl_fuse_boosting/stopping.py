"""When to stop adding trees, and how fast to learn when time is short."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_fuse.specs import Deadline, Params

MAX_TREES = 10_000
"""Iterations at most, whatever the learning rate."""

MAX_RATE = 0.2
"""Learning rate that time pressure may raise a smaller one to."""

_REFERENCE_RATE = 0.05
_CHECKS_PER_FIT = 20
_FIRST_CHECK = 5
_LEAST_GAIN = 1e-6
_USABLE = 0.9
_CENTURY = 3e9
# Stands for infinity, because the difference of two infinities is not a number.


def patience(n_rows: int, rate: float) -> int:
    """Return the iterations without gain after which to stop.

    Parameters
    ----------
    n_rows : int
        Training rows: on many rows the validation loss is smooth and waiting is expensive.
    rate : float
        Learning rate: above 0.05 the same distance takes fewer iterations.

    Returns
    -------
    int
        300 up to 10,000 rows, then falling as 1 / n_rows; at least 20.

    Notes
    -----
    The dependence on the rows follows AutoGluon's adaptive early stopping (Erickson et al.
    2020, "AutoGluon-Tabular", and its boosting models).
    """
    by_rows = 300 * min(1.0, 10_000 / max(n_rows, 1))
    return max(20, round(by_rows * min(1.0, _REFERENCE_RATE / rate)))


def travel(n_rows: int) -> float:
    """Return the sum of the learning rates of all iterations that a typical fit needs.

    Notes
    -----
    Best iteration times learning rate, over the LightGBM portfolio and the ten tables that the
    README names, was 2 to 40 times the square root of the rows in thousands, 8 in the median:
    at rate 0.05, 160 iterations for 1,000 rows and 800 for 25,000.
    """
    return min(60.0, max(4.0, 8.0 * math.sqrt(n_rows / 1_000)))


def distance_of(params: Params, typical: float) -> float:
    """Return the sum of the learning rates that a fit shall go, or is expected to need.

    Parameters
    ----------
    params : mapping
        A configuration: ``trees``, if there, is the number of its iterations.
    typical : float
        The distance where early stopping decides.
    """
    rate: float = params["learning_rate"]
    return int(params["trees"]) * rate if "trees" in params else typical


def expected_iterations(rate: float, distance: float, n_rows: int) -> float:
    """Return the iterations that a fit of this distance and patience is expected to run."""
    return min(MAX_TREES, distance / rate + patience(n_rows, rate))


def iterations_of(params: Params, typical: float, n_rows: int) -> float:
    """Return the iterations that a configuration asks for, or is expected to run."""
    if "trees" in params:
        return float(params["trees"])
    return expected_iterations(params["learning_rate"], typical, n_rows)


class Pace:
    """Told of every iteration, says whether to go on and at which learning rate.

    The learning rate of a configuration is a floor. If the iterations it needs do not fit
    into the time left, the rate is raised, up to ``top``; with a far deadline it never is,
    and the fit depends on data and seed alone.

    Parameters
    ----------
    rate : float
        Learning rate of the configuration.
    n_rows : int
        Training rows.
    distance : float
        Sum of the learning rates of all iterations that the fit is expected to need; without
        validation rows it runs exactly that far. See `travel` and `distance_of`.
    deadline : Deadline
        When to stop.
    top : float
        Rate that time pressure may raise a smaller one to.
    saving : float
        Seconds that storing the model takes, as a share of those of its iterations.

    Attributes
    ----------
    rate : float
        Learning rate of the next iteration.
    iterations : int
        Iterations run so far.
    best : int
        Number of iterations of the best model so far; all of them without validation rows.
    raised : bool
        Whether the last iteration led to a higher rate.
    """

    def __init__(
        self,
        *,
        rate: float,
        n_rows: int,
        distance: float,
        deadline: Deadline,
        top: float = MAX_RATE,
        saving: float = 0.03,
    ) -> None:
        self.rate = rate
        self.iterations = 0
        self.best = 0
        self.raised = False
        self._top = top
        self._saving = saving
        self._n_rows = n_rows
        self._deadline = deadline
        self._loss = math.inf
        self._distance = distance
        self._travelled = 0.0
        self._configured = self._best_rate = rate
        self._start = self._last = self._checked = self._remaining()
        self._longest = self._spike = 0.0
        self._next_check = _FIRST_CHECK

    def after(self, loss: float | None) -> bool:
        """Take note of an iteration, and return whether to run another.

        Parameters
        ----------
        loss : float or None
            Validation loss after it, lower is better; None without validation rows.

        Returns
        -------
        bool
            False when the loss has stopped falling, the fixed number of iterations has been
            reached (without validation rows), or the deadline would pass.
        """
        self.iterations += 1
        self._travelled += self.rate
        # Without a least gain, a target that trees separate fully is boosted to the last tree.
        if loss is None or loss < self._loss - _LEAST_GAIN:
            self.best = self.iterations
            if self.rate != self._configured:
                self._best_rate = self._travelled / self.iterations
            self._loss = math.inf if loss is None else loss
        remaining = self._remaining()
        seconds, self._last = self._last - remaining, remaining
        # The longest iteration fades, so that one hiccup does not end the fit early.
        self._longest = max(0.9 * self._longest, seconds)
        self._spike = max(self._spike, seconds)
        self.raised = self._is_check_due(remaining) and self._raise_rate(remaining)
        reserve = 1.5 * self._longest + self._saving * (self._start - remaining)
        return not (self._is_done(has_loss=loss is not None) or remaining < reserve)

    def tuned(self) -> dict[str, Any]:
        """Return the number of iterations of the best model, and the rate for as many anew.

        Where time pressure raised the rate on the way, it is the constant rate that goes as far
        in as many iterations.
        """
        return {"trees": max(1, self.best), "learning_rate": self._best_rate}

    def _remaining(self) -> float:
        return min(_CENTURY, self._deadline.remaining())

    def _is_done(self, *, has_loss: bool) -> bool:
        if self.iterations >= MAX_TREES:
            return True
        if has_loss:
            return self.iterations - self.best >= patience(self._n_rows, self.rate)
        return self._travelled >= self._distance - 1e-9

    def _is_check_due(self, remaining: float) -> bool:
        slow = self.iterations >= 2 and self._checked - remaining > self._start / _CHECKS_PER_FIT
        if not slow and self.iterations < self._next_check:
            return False
        self._checked = remaining
        self._next_check = 2 * self.iterations
        return True

    def _raise_rate(self, remaining: float) -> bool:
        # Libraries start threads and fill caches in one early iteration: it tells nothing.
        elapsed = self._start - remaining - self._spike
        affordable = _USABLE * remaining * (self.iterations - 1) / max(elapsed, 1e-9)
        wanted = min(self._top, (self._distance - self._travelled) / max(affordable, 1.0))
        if wanted < 1.05 * self.rate:
            return False
        self.rate = wanted
        return True
