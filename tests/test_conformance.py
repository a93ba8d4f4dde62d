"""Every installed spec keeps the rules of its kind: the same suites a stranger's plugin runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automl_fuse.host import discover
from automl_fuse.metrics import METRICS
from automl_fuse.testing import Check, parametrize_with_checks

if TYPE_CHECKING:
    from automl_fuse.specs import Spec

SPECS: list[Spec] = [*discover().specs(), *METRICS.values()]


@parametrize_with_checks(SPECS)
def test_conforms(check: Check) -> None:
    check()
