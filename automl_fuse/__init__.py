"""AutoML that searches, fuses and compresses: one deployable pipeline, open to plugins.

The public names are loaded on first use, so that importing this package, and predicting with
a saved pipeline, needs neither the search stack nor the plugin host.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from automl_fuse.version import __version__

if TYPE_CHECKING:
    from automl_fuse.artefact import load
    from automl_fuse.engine import fit
    from automl_fuse.estimators import AutoFuseClassifier, AutoFuseRegressor
    from automl_fuse.hookspecs import hookimpl
    from automl_fuse.specs import Settings

__all__ = [
    "AutoFuseClassifier",
    "AutoFuseRegressor",
    "Settings",
    "__version__",
    "fit",
    "hookimpl",
    "load",
]

_HOMES = {
    "AutoFuseClassifier": "estimators",
    "AutoFuseRegressor": "estimators",
    "Settings": "specs",
    "fit": "engine",
    "hookimpl": "hookspecs",
    "load": "artefact",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"automl_fuse.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
