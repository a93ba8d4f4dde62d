"""What ``automl-fuse plugins new NAME`` writes: a distribution with one learner that works."""

from __future__ import annotations

import importlib.util
import re
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Final

from automl_fuse import __version__
from automl_fuse.errors import SettingsError
from automl_fuse.specs import API_VERSION

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_plugin"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_FILES: Final = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "{package}/__init__.py": "init.py.tmpl",
    "{package}/learner.py": "learner.py.tmpl",
    "tests/test_conformance.py": "test_conformance.py.tmpl",
}
"""Templates by the path that each is written to."""


def write_plugin(name: str, folder: Path) -> tuple[Path, ...]:
    """Write a plugin distribution of its own, with one learner and its tests.

    Parameters
    ----------
    name : str
        Name of the learner: lower case, digits and single underscores, as in
        ``"kernel_map"``. The distribution is then ``automl-fuse-kernel-map``, and the package
        ``automl_fuse_kernel_map``.
    folder : Path
        Where the distribution's folder is made.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    SettingsError
        If the name cannot be used, or the distribution's folder exists already.
    """
    package = _package_of(name)
    distribution = package.replace("_", "-")
    root = folder / distribution
    if root.exists():
        raise SettingsError(f"{root} exists already: choose another name or folder, or remove it.")
    values = {
        "name": name,
        "package": package,
        "distribution": distribution,
        "host_version": __version__,
        "api_version": str(API_VERSION),
    }
    templates = resources.files("automl_fuse") / "templates" / "plugin"
    written = []
    for target, template in _FILES.items():
        path = root / target.format(package=package)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (templates / template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(values), encoding="utf-8")
        written.append(path)
    return tuple(written)


def _package_of(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot name a plugin: use lower-case letters, digits and single "
            "underscores, and begin with a letter, as in 'kernel_map'."
        )
    package = f"automl_fuse_{name}"
    if importlib.util.find_spec(package) is not None:
        raise SettingsError(f"A package {package!r} is installed already: choose another name.")
    return package
