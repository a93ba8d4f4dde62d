"""The example of each hook is a whole plugin, and keeps the rules of its kind."""

from __future__ import annotations

import inspect
import textwrap
from contextlib import suppress
from typing import TYPE_CHECKING
from unittest import SkipTest

import pytest

from automl_fuse import hookspecs
from automl_fuse.host import discover
from automl_fuse.testing import checks_for
from automl_fuse.validation import SPEC_TYPES

if TYPE_CHECKING:
    from pathlib import Path

HOOKS = {kind: f"automl_fuse_{kind}s" for kind in SPEC_TYPES}


def example_of(hook: str) -> str:
    docstring = inspect.getdoc(getattr(hookspecs, hook)) or ""
    prose, _, code = docstring.partition("::\n")
    assert "Examples\n--------" in prose
    return textwrap.dedent(code)


def test_every_kind_of_spec_has_a_hook() -> None:
    assert set(HOOKS.values()) == {n for n in dir(hookspecs) if n.startswith("automl_fuse_")}


@pytest.mark.parametrize("kind", HOOKS)
def test_the_example_works(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"example_of_{kind}"
    (tmp_path / f"{module}.py").write_text(example_of(HOOKS[kind]), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    plugins = discover(modules=[module], require=[module])
    (info,) = [info for info in plugins.found if info.name == module]
    specs = {f"{kind}:{spec.name}": spec for spec in getattr(plugins, f"{kind}s").values()}
    assert len(info.provides) == 1
    for provided in info.provides:
        for check in checks_for(specs[provided]):
            with suppress(SkipTest):
                check()
