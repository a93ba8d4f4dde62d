"""What a run was begun with, so that another attempt goes on with the same, or is refused."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.configuration import read_configuration
from automl_fuse.errors import RunError
from automl_fuse.run import RunDirectory, write_json
from automl_fuse.search.ledger import read_ledger
from automl_fuse.search.replay import kept_ensemble, kept_members
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from automl_fuse.configuration import Configuration
    from automl_fuse.inventory import Plugins
    from automl_fuse.search.ledger import Line
    from automl_fuse.specs import Array, MetricSpec, Settings
    from automl_fuse.table import Dataset
    from automl_fuse.trial import TrialData

__all__ = ["Identity", "Past", "recall"]

_FORMAT: Final = 1
_FORMING: Final = (
    "learners", "plugins", "block_plugins", "block_encoders", "seed", "target_transforms",
)  # fmt: skip
"""Settings that decide what members there are; others may change from attempt to attempt."""
_ASKED: Final = (
    "time_limit", "max_trials", "stop_after_no_gain", "prefer", "max_latency_ms", "max_size_mb",
    "fusions", "compressors", "disk_limit",
)  # fmt: skip
"""What a finished run has answered, and goes on if it is asked otherwise."""
_SHOWN: Final = 60
"""Characters of a value in a message."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What tells a run from others.

    Attributes
    ----------
    bound : mapping of str to object
        What predictions of its members cannot be used without: rows, columns, folds and so on.
    formed : mapping of str to object
        What members were made from: the data themselves, settings, versions of plugins.
    asked : mapping of str to object
        What was asked of the run.
    search_seconds : float
        Length of the search when the run began, by which folds were chosen.
    id : str
        Its name among others in a database.
    """

    bound: Mapping[str, Any]
    formed: Mapping[str, Any]
    asked: Mapping[str, Any]
    search_seconds: float
    id: str

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        data: TrialData,
        metric: MetricSpec,
        plugins: Plugins,
        asked: Mapping[str, Any],
        search_seconds: float,
    ) -> Identity:
        """Return the identity of a run that begins.

        Parameters
        ----------
        dataset, data : Dataset, TrialData
            The table and its folds.
        metric : MetricSpec
            The objective.
        plugins : Plugins
            What was found.
        asked : mapping of str to object
            Arguments of ``fit`` and fields of ``Settings``, by name.
        search_seconds : float
            Length of the search.
        """
        found = {row.name: f"{row.distribution} {row.version}" for row in plugins.found}
        return cls(
            bound=_as_json(
                {
                    "number of rows": len(data.y),
                    "task": str(data.task),
                    "classes": None if dataset.classes is None else dataset.classes.tolist(),
                    "metric": metric.name,
                    "columns": {each.name: str(each.kind) for each in data.columns.columns},
                    "folds": _digest(*(part for f in data.folds for part in (f.train, f.valid))),
                }
            ),
            formed=_as_json(
                {
                    "the data": "",
                    **{name: asked[name] for name in _FORMING},
                    **{f"plugin {name}": version for name, version in sorted(found.items())},
                    "automl-fuse": __version__,
                }
            ),
            asked=_as_json({name: asked[name] for name in _ASKED}),
            search_seconds=search_seconds,
            id=secrets.token_hex(6),
        )

    def with_data(self, fingerprint: str, weight: Array | None) -> Identity:
        """Return the same for data of this digest, and these sample weights."""
        told = fingerprint if weight is None else f"{fingerprint}-{_digest(weight)}"
        return replace(self, formed={**self.formed, "the data": told})

    def write(self, run: RunDirectory) -> None:
        """Write it into the run directory."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        write_json(run.identity, {"format": _FORMAT, **content})


@dataclass(frozen=True, kw_only=True)
class Past:
    """A run that is to go on.

    Attributes
    ----------
    root : Path
        Its directory.
    configuration : Configuration
        What it was told when it began.
    identity : Identity or None
        What it was begun with; None if it was killed before that was written.
    accept_changes : bool
        Whether it goes on though what its members were made from has changed.
    """

    root: Path
    configuration: Configuration
    identity: Identity | None
    accept_changes: bool

    def completed(
        self, said: Mapping[str, Any], settings: Settings | None, *, has_y: bool
    ) -> tuple[dict[str, Any], Settings]:
        """Return arguments and settings with those of before where none are given.

        Raises
        ------
        RunError
            If there is no table: the run was given one in memory.
        """
        before = self.configuration.arguments
        known = {name: said[name] if said[name] is not None else before.get(name) for name in said}
        if has_y:
            known["target"] = said["target"]
        if known["data"] is None:
            raise RunError(
                f"{self.root / 'fuse.toml'} names no data: the table was given in memory. Give it "
                "again: fit(X, y, resume=…)."
            )
        chosen = self.configuration.settings if settings is None else settings
        return known, replace(chosen, output=str(self.root))

    def check(self, now: Identity) -> Identity:
        """Return the identity under which the run goes on.

        Raises
        ------
        RunError
            If what it was begun with has changed: the message names it.
        """
        if self.identity is None:
            return now
        bound = list(_changes(self.identity.bound, now.bound))
        if bound:
            raise RunError(
                f"{self.root} holds a run on other data: {'; '.join(bound)}. Its predictions "
                "cannot be used with these; name another directory."
            )
        formed = list(_changes(self.identity.formed, now.formed))
        if formed and not self.accept_changes:
            raise RunError(
                f"{self.root} holds a run that was begun otherwise: {'; '.join(formed)}. Resume "
                "it with what it had; or go on with what its members have learned, and begin new "
                "ones with this, by accept_changes=True (--accept-changes)."
            )
        return replace(now, search_seconds=self.identity.search_seconds, id=self.identity.id)

    def lines(self, run: RunDirectory) -> list[Line]:
        """Return its ledger, and remove what that does not speak of.

        Raises
        ------
        RunError
            If the ledger is damaged.
        """
        lines = [] if self.identity is None else read_ledger(run)
        ensemble = kept_ensemble(lines)
        run.clear_attempt(kept_members(lines), [] if ensemble is None else [ensemble])
        return lines

    def is_answered(self, run: RunDirectory, now: Identity) -> bool:
        """Return whether the run has finished by itself, and no more is asked of it."""
        if self.identity is None or dict(self.identity.asked) != dict(now.asked):
            return False
        if not (run.report.is_file() and run.pipelines.is_file()):
            return False
        trials = json.loads(run.report.read_text(encoding="utf-8"))["trials"]
        return not trials["interrupted"] and not trials["disk_full"]


def recall(directory: str | Path, *, accept_changes: bool) -> Past:
    """Return what is known of a run that is to go on.

    Raises
    ------
    RunError
        If the directory holds none, or what it holds cannot be read.
    """
    run = RunDirectory(Path(directory))
    if not run.configuration.is_file():
        raise RunError(
            f"{directory} holds no run that has begun: it has no {run.configuration.name}."
        )
    return Past(
        root=run.root,
        configuration=read_configuration(run.configuration),
        identity=_read(run),
        accept_changes=accept_changes,
    )


def _read(run: RunDirectory) -> Identity | None:
    path = run.identity
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise RunError(f"{path} was written by another version: resume the run with that.")
        return Identity(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}): restore it, or begin anew in another directory."
        ) from error


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], what: str = "") -> Iterator[str]:
    """Say in words what differs."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{name}: ")
        elif name in {"the data", "folds"}:
            yield f"{name} changed"
        else:
            yield f"{what}{name} was {_shown(old)}, is {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _digest(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they come back from a JSON file."""
    read: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return read
