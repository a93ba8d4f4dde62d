"""What discovery found: usable specs by kind, failures, missing extras, blocked plugins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from automl_fuse.errors import SettingsError
from automl_fuse.specs import (
    API_VERSION,
    CompressorSpec,
    EncoderSpec,
    ExecutorSpec,
    FusionSpec,
    LearnerSpec,
    MetricSpec,
    ObserverSpec,
    Spec,
)
from automl_fuse.validation import SPEC_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "MissingExtra",
    "PluginFailure",
    "PluginInfo",
    "Plugins",
    "select",
    "suggestion",
    "without_encoders",
]


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin that was imported.

    Attributes
    ----------
    name : str
        Name of its entry point, or of its module where it has none.
    distribution, version : str
        Where it came from; empty for a module without an entry point.
    module : str
        What the entry point names.
    provides : tuple of str
        ``kind:name`` of each usable spec, for example ``learner:lightgbm``.
    """

    name: str
    distribution: str
    version: str
    module: str
    provides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PluginFailure:
    """Something of a plugin that could not be used: ``error`` in one line, then the traceback."""

    name: str
    distribution: str
    version: str
    error: str
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class MissingExtra:
    """A spec whose dependencies are not installed.

    Attributes
    ----------
    name, kind : str
        Of the spec.
    plugin : str
        Name of the plugin that brings it.
    modules : tuple of str
        Modules that cannot be imported.
    mend : str
        The command that installs them.
    """

    name: str
    kind: str
    plugin: str
    modules: tuple[str, ...]
    mend: str


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """What a run can use, by kind and name, and what it cannot, with the reasons."""

    learners: Mapping[str, LearnerSpec] = field(default_factory=dict)
    encoders: Mapping[str, EncoderSpec] = field(default_factory=dict)
    metrics: Mapping[str, MetricSpec] = field(default_factory=dict)
    fusions: Mapping[str, FusionSpec] = field(default_factory=dict)
    compressors: Mapping[str, CompressorSpec] = field(default_factory=dict)
    executors: Mapping[str, ExecutorSpec] = field(default_factory=dict)
    observers: Mapping[str, ObserverSpec] = field(default_factory=dict)
    found: tuple[PluginInfo, ...] = ()
    failures: tuple[PluginFailure, ...] = ()
    missing: tuple[MissingExtra, ...] = ()
    blocked: tuple[str, ...] = ()

    def specs(self) -> tuple[Spec, ...]:
        """Return every usable spec: by kind, in order of name."""
        kinds: tuple[Mapping[str, Spec], ...] = tuple(getattr(self, f"{k}s") for k in SPEC_TYPES)
        return tuple(spec for specs in kinds for spec in specs.values())

    def as_rows(self) -> list[dict[str, str]]:
        """Return one row for each finding: plugin, version, distribution, status, note."""
        rows = [
            _row(p.name, (p.distribution, p.version), "ok", ", ".join(p.provides) or "nothing")
            for p in self.found
        ]
        rows += [
            _row(f.name, (f.distribution, f.version), "failed", f.error) for f in self.failures
        ]
        origins = {p.name: (p.distribution, p.version) for p in self.found}
        rows += [
            _row(
                m.plugin,
                origins.get(m.plugin, ("", "")),
                "missing",
                f"{m.kind} {m.name!r} needs {', '.join(m.modules)}: {m.mend}",
            )
            for m in self.missing
        ]
        rows += [_row(name, ("", ""), "blocked", "left out on request") for name in self.blocked]
        return sorted(rows, key=lambda row: row["plugin"])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, specs by their names."""
        return {
            "api_version": API_VERSION,
            **{f"{kind}s": list(getattr(self, f"{kind}s")) for kind in SPEC_TYPES},
            "found": [asdict(p) for p in self.found],
            "failures": [asdict(f) for f in self.failures],
            "missing": [asdict(m) for m in self.missing],
            "blocked": list(self.blocked),
        }


def _row(plugin: str, origin: tuple[str, str], status: str, note: str) -> dict[str, str]:
    distribution, version = origin
    return {
        "plugin": plugin,
        "version": version,
        "distribution": distribution,
        "status": status,
        "note": note,
    }


# --------------------------------------------------------------------------- selection

_Spec = TypeVar("_Spec", bound=Spec)


def suggestion(name: str, known: Sequence[str] | set[str]) -> str:
    """Return the end of a message about an unknown name: near names, or all there are."""
    near = get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    if near:
        return f": did you mean {' or '.join(repr(n) for n in near)}?"
    return f": there are {', '.join(sorted(known))}." if known else ": there are none."


def select(
    names: Sequence[str] | None,
    available: Mapping[str, _Spec],
    what: str,
    missing: Sequence[MissingExtra] = (),
) -> dict[str, _Spec]:
    """Return the specs that a user named, in that order; all of them for None.

    Parameters
    ----------
    names : sequence of str or None
        What the user asked for.
    available : mapping of str to spec
        One kind of spec of ``Plugins``.
    what : str
        That kind, for messages: ``"learner"``, ``"fusion"`` …
    missing : sequence of MissingExtra
        ``Plugins.missing``: a name among them is answered with the command that installs it.

    Raises
    ------
    SettingsError
        If a name is unknown, lacks a dependency, or none is named.
    """
    if names is None:
        return dict(available)
    if isinstance(names, str) or not names:
        raise SettingsError(f"{what}s is {names!r}: give a tuple of at least one name, or None.")
    for name in names:
        lack = next((m for m in missing if m.name == name and m.kind == what), None)
        if name not in available and lack is not None:
            raise SettingsError(
                f"The {what} {name!r} needs {', '.join(lack.modules)}, not installed: {lack.mend}"
            )
        if name not in available:
            raise SettingsError(f"Unknown {what} {name!r}{suggestion(name, list(available))}")
    return {name: available[name] for name in names}


def without_encoders(plugins: Plugins, names: Sequence[str]) -> Plugins:
    """Return what a run can use if no learner is to read the features of some encoders.

    Raises
    ------
    SettingsError
        If one of the names is unknown.
    """
    if isinstance(names, str):
        raise SettingsError(f"block_encoders is {names!r}: give a tuple of names, ({names!r},).")
    select(names or None, plugins.encoders, "encoder", plugins.missing)
    left = {name: spec for name, spec in plugins.encoders.items() if name not in names}
    return replace(plugins, encoders=left)
