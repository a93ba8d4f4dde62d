"""What is expected of a value that was read from a file: checks, and words, for type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final, Literal, Union, get_args, get_origin

__all__ = ["Mismatch", "convert", "described"]

_WORDS: Final[Mapping[Any, tuple[str, str]]] = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Any: ("a text, a number, true, false, a list or a table", "any values"),
}


class Mismatch(Exception):  # noqa: N818 - always caught, and told with the key and the file
    """A value, or one of those that it holds, is not of the type that is expected."""

    def __init__(self, value: Any) -> None:
        super().__init__(f"{value!r} is of another type")
        self.value = value


def convert(value: Any, hint: Any) -> Any:
    """Return a value as its type hint wants it: lists as tuples, whole numbers as floats.

    Parameters
    ----------
    value : object
        What TOML or a user's code gives.
    hint : type hint
        ``bool``, ``int``, ``float``, ``str``, ``Any``, a ``Literal``, a tuple of any length, a
        mapping with texts as keys, or a union of these.

    Raises
    ------
    Mismatch
        If it is something else.
    """
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return _first(value, get_args(hint))
    if origin is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(convert(each, get_args(hint)[0]) for each in value)
    elif origin is Mapping:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: convert(each, get_args(hint)[1]) for key, each in value.items()}
    else:
        return _plain(value, hint)
    raise Mismatch(value)


def described(hint: Any) -> str:
    """Return what a type hint wants, in words; that it may be None is not said."""
    origin = get_origin(hint)
    if origin in {Union, types.UnionType}:
        return " or ".join(described(each) for each in get_args(hint) if each is not type(None))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin is tuple:
        return f"a list of {_WORDS[get_args(hint)[0]][1]}"
    if origin is Mapping:
        return f"a table of {_WORDS[get_args(hint)[1]][1]}"
    return _WORDS[hint][0]


def _first(value: Any, hints: tuple[Any, ...]) -> Any:
    """Return the value by the first hint of a union that it fits."""
    wrong = value
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return convert(value, hint)
        except Mismatch as error:
            wrong = error.value
    raise Mismatch(wrong)


def _plain(value: Any, hint: Any) -> Any:
    if hint is Any:
        return _storable(value)
    if hint is bool and isinstance(value, bool):
        return value
    if isinstance(value, bool):
        raise Mismatch(value)
    if hint is int and isinstance(value, Integral):
        return int(value)
    if hint is float and isinstance(value, Real):
        return float(value)
    if hint is str and isinstance(value, str):
        return str(value)
    raise Mismatch(value)


def _storable(value: Any) -> Any:
    """Return a value that TOML can hold."""
    if isinstance(value, Mapping):
        return convert(value, Mapping[str, Any])
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return _first(value, (bool, int, float, str))
