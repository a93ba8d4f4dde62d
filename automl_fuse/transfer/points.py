"""Whether a configuration of an earlier run is a point of a learner's space as it is today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Params, Space


class NotAPoint(Exception):  # noqa: N818 - always caught, and told as a note
    """A parameter that the space asks for is not given, or is outside of it."""


class _Given:
    """A ``Suggest`` that answers with given params."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:  # noqa: ARG002
        """Answer with the integer that was given."""
        value = self._number(name, low, high)
        if value != int(value):
            raise NotAPoint(f"{name}={value!r} is no whole number")
        return int(value)

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:  # noqa: ARG002
        """Answer with the number that was given."""
        return float(self._number(name, low, high))

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Answer with the option that was given."""
        value = self._value(name)
        if value not in options:
            raise NotAPoint(f"{name}={value!r} is none of {list(options)}")
        return value

    def _number(self, name: str, low: float, high: float) -> float:
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotAPoint(f"{name}={value!r} is no number")
        if not low <= value <= high:
            raise NotAPoint(f"{name}={value!r} is outside of {low} … {high}")
        return value

    def _value(self, name: str) -> Any:
        if name not in self._params:
            raise NotAPoint(f"{name} is not given")
        return self._params[name]


def point_of(space: Space, params: Params) -> dict[str, Any]:
    """Return the point of a space that params describe; what the space does not ask for is left.

    Raises
    ------
    NotAPoint
        If a parameter is not given, or is outside of the space.
    """
    return space(_Given(params))
