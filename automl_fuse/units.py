"""Times and sizes as people write them."""

from __future__ import annotations

import math
import re
from typing import Final, TypeGuard

from automl_fuse.errors import SettingsError

__all__ = ["SIZES", "TIMES", "in_words", "to_bytes", "to_seconds"]

TIMES: Final = "seconds, or a text such as '8h', '90m', '45s', '1h30m' or '2d'"
SIZES: Final = "bytes, or a text such as '12GB', '800MB' or '16GiB'"

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TIME: Final = re.compile(
    rf"({_NUMBER})\s*(d|h|m|s)(?:ays?|ours?|r|rs|in|ins|inutes?|ec|ecs|econds?)?\s*"
)
_PREFIXES: Final = "kmgt"
_SIZE: Final = re.compile(rf"({_NUMBER})\s*(?:([{_PREFIXES}])(i?))?b?", re.IGNORECASE)


def to_seconds(value: float | str, name: str = "time_limit") -> float:
    """Return a time in seconds.

    Parameters
    ----------
    value : float or str
        Seconds, or numbers with the units d, h, m and s, which may be written out: ``"1h30m"``,
        ``"8 hours"``. A text without a unit is in seconds.
    name : str
        Option that holds it, for messages; may be empty.

    Raises
    ------
    SettingsError
        If it is no time.
    """
    if _is_number(value):
        return float(value)
    if isinstance(value, str):
        text = value.strip().lower()
        if re.fullmatch(_NUMBER, text):
            return float(text)
        if re.fullmatch(rf"(?:{_TIME.pattern})+", text):
            return sum(float(number) * _SECONDS[unit] for number, unit in _TIME.findall(text))
    raise SettingsError(f"{_named(name, value)} is not a time: give {TIMES}.")


def to_bytes(value: float | str, name: str = "memory_limit") -> int:
    """Return a size in bytes.

    Parameters
    ----------
    value : float or str
        Bytes, or a number with a unit: kB, MB, GB and TB are powers of 1,000, and KiB, MiB, GiB
        and TiB of 1,024. Capitals do not matter, and the B may be left out.
    name : str
        Option that holds it, for messages; may be empty.

    Raises
    ------
    SettingsError
        If it is no size.
    """
    if _is_number(value) and math.isfinite(value) and value >= 0:
        return int(value)
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise SettingsError(f"{_named(name, value)} is not a size: give {SIZES}.")
    number, prefix, binary = found.groups()
    power = 0 if prefix is None else _PREFIXES.index(prefix.lower()) + 1
    return int(float(number) * (1_024 if binary else 1_000) ** power)


def in_words(seconds: float) -> str:
    """Return a time as ``to_seconds`` reads it, in its two largest units: ``"1h 30m"``."""
    if not math.isfinite(seconds):
        return "no end" if seconds > 0 else "unknown"
    whole = max(0, round(seconds))
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, _SECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _named(name: str, value: object) -> str:
    return f"{name}={value!r}" if name else repr(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
