"""JSON whose every field is checked as it is read, so that an error can name it."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from automl_fuse.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_SHOWN: Final = 40


class Fields:
    """One JSON object.

    Parameters
    ----------
    values : dict
        As ``json`` reads it.
    path : str
        Where it stands, such as ``"inputs[2]"``; empty for the whole.
    """

    def __init__(self, values: dict[str, Any], path: str = "") -> None:
        self.values = values
        self._path = path

    @staticmethod
    def of_json(content: bytes) -> Fields:
        """Read an object from JSON in UTF-8.

        Raises
        ------
        ArtefactError
            If it is none; NaN and Infinity are no JSON.
        """
        try:
            values = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ArtefactError(f"its manifest is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise ArtefactError("its manifest is no JSON object")
        return Fields(values)

    def text(self, name: str) -> str:
        """Return a text."""
        value: str = self._checked(name, str, "text")
        return value

    def integer(self, name: str, least: int = 0) -> int:
        """Return an integer from ``least`` on."""
        value = self._get(name)
        if not _is_integer(value) or value < least:
            self.refuse(name, f"an integer from {least} on was expected")
        return int(value)

    def number(self, name: str) -> float:
        """Return a finite number."""
        value = self._get(name)
        if not is_number(value):
            self.refuse(name, "a finite number was expected")
        return float(value)

    def number_or_nan(self, name: str) -> float:
        """Return a finite number, or NaN for null."""
        return float("nan") if self._get(name) is None else self.number(name)

    def choice(self, name: str, values: Callable[[str], T], known: list[str]) -> T:
        """Return what one of some texts stands for."""
        text = self.text(name)
        if text not in known:
            self.refuse(name, f"one of {', '.join(known)} was expected")
        return values(text)

    def part(self, name: str) -> Fields:
        """Return an object inside of this one."""
        return Fields(self._checked(name, dict, "an object"), f"{self._path}{name}.")

    def parts(self, name: str) -> list[Fields]:
        """Return a list of objects."""
        found = self._checked(name, list, "a list of objects")
        if not all(isinstance(each, dict) for each in found):
            self.refuse(name, "a list of objects was expected")
        return [Fields(each, f"{self._path}{name}[{i}].") for i, each in enumerate(found)]

    def items(self, name: str, fits: Callable[[object], bool], what: str) -> list[Any]:
        """Return a list whose values all fit."""
        found: list[Any] = self._checked(name, list, f"a list of {what}")
        if not all(map(fits, found)):
            self.refuse(name, f"a list of {what} was expected")
        return found

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        return self.items(name, lambda value: isinstance(value, str), "texts")

    def is_null(self, name: str) -> bool:
        """Return whether a field is null."""
        return self._get(name) is None

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error of a field that is not as it should be."""
        shown = repr(self.values.get(name))
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}…"
        raise ArtefactError(
            f"the field {self._path + name!r} of its manifest is {shown}: {expected}; export the "
            "pipeline again"
        )

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise ArtefactError(
                f"its manifest has no field {self._path + name!r}: export the pipeline again"
            )
        return self.values[name]

    def _checked(self, name: str, kind: type, what: str) -> Any:
        value = self._get(name)
        if not isinstance(value, kind):
            self.refuse(name, f"{what} was expected")
        return value


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number that a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(float(value))
    except OverflowError:
        return False


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
