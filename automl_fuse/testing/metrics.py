"""The conformance suite of metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.testing._base import Check, checks_of, frozen_copies, require, run_all, sound_spec
from automl_fuse.testing._data import n_classes_of, sample_target

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Floats, MetricSpec, Task

_N_ROWS = 60


class MetricCase:
    """A metric on one task, with a perfect, a fair and a bad prediction of what it needs."""

    def __init__(self, spec: MetricSpec, task: Task) -> None:
        self.spec = spec
        self.task = task
        signal = np.random.default_rng(1).normal(size=_N_ROWS)
        target = sample_target(signal, task, seed=2)
        # Positive values: a percentage error is defined for no others.
        self.y: Array = target if task.is_classification else target + 8.0
        self.ranks = np.random.default_rng(3).permutation(_N_ROWS)
        if task.is_classification:
            n_wrong = (0, _N_ROWS // 5, _N_ROWS)
            self.perfect, self.fair, self.bad = (self._classes(n) for n in n_wrong)
            self.worse = self.ranks < n_wrong[1]
        else:
            self.perfect, self.fair, self.bad = (self._values(s) for s in (0.0, 2.0, 5.0))
            self.worse = self.ranks < _N_ROWS // 2

    def _classes(self, n_wrong: int) -> Array:
        """Predict wrongly the rows of the first ranks."""
        n_classes = n_classes_of(self.task)
        said = np.where(self.ranks < n_wrong, (self.y + 1) % n_classes, self.y)
        if self.spec.needs == "label":
            return said
        sure: Floats = np.full((_N_ROWS, n_classes), 0.1 / (n_classes - 1))
        sure[np.arange(_N_ROWS), said] = 0.9
        return sure

    def _values(self, scale: float) -> Array:
        """Predict with errors up to a scale, the larger the earlier a row's rank."""
        errors = scale * (1 - 0.9 * self.ranks / _N_ROWS)
        return self.y + np.where(self.ranks % 2 == 0, errors, -errors)

    def score(self, prediction: Array, weight: Floats | None = None) -> float:
        """Score, and require a finite number."""
        value = self.spec.score(self.y, prediction, weight)
        number = isinstance(value, float | np.floating)
        require(number and math.isfinite(value), f"score is {value!r}, not a finite number")
        return float(value)

    def is_better(self, left: float, right: float) -> bool:
        """Return whether the first score is strictly better."""
        return left > right if self.spec.greater_is_better else left < right


def prefers_better_predictions(case: MetricCase) -> None:
    """Require that perfect scores better than fair, and fair better than bad."""
    perfect, fair, bad = (case.score(p) for p in (case.perfect, case.fair, case.bad))
    ordered = case.is_better(perfect, fair) and case.is_better(fair, bad)
    require(ordered, f"perfect {perfect:.4f}, fair {fair:.4f}, bad {bad:.4f}")


def ignores_the_order_of_rows(case: MetricCase) -> None:
    """Require that the score does not depend on the order of the rows."""
    forward = case.score(case.fair)
    backward = float(case.spec.score(case.y[::-1], case.fair[::-1], None))
    require(math.isclose(forward, backward, rel_tol=1e-9), f"{forward} and {backward}")


def takes_equal_weights_as_none(case: MetricCase) -> None:
    """Require that equal weights give the score of no weights."""
    plain = case.score(case.fair)
    weighted = case.score(case.fair, np.full(_N_ROWS, 1.0))
    require(math.isclose(plain, weighted, rel_tol=1e-9), f"{plain}, with weights {weighted}")


def uses_weights(case: MetricCase) -> None:
    """Require that badly predicted rows cost less when their weight is small."""
    weight = np.where(case.worse, 0.05, 1.0)
    plain, weighted = case.score(case.fair), case.score(case.fair, weight / weight.mean())
    require(case.is_better(weighted, plain), f"{plain:.4f}, with weights {weighted:.4f}")


def leaves_its_input_alone(case: MetricCase) -> None:
    """Require that scoring does not change the arrays it is given."""
    # Made anew: an earlier check may have left its marks on what checks share.
    fresh = MetricCase(case.spec, case.task)
    weight = np.ones(_N_ROWS)
    pairs = list(frozen_copies([fresh.y, fresh.fair, weight]))
    fresh.score(fresh.fair, weight)
    for array, copy in pairs:
        require(np.array_equal(array, copy), "an array was changed in place")


_RULES = (
    prefers_better_predictions,
    ignores_the_order_of_rows,
    takes_equal_weights_as_none,
    uses_weights,
    leaves_its_input_alone,
)


def metric_checks(spec: MetricSpec) -> list[Check]:
    """Return the checks of a metric: every rule on each of its tasks."""
    checks = [sound_spec(spec, "metric")]
    for task in sorted(spec.tasks):
        case = MetricCase(spec, task)
        checks += checks_of(_RULES, case, kind="metric", spec=spec.name, label=str(task))
    return checks


def check_metric(spec: MetricSpec) -> None:
    """Apply every check of a metric; raise ``AssertionError`` listing all that are broken."""
    run_all(metric_checks(spec))
