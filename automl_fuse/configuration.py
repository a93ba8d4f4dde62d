"""Configurations: what ``fit`` takes, read from a TOML file and written into the run directory.

A file holds the arguments of ``fit`` and the fields of ``Settings`` side by side, under their own
names. What it says is data: nothing in it is executed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_type_hints

from automl_fuse.errors import SettingsError
from automl_fuse.expectations import Mismatch, convert, described
from automl_fuse.inventory import suggestion
from automl_fuse.run import write_bytes
from automl_fuse.specs import Settings
from automl_fuse.units import to_seconds
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.run import RunDirectory

__all__ = ["ARGUMENTS", "Configuration", "keep_configuration", "keys", "read_configuration"]

NONE: Final = "none"
"""What stands in a file for None, where leaving the key out means something else."""

ARGUMENTS: Final[Mapping[str, Any]] = {
    "data": str,
    "target": str | None,
    "time_limit": float | str,
    "metric": str | None,
    "sample_weight": str | None,
    "groups": str | None,
    "prefer": Literal["balanced", "quality", "speed"],
    "max_latency_ms": float | None,
    "max_size_mb": float | None,
    "transfer_from": str | None,
}
"""Arguments of ``fit`` that a file can hold, with their types there."""

_PATHS: Final = ("data", "output", "transfer_from")
_IN_FILES: Final[Mapping[str, Any]] = {"folds": int | None}
"""Types of fields of ``Settings`` that take more in Python than in a file."""

_ELSEWHERE: Final = ("on_finish", "webhook")
"""What is said on the command line only: nothing in a file is executed, or tells others."""

_HEADER: Final = """\
# The effective configuration of this run, automl-fuse {version}. To repeat it:
#   automl-fuse fit --config {name} --output ANOTHER_DIRECTORY
"""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What was said of a run, by key; what was not said has its default.

    Attributes
    ----------
    values : mapping of str to object
        Arguments of ``fit`` and fields of ``Settings``, of their types.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def overridden(self, values: Mapping[str, Any]) -> Configuration:
        """Return the same with other values where they are given; tables are merged."""
        merged = dict(self.values)
        for key, value in values.items():
            is_table = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = {**merged[key], **value} if is_table else value
        return Configuration(values=merged)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of ``fit``, without the settings."""
        return {key: value for key, value in self.values.items() if key in ARGUMENTS}

    @property
    def settings(self) -> Settings:
        """The settings."""
        chosen = {key: value for key, value in self.values.items() if key not in ARGUMENTS}
        return Settings(**chosen)


@cache
def keys() -> Mapping[str, Any]:
    """Return every key that a file may hold, with its type."""
    from collections.abc import Mapping

    hints = get_type_hints(Settings, localns={"Mapping": Mapping})
    return {**ARGUMENTS, **{each.name: hints[each.name] for each in fields(Settings)}, **_IN_FILES}


def read_configuration(path: str | Path) -> Configuration:
    """Read a configuration; paths in it are relative to its folder.

    Parameters
    ----------
    path : str or Path
        A TOML file.

    Raises
    ------
    SettingsError
        If it cannot be read, has an unknown key, or a value of the wrong type: the message
        names the file, the key, and what is expected or the nearest key there is.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {file}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not a TOML file: {error}.") from error
    values = {key: _checked(key, value, file) for key, value in content.items()}
    for key in _PATHS:
        if key in values and "://" not in values[key]:
            values[key] = str(file.parent / values[key])
    return Configuration(values=values)


def _checked(key: str, value: Any, file: Path) -> Any:
    if key in _ELSEWHERE:
        option = f"--{key.replace('_', '-')}"
        raise SettingsError(f"{file}: {key!r} is no key: give {option} on the command line.")
    if key not in keys():
        raise SettingsError(f"{file}: unknown key {key!r}{suggestion(key, list(keys()))}")
    if value == NONE and key in _nullable():
        return None
    try:
        converted = convert(value, keys()[key])
        if key == "time_limit":
            to_seconds(converted)
        elif key in {"memory_limit", "disk_limit"}:
            Settings(**{key: converted})
    except Mismatch as error:
        expected = described(keys()[key]) + (f", or {NONE!r}" if key in _nullable() else "")
        raise SettingsError(
            f"{file}: {key} = {error.value!r} is wrong: expected {expected}."
        ) from error
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error
    return converted


@cache
def _nullable() -> frozenset[str]:
    """Return the keys whose value may be None and is not None by default."""
    default = Settings()
    return frozenset(
        each.name
        for each in fields(Settings)
        if getattr(default, each.name) is not None and _takes_none(keys()[each.name])
    )


def _takes_none(hint: Any) -> bool:
    return type(None) in getattr(hint, "__args__", ())


def keep_configuration(run: RunDirectory, arguments: Mapping[str, Any], settings: Settings) -> None:
    """Write the effective configuration of a run into its directory.

    What a file cannot hold, such as a table in memory, is named in a comment. The run directory
    itself is left out: a run that repeats this one needs its own.

    Parameters
    ----------
    run : RunDirectory
        Where it is written, for its owner only.
    arguments : mapping of str to object
        Arguments of ``fit``, by name.
    settings : Settings
        Every other option.
    """
    import tomli_w

    held: dict[str, Any] = {}
    lost: list[str] = []
    chosen = {each.name: getattr(settings, each.name) for each in fields(Settings)}
    for key, value in {**arguments, **chosen}.items():
        if key == "output" or (value is None and key not in _nullable()):
            continue
        try:
            held[key] = _as_toml(key, value)
        except Mismatch:
            lost.append(f"# {key}: {type(value).__name__}, which a file cannot hold\n")
    # A table takes every key after its heading, so that tables come last.
    ordered = sorted(held.items(), key=lambda item: isinstance(item[1], dict))
    header = _HEADER.format(version=__version__, name=run.configuration.name)
    text = header + "".join(lost) + "\n" + tomli_w.dumps(dict(ordered))
    write_bytes(run.configuration, text.encode())


def _as_toml(key: str, value: Any) -> Any:
    """Return a value as TOML has it.

    Raises
    ------
    Mismatch
        If a file cannot hold it.
    """
    if value is None:
        return NONE
    if key in _PATHS and isinstance(value, str | Path):
        return str(value) if "://" in str(value) else str(Path(value).absolute())
    converted = convert(value, keys().get(key, str))
    return list(converted) if isinstance(converted, tuple) else converted
