"""What commands print: text, tables, JSON."""

from __future__ import annotations

import json
import sys
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def say(text: str = "") -> None:
    """Print lines of the result, without what a terminal would obey."""
    sys.stdout.write(f"{_printable_lines(text)}\n")


def warn(text: str) -> None:
    """Print lines that are not part of the result, without what a terminal would obey."""
    sys.stderr.write(f"{_printable_lines(text)}\n")


def printable(text: str) -> str:
    """Return a text, from a file or a plugin, without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in text)


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def say_json(content: object) -> None:
    """Print JSON; numbers that are not finite become null, for JSON has none."""
    say(json.dumps(finite(content), indent=1, default=str, allow_nan=False))


def fused_by(fusion: Mapping[str, Any]) -> str:
    """Return in words how members were fused, from that part of a report."""
    return "One member, not fused" if fusion["method"] == "none" else f"Fused by {fusion['method']}"


def say_table(
    rows: Sequence[Mapping[str, Any]], formats: Mapping[str, Callable[[Any], str]]
) -> None:
    """Print rows in columns, one for each key of the first row.

    Parameters
    ----------
    rows : sequence of mapping
        What is printed; None is left blank.
    formats : mapping of str to callable
        How the values of some columns become text. Those columns are flush right.
    """
    names = list(rows[0]) if rows else []
    cells = [[_cell(row.get(name), formats.get(name, str)) for name in names] for row in rows]
    lines = [names, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    for line in lines:
        say(
            "  ".join(
                text.rjust(width) if name in formats else text.ljust(width)
                for text, width, name in zip(line, widths, names, strict=True)
            ).rstrip()
        )


def size(count: int) -> str:
    """Return a number of bytes in words."""
    if count < 10_000:
        return f"{count:,} bytes"
    return f"{count / 1e3:,.0f} kB" if count < 10_000_000 else f"{count / 1e6:,.1f} MB"


def _cell(value: Any, form: Callable[[Any], str]) -> str:
    return "" if value is None else printable(form(value))


def finite(value: Any) -> Any:
    """Return JSON values without numbers that are not finite, which become None."""
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
