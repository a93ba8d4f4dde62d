"""Every installed spec keeps the rules of its kind: the same suites a stranger's plugin runs."""

from __future__ import annotations

from automl_fuse.host import discover
from automl_fuse.testing import Check, parametrize_with_checks

# Reasons why a rule does not hold for a method, by spec and rule.
EXPECTED_FAILURES: dict[str, dict[str, str]] = {}


@parametrize_with_checks(discover().specs(), EXPECTED_FAILURES)
def test_conforms(check: Check) -> None:
    check()
