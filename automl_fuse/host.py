"""The plugin host: finds plugins, isolates each, checks what it returns.

Every plugin, this distribution's own included, is named in the entry-point group
``automl_fuse``. Each is loaded and asked on its own, so a broken one costs only itself: what
went wrong is kept as a ``PluginFailure`` and the rest work.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any, Final, TypeVar

import pluggy

from automl_fuse import hookspecs
from automl_fuse.errors import PluginError
from automl_fuse.hookspecs import PROJECT
from automl_fuse.inventory import (
    MissingExtra,
    PluginFailure,
    PluginInfo,
    Plugins,
    select,
    suggestion,
)
from automl_fuse.specs import EncoderSpec, LearnerSpec, Spec
from automl_fuse.validation import SPEC_TYPES, kind_of, spec_problems

__all__ = [
    "BLOCK_VARIABLE",
    "MissingExtra",
    "PluginFailure",
    "PluginInfo",
    "Plugins",
    "discover",
    "missing_extra",
    "select",
]

BLOCK_VARIABLE: Final = "AUTOML_FUSE_BLOCK"
"""Environment variable with the names of plugins to leave out, separated by commas."""

_DISTRIBUTION: Final = "automl-fuse"


@dataclass(frozen=True)
class _Source:
    """A plugin that has not been imported yet."""

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], Any]

    def __str__(self) -> str:
        if not self.distribution:
            return f"plugin {self.name!r} (module {self.module})"
        return f"plugin {self.name!r} ({self.distribution} {self.version})"


@dataclass
class _Findings:
    """What discovery has gathered so far."""

    found: list[tuple[_Source, list[tuple[str, Spec]]]] = field(default_factory=list)
    failures: list[PluginFailure] = field(default_factory=list)

    def fail(self, source: _Source, error: str, trace: str = "") -> None:
        self.failures.append(
            PluginFailure(
                name=source.name,
                distribution=source.distribution,
                version=source.version,
                error=error,
                traceback=trace,
            )
        )


def discover(
    *, block: Sequence[str] = (), modules: Sequence[str] = (), require: Sequence[str] = ()
) -> Plugins:
    """Find, load and check all plugins, each on its own, in order of name.

    Parameters
    ----------
    block : sequence of str
        Plugins to leave out; ``AUTOML_FUSE_BLOCK`` adds to them. They are not imported.
    modules : sequence of str
        Plugin modules that have no entry point. They are asked for by name, so one that
        cannot be imported is an error.
    require : sequence of str
        Plugins that must be there, work, and have their dependencies installed.

    Returns
    -------
    Plugins
        What can be used, and what cannot and why.

    Raises
    ------
    PluginError
        If two plugins bring specs of one kind and name, or a required plugin is absent,
        blocked, broken or lacks a dependency.
    """
    sources = _sources(modules)
    blocking = {*block, *_blocked_by_environment()}
    findings = _Findings()
    for source in sources:
        if source.name not in blocking:
            _ask(source, findings)
    _refuse_collisions(findings)
    _drop_unreadable_learners(findings, may_lack=bool(blocking))
    plugins = _assemble(
        findings, blocked=tuple(dict.fromkeys(s.name for s in sources if s.name in blocking))
    )
    aliases = {source.module: source.name for source in sources}
    _enforce(plugins, [aliases.get(n, n) for n in require], [aliases.get(n, n) for n in modules])
    return plugins


def _blocked_by_environment() -> list[str]:
    names = (name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(","))
    return [name for name in names if name]


def _sources(modules: Sequence[str]) -> list[_Source]:
    sources = [_entry_point_source(e) for e in metadata.entry_points(group=PROJECT)]
    known = {source.module for source in sources}
    sources += [
        _Source(name, "", "", name, partial(importlib.import_module, name))
        for name in dict.fromkeys(modules)
        if name not in known
    ]
    return sorted(sources, key=lambda source: (source.name, source.distribution))


def _entry_point_source(entry: metadata.EntryPoint) -> _Source:
    distribution = entry.dist.name if entry.dist else ""
    version = entry.dist.version if entry.dist else ""
    return _Source(entry.name, distribution, version, entry.value, entry.load)


_Result = TypeVar("_Result")


def _guarded(
    work: Callable[[], _Result], source: _Source, findings: _Findings, what: str
) -> tuple[_Result] | None:
    """Run a stranger's code; return its result in a tuple, or keep what it raised as a failure."""
    try:
        return (work(),)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one plugin must not stop the rest
        summary = f"{what}: {type(error).__name__}: {error}"
        findings.fail(source, summary, "".join(traceback.format_exception(error)))
        return None


def _ask(source: _Source, findings: _Findings) -> None:
    loaded = _guarded(source.load, source, findings, "cannot be imported")
    if loaded is None:
        return
    (plugin,) = loaded
    # A manager of its own attributes a misspelt hook to the plugin that has it.
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    if _guarded(lambda: manager.register(plugin), source, findings, "cannot be used") is None:
        return
    _guarded(manager.check_pending, source, findings, "misspelt hook")
    for name in _unmarked_hooks(plugin, manager):
        findings.fail(source, f"{name} is not marked with @automl_fuse.hookimpl, so it is ignored")
    specs: list[tuple[str, Spec]] = []
    for kind in SPEC_TYPES:
        hook = f"{PROJECT}_{kind}s"
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            specs += _call(implementation, kind, source, findings)
    findings.found.append((source, specs))


def _unmarked_hooks(plugin: Any, manager: pluggy.PluginManager) -> list[str]:
    names = (name for name in dir(plugin) if name.startswith(f"{PROJECT}_"))
    return [
        name
        for name in names
        if inspect.isroutine(getattr(plugin, name))
        and manager.parse_hookimpl_opts(plugin, name) is None
    ]


def _call(
    implementation: pluggy.HookImpl, kind: str, source: _Source, findings: _Findings
) -> list[tuple[str, Spec]]:
    """Call one implementation; return its valid specs, and keep a failure for each other."""
    hook = f"{PROJECT}_{kind}s"
    if implementation.wrapper or implementation.hookwrapper:
        findings.fail(source, f"{hook} is a wrapper: hooks return specs and wrap nothing")
        return []
    if inspect.signature(implementation.function).parameters:
        findings.fail(source, f"{hook} has parameters: hooks take none, with a default or without")
        return []
    result = _guarded(implementation.function, source, findings, f"{hook} raised")
    if result is None:
        return []
    (returned,) = result
    if isinstance(returned, str) or not isinstance(returned, Sequence):
        findings.fail(source, f"{hook} returned {returned!r:.80}: return a list of specs")
        return []
    valid: dict[str, Spec] = {}
    for spec in returned:
        checked = _guarded(
            partial(_first_problems, spec, kind), source, findings, f"{hook} returned {spec!r:.80}"
        )
        if checked is None:
            continue
        (problems,) = checked
        if not problems and spec.name in valid:
            problems = [f"{kind} {spec.name!r} is returned twice: give each a name of its own"]
        for problem in problems:
            findings.fail(source, problem)
        if not problems:
            valid[spec.name] = spec
    return [(kind, spec) for spec in valid.values()]


def _first_problems(spec: Any, kind: str) -> list[str]:
    if not isinstance(spec, SPEC_TYPES[kind]):
        expected = SPEC_TYPES[kind].__name__
        return [f"{PROJECT}_{kind}s returned {spec!r:.80}: expected {expected}"]
    return spec_problems(spec)


def _refuse_collisions(findings: _Findings) -> None:
    owners: dict[tuple[str, str], _Source] = {}
    for source, specs in findings.found:
        for kind, spec in specs:
            other = owners.setdefault((kind, spec.name), source)
            if other is not source:
                raise PluginError(
                    f"Two plugins bring a {kind} named {spec.name!r}: {other} and {source}. "
                    f"Leave one out: block_plugins=({source.name!r},), or the environment "
                    f"variable {BLOCK_VARIABLE}={source.name}, or uninstall it."
                )


def _drop_unreadable_learners(findings: _Findings, *, may_lack: bool) -> None:
    """Refuse learners that read an encoder nobody brings: it is misspelt, or its plugin missing.

    Where the user blocks plugins, encoders may lack, and learners do with those that are left.
    """
    known = {spec.name for _, specs in findings.found for k, spec in specs if k == "encoder"}
    for source, specs in findings.found:
        for kind, spec in list(specs):
            if not isinstance(spec, LearnerSpec):
                continue
            what = f"learner {spec.name!r}: its encoders cannot be listed"
            listed = _guarded(partial(_encoder_names, spec), source, findings, what)
            unknown = sorted(set(listed[0]) - known) if listed else []
            if may_lack and listed and set(listed[0]) & known:
                continue
            if unknown:
                findings.fail(
                    source,
                    f"learner {spec.name!r} reads the encoder {unknown[0]!r}, which no plugin "
                    f"brings{suggestion(unknown[0], known)}",
                )
            if unknown or listed is None:
                specs.remove((kind, spec))


def _encoder_names(spec: LearnerSpec) -> list[str]:
    return [name for point in spec.portfolio for name in spec.encoders_for(point.params)]


def _assemble(findings: _Findings, blocked: tuple[str, ...]) -> Plugins:
    usable: dict[str, dict[str, Spec]] = {f"{kind}s": {} for kind in SPEC_TYPES}
    missing: list[MissingExtra] = []
    found: list[PluginInfo] = []
    everything = [spec for _, specs in findings.found for _, spec in specs]
    encoders = {spec.name: spec for spec in everything if isinstance(spec, EncoderSpec)}
    for source, specs in findings.found:
        provides = []
        for kind, spec in specs:
            lack = _lack_of(spec, encoders, source)
            if lack is not None:
                missing.append(lack)
            else:
                usable[f"{kind}s"][spec.name] = spec
                provides.append(f"{kind}:{spec.name}")
        found.append(
            PluginInfo(
                name=source.name,
                distribution=source.distribution,
                version=source.version,
                module=source.module,
                provides=tuple(provides),
            )
        )
    ordered: dict[str, Any] = {kind: dict(sorted(specs.items())) for kind, specs in usable.items()}
    return Plugins(
        **ordered,
        found=tuple(found),
        failures=tuple(findings.failures),
        missing=tuple(missing),
        blocked=blocked,
    )


def _lack_of(
    spec: Spec, encoders: Mapping[str, EncoderSpec], source: _Source
) -> MissingExtra | None:
    """Return what a spec lacks; a learner lacks what its encoders lack."""
    needed: list[Spec] = [spec]
    if isinstance(spec, LearnerSpec):
        names = dict.fromkeys(_encoder_names(spec))
        needed += [encoders[name] for name in names if name in encoders]
    lacks = (missing_extra(part, plugin=source.name) for part in needed)
    lack = next((lack for lack in lacks if lack is not None), None)
    return None if lack is None else replace(lack, name=spec.name, kind=kind_of(spec))


def _enforce(plugins: Plugins, require: Sequence[str], modules: Sequence[str]) -> None:
    """Raise for a required plugin that does not work, or a named module without its plugin."""
    found = {info.name for info in plugins.found}
    for name in modules:
        if name not in found and name not in plugins.blocked:
            _raise_failure(plugins, name)
    for name in require:
        if name in plugins.blocked:
            raise PluginError(
                f"Plugin {name!r} is required and blocked: take it from block_plugins or from "
                f"the environment variable {BLOCK_VARIABLE}."
            )
        _raise_failure(plugins, name)
        if name not in found:
            near = suggestion(name, found)
            raise PluginError(f"Plugin {name!r} is required and not installed{near}")
        lack = next((m for m in plugins.missing if m.plugin == name), None)
        if lack is not None:
            raise PluginError(
                f"Plugin {name!r} is required, but its {lack.kind} {lack.name!r} needs "
                f"{', '.join(lack.modules)}: {lack.mend}"
            )


def _raise_failure(plugins: Plugins, name: str) -> None:
    failure = next((f for f in plugins.failures if f.name == name), None)
    if failure is not None:
        origin = f" ({failure.distribution} {failure.version})" if failure.distribution else ""
        raise PluginError(f"Plugin {name!r}{origin} is asked for and failed: {failure.error}")


# --------------------------------------------------------------------------- dependencies


def missing_extra(spec: Spec, *, plugin: str) -> MissingExtra | None:
    """Return what a spec needs and the environment lacks, or None.

    Only the top-level package of each module is looked for: to find a submodule would import
    its parent.
    """
    modules = tuple(m for m in spec.requires if not _is_importable(m.partition(".")[0]))
    if not modules:
        return None
    return MissingExtra(
        name=spec.name,
        kind=kind_of(spec),
        plugin=plugin,
        modules=modules,
        mend=_mend(spec.extra, modules),
    )


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        # The module is imported already and was made without a spec, as `__main__` is.
        return True


def _mend(extra: str, modules: tuple[str, ...]) -> str:
    try:
        extras = metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        extras = []
    if extra in extras:
        return f"pip install '{_DISTRIBUTION}[{extra}]'"
    return f"pip install {extra or ' '.join(modules)}"
