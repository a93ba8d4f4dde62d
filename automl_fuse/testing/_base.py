"""What all suites share: checks that name their rule, fake deadlines, fake searches."""

from __future__ import annotations

import json
import math
import pickle
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from unittest import SkipTest

import numpy as np

from automl_fuse.validation import spec_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from automl_fuse.specs import Array, Configuration, Floats, Params, Space, Task

SEED: Final = 7
"""Seed of the fits that checks of learners share."""

_Case = TypeVar("_Case")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Check:
    """One rule applied to one spec; call it to apply it, ``str`` gives a readable test id.

    Attributes
    ----------
    kind, spec : str
        Kind and name of the spec.
    case : str
        What it is applied to: a task, mostly; may be empty.
    rule : str
        Identifier of the rule, as in ``"pickles"``.
    meaning : str
        The rule in words.
    run : callable
        Applies it.
    """

    kind: str
    spec: str
    case: str
    rule: str
    meaning: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return "-".join(part for part in (self.spec, self.case, self.rule) if part)

    def __call__(self) -> None:
        """Apply the rule.

        Raises
        ------
        AssertionError
            If it is broken, naming spec and rule.
        unittest.SkipTest
            If it cannot be applied, saying why; pytest reports such a test as skipped.
        """
        where = f"{self.kind} {self.spec!r}" + (f" ({self.case})" if self.case else "")
        broken = f"{where} breaks the rule {self.rule!r}: {self.meaning}"
        try:
            self.run()
        except SkipTest:
            raise
        except AssertionError as error:
            raise AssertionError(f"{broken}\n{error}") from error
        except Exception as error:
            raise AssertionError(f"{broken}\nIt raised {type(error).__name__}: {error}") from error


def checks_of(
    rules: Sequence[Callable[[_Case], None]], case: _Case, *, kind: str, spec: str, label: str
) -> list[Check]:
    """Bind rules to a case.

    A rule is named like its function, and its docstring says: "Require that …".
    """

    def bound(rule: Callable[[_Case], None]) -> Check:
        meaning = " ".join((rule.__doc__ or "").split()).removeprefix("Require that ")
        return Check(kind, spec, label, rule.__name__, meaning, lambda: rule(case))

    return [bound(rule) for rule in rules]


def sound_spec(spec: Any, kind: str) -> Check:
    """Return the check that the host would accept the spec."""

    def run() -> None:
        problems = spec_problems(spec)
        require(not problems, "; ".join(problems))

    meaning = "the host accepts the fields of the spec."
    return Check(kind, str(spec.name), "", "is_sound", meaning, run)


def run_all(checks: Sequence[Check]) -> None:
    """Apply every check that can be; raise one ``AssertionError`` listing all that are broken."""
    broken = []
    for check in checks:
        try:
            with suppress(SkipTest):
                check()
        except AssertionError as error:
            broken.append(str(error))
    require(not broken, "\n\n".join(broken))


def require(condition: object, message: str) -> None:
    """Raise ``AssertionError`` with this message unless the condition holds.

    A function, not an ``assert``, so that the suites also work under ``python -O``.
    """
    if not condition:
        raise AssertionError(message)


# --------------------------------------------------------------------------- deadlines


@dataclass
class TickingDeadline:
    """A deadline without a clock: each look at it takes ``tick`` seconds of what is left.

    So a fit that iterates ends after a known number of iterations, on any machine.
    """

    seconds: float = 100.0
    tick: float = 1.0

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""
        self.seconds -= self.tick
        return self.seconds

    def expired(self) -> bool:
        """Return whether the moment has passed."""
        return self.remaining() <= 0


def far() -> TickingDeadline:
    """Return a deadline that does not hinder a fit on the suites' small tables."""
    return TickingDeadline()


def passed() -> TickingDeadline:
    """Return a deadline that has passed before the fit begins."""
    return TickingDeadline(seconds=-1.0)


# --------------------------------------------------------------------------- search spaces


class RandomDraws:
    """A ``Suggest`` that draws at random, uniformly, or log-uniformly where asked."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._asked: set[str] = set()

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Draw an integer in [low, high]."""
        _check_range(name, low, high, log=log)
        self._once(name)
        drawn = self._number(low, high + 1, log=log)
        return min(int(drawn), high)

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a real number in [low, high]."""
        _check_range(name, low, high, log=log)
        self._once(name)
        return float(np.clip(self._number(low, high, log=log), low, high))

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Draw one of the options."""
        self._once(name)
        require(options, f"the space gives no options for {name!r}")
        return options[int(self._random.integers(len(options)))]

    def _number(self, low: float, high: float, *, log: bool) -> float:
        if log:
            return math.exp(self._random.uniform(math.log(low), math.log(high)))
        return float(self._random.uniform(low, high))

    def _once(self, name: str) -> None:
        require(name not in self._asked, f"the space asks for {name!r} twice")
        self._asked.add(name)


class Replay:
    """A ``Suggest`` that answers with given params, and objects where they are outside."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Answer with the integer that the params name."""
        _check_range(name, low, high, log=log)
        value = self._given(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole, f"{name} is {value!r}, and the space wants an integer")
        require(low <= value <= high, f"{name} is {value}, outside [{low}, {high}]")
        return int(value)

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Answer with the number that the params name."""
        _check_range(name, low, high, log=log)
        value = self._given(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number, f"{name} is {value!r}, and the space wants a number")
        require(low <= value <= high, f"{name} is {value}, outside [{low}, {high}]")
        return float(value)

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Answer with the option that the params name."""
        value = self._given(name)
        require(value in options, f"{name} is {value!r}, not one of {list(options)}")
        return value

    def _given(self, name: str) -> Any:
        require(name in self._params, f"the space asks for {name!r}, which the params lack")
        return self._params[name]


def _check_range(name: str, low: float, high: float, *, log: bool) -> None:
    require(low <= high, f"{name} has an empty range [{low}, {high}]")
    require(low > 0 or not log, f"{name} is asked for on a log scale from {low}: start above 0")


def require_points_of(space: Space, portfolio: Sequence[Configuration]) -> None:
    """Require each configuration to be a point of the space, made of JSON values."""
    for position, point in enumerate(portfolio):
        params = dict(point.params)
        where = f"configuration {position} of the portfolio, {params}"
        try:
            returned = space(Replay(params))
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        require(returned == params, f"{where}: the space gives {returned} for it")
        require(survives_json(params), f"{where}: only JSON values can be stored and resumed")


def draw(space: Space, seed: int) -> dict[str, Any]:
    """Draw params from a space, and require JSON values."""
    params = space(RandomDraws(seed))
    require(survives_json(params), f"the space draws {params}, which are not JSON values")
    return params


def survives_json(params: Mapping[str, Any]) -> bool:
    """Return whether params are JSON values, so that they can be stored and resumed."""
    try:
        stored = json.loads(json.dumps(params, allow_nan=False))
    except (TypeError, ValueError):
        return False
    return bool(stored == params)


# --------------------------------------------------------------------------- predictions


def require_valid(predictions: Floats, task: Task, n_rows: int, n_classes: int) -> None:
    """Require finite values (n_rows, 1), or probabilities (n_rows, n_classes) with sum 1."""
    width = n_classes if task.is_classification else 1
    require(isinstance(predictions, np.ndarray), f"predictions are {type(predictions).__name__}")
    require(predictions.dtype == np.float64, f"predictions are {predictions.dtype}, not float64")
    shape = predictions.shape
    require(shape == (n_rows, width), f"predictions have shape {shape}, not {(n_rows, width)}")
    bad = predictions[~np.isfinite(predictions)]
    require(bad.size == 0, f"{bad.size} predictions are not finite, the first {bad[:1]}")
    if task.is_classification:
        low, high = predictions.min(), predictions.max()
        require(low >= 0 and high <= 1 + 1e-9, f"probabilities lie in [{low}, {high}]")
        off = float(np.abs(predictions.sum(axis=1) - 1).max())
        require(off < 1e-6, f"the probabilities of a row miss the sum 1 by {off}")


def require_close(left: Array, right: Array, tolerance: float, message: str) -> None:
    """Require equality of two arrays, NaN included, up to a tolerance relative to their scale."""
    require(left.shape == right.shape, f"{message}: shapes {left.shape} and {right.shape} differ")
    scale = max(1.0, float(np.nanmax(np.abs(right), initial=0.0)))
    same = np.isclose(left, right, rtol=0, atol=tolerance * scale, equal_nan=True)
    if not same.all():
        worst = float(np.nanmax(np.abs(left - right)))
        raise AssertionError(f"{message}: {int((~same).sum())} values differ, by up to {worst}")


def through_pickle(value: _T) -> _T:
    """Return a copy that went through pickle."""
    copy: _T = pickle.loads(pickle.dumps(value))
    return copy


def frozen_copies(arrays: Sequence[Array | None]) -> Iterator[tuple[Array, Array]]:
    """Pair each array with a copy of it, to see later whether it was changed."""
    yield from [(array, array.copy()) for array in arrays if array is not None]
