"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeVar

from automl_fuse.errors import SettingsError
from automl_fuse.units import to_bytes, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_Number = TypeVar("_Number", int, float)

PREFERENCES = ("quality", "balanced", "speed")

MODEL = "portable file (model.onnx), or run directory"
TABLE = "CSV or Parquet file"


def add_command(commands: Any, name: str, command: Callable[..., int | None], text: str) -> Any:
    """Add a command, with ``--json``, and return its parser."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


def add_limits(parser: Any) -> None:
    """Add the options that choose one of the pipelines of a run."""
    add = parser.add_argument
    add("--prefer", choices=PREFERENCES, help="which pipeline of the front; default: balanced")
    add("--max-latency-ms", type=positive, metavar="MS", help="milliseconds that one row may take")
    add("--max-size-mb", type=positive, metavar="MB", help="megabytes that the file may have")


def limits(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of ``add_limits`` that were given, and ``--max-loss``."""
    names = ("prefer", "max_latency_ms", "max_size_mb", "max_loss")
    given = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def time(text: str) -> float:
    """Read a time: ``90m``, ``8h``, or seconds."""
    return _read(to_seconds, text)


def size(text: str) -> str:
    """Read a size: ``12GB``, or bytes; it stays as it was written."""
    _read(to_bytes, text)
    return text


def share_or_none(text: str) -> float | None:
    """Read a positive number, or ``none``."""
    return None if text == "none" else positive(text)


def counts(text: str) -> tuple[int, ...]:
    """Read positive integers with commas between."""
    found = tuple(int(part) for part in names(text))
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} holds no positive integers")
    return found


def positive(text: str) -> float:
    """Read a positive number."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return number


def not_negative(text: str) -> float:
    """Read a number from 0 on."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return number


def _read(reader: Callable[[str, str], _Number], text: str) -> _Number:
    try:
        return reader(text, "")
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
