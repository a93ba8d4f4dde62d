"""What ``automl-fuse plugins new`` writes works as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from automl_fuse.errors import SettingsError
from automl_fuse.host import discover
from automl_fuse.scaffold import write_plugin

if TYPE_CHECKING:
    from pathlib import Path


def python(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_writes_a_distribution(tmp_path: Path) -> None:
    written = write_plugin("least_squares", tmp_path)
    root = tmp_path / "automl-fuse-least-squares"
    assert [str(path.relative_to(root)) for path in written] == [
        "pyproject.toml",
        "README.md",
        "automl_fuse_least_squares/__init__.py",
        "automl_fuse_least_squares/learner.py",
        "tests/test_conformance.py",
    ]
    assert not any("$" in path.read_text(encoding="utf-8") for path in written)


def test_the_learner_is_found_and_its_tests_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_plugin("fresh_one", tmp_path)[0].parent
    monkeypatch.syspath_prepend(root)
    plugins = discover(modules=["automl_fuse_fresh_one"], require=["automl_fuse_fresh_one"])
    assert "fresh_one" in plugins.learners
    told = python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=root)
    assert " passed" in told


def test_it_builds(tmp_path: Path) -> None:
    root = write_plugin("fresh_two", tmp_path)[0].parent
    python("-m", "build", "--wheel", "--no-isolation", folder=root)
    assert list((root / "dist").glob("automl_fuse_fresh_two-0.1.0-*.whl"))


def test_what_it_writes_is_clean(tmp_path: Path) -> None:
    root = write_plugin("fresh_three", tmp_path)[0].parent
    ruff = ("-m", "ruff")
    check = ("check", "--isolated", "--line-length", "100", "--select", "E,F,I,UP,B")
    python(*ruff, *check, ".", folder=root)
    python(*ruff, "format", "--isolated", "--line-length", "100", "--check", ".", folder=root)


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    write_plugin("fresh_four", tmp_path)
    with pytest.raises(SettingsError, match="exists already"):
        write_plugin("fresh_four", tmp_path)


@pytest.mark.parametrize("name", ["", "Kernel", "2nd", "a-b", "a__b", "a_", "../evil", "a b"])
def test_a_name_that_cannot_be_used_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot name a plugin"):
        write_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_name_of_an_installed_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'automl_fuse_sklearn' is installed already"):
        write_plugin("sklearn", tmp_path)
