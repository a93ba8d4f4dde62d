"""Conformance suites for plugins: the rules that this project's own plugins are held to.

Apply all of them to one spec::

    from automl_fuse.testing import check_learner

    def test_my_learner():
        check_learner(SPEC)

or, with one test for each rule::

    from automl_fuse.testing import Check, parametrize_with_checks

    @parametrize_with_checks([SPEC])
    def test_conforms(check: Check) -> None:
        check()

A check raises ``AssertionError``, and its message names the spec and the rule; or
``unittest.SkipTest``, which pytest reports as skipped, where the rule cannot be applied: export
is not checked of a part without ``to_onnx``, nor where onnx or onnxruntime are not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automl_fuse.specs import (
    CompressorSpec,
    EncoderSpec,
    ExecutorSpec,
    FusionSpec,
    LearnerSpec,
    MetricSpec,
    ObserverSpec,
    Spec,
)
from automl_fuse.testing._base import Check, RandomDraws, Replay, TickingDeadline
from automl_fuse.testing.compressors import check_compressor, compressor_checks
from automl_fuse.testing.encoders import check_encoder, encoder_checks
from automl_fuse.testing.fusions import check_fusion, fusion_checks
from automl_fuse.testing.learners import check_learner, learner_checks
from automl_fuse.testing.metrics import check_metric, metric_checks
from automl_fuse.testing.running import (
    check_executor,
    check_observer,
    executor_checks,
    observer_checks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest

__all__ = [
    "Check",
    "RandomDraws",
    "Replay",
    "TickingDeadline",
    "check_compressor",
    "check_encoder",
    "check_executor",
    "check_fusion",
    "check_learner",
    "check_metric",
    "check_observer",
    "checks_for",
    "compressor_checks",
    "encoder_checks",
    "executor_checks",
    "fusion_checks",
    "learner_checks",
    "metric_checks",
    "observer_checks",
    "parametrize_with_checks",
]

_SUITES: Mapping[type[Spec], Callable[[Any], list[Check]]] = {
    LearnerSpec: learner_checks,
    EncoderSpec: encoder_checks,
    MetricSpec: metric_checks,
    FusionSpec: fusion_checks,
    CompressorSpec: compressor_checks,
    ExecutorSpec: executor_checks,
    ObserverSpec: observer_checks,
}


def checks_for(spec: Spec) -> list[Check]:
    """Return the checks of a spec of any kind.

    Raises
    ------
    TypeError
        If it is no spec.
    """
    suite = _SUITES.get(type(spec))
    if suite is None:
        raise TypeError(f"expected a spec, as LearnerSpec, and got {spec!r}")
    return suite(spec)


def parametrize_with_checks(
    specs: Sequence[Spec], expected_failures: Mapping[str, Mapping[str, str]] | None = None
) -> pytest.MarkDecorator:
    """Decorate a test with the argument ``check``: one test for each rule, spec and task.

    Parameters
    ----------
    specs : sequence of specs
        Of any kind.
    expected_failures : mapping of str to mapping, optional
        Reasons by name of the spec and of the rule, as in
        ``{"knn": {"uses_weights": "a vote of neighbours has no weights"}}``. Such a check must
        fail: one that passes after all is a failure of the test (``xfail(strict=True)``).

    Returns
    -------
    pytest.MarkDecorator
        To be put above a test function.

    Raises
    ------
    ValueError
        If an expected failure names a spec or a rule that is not there.
    """
    # Plugin authors have pytest where they run this; users of a plugin need not have it.
    import pytest

    checks = [check for spec in specs for check in checks_for(spec)]
    reasons = {
        (spec, rule): reason
        for spec, rules in (expected_failures or {}).items()
        for rule, reason in rules.items()
    }
    unknown = sorted(reasons.keys() - {(check.spec, check.rule) for check in checks})
    if unknown:
        raise ValueError(f"expected failures of rules that are not checked: {unknown}")
    arguments = []
    for check in checks:
        reason = reasons.get((check.spec, check.rule))
        marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
        arguments.append(pytest.param(check, id=f"{check.kind}-{check}", marks=marks))
    return pytest.mark.parametrize("check", arguments)
