"""Codes of the categories of a column."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.schema.conversion import to_texts
from automl_fuse.specs import MISSING_CODE, UNSEEN_CODE, Array, Column, Floats
from automl_fuse.table import format_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Lookup:
    """Codes of the categories of one column, by text, and by number where that is clear.

    A CSV of other rows may give the categories "1" or "00501" as numbers; a number finds the
    one category that it equals.
    """

    by_text: Mapping[str | None, int]
    by_number: Mapping[float, int]

    @staticmethod
    def of(categories: tuple[str, ...]) -> Lookup:
        """Return the look-up of the categories given in code order."""
        by_text: dict[str | None, int] = {text: code for code, text in enumerate(categories)}
        numbers: dict[float, list[int]] = {}
        for code, text in enumerate(categories):
            if (number := _number(text)) is not None:
                numbers.setdefault(number, []).append(code)
        by_number = {n: codes[0] for n, codes in numbers.items() if len(codes) == 1}
        by_number.update({n: by_text[t] for n in numbers if (t := format_cell(n)) in by_text})
        by_text[None] = MISSING_CODE
        return Lookup(by_text, by_number)

    def codes(self, column: Column, values: Array) -> NDArray[np.int32]:
        """Return the code of each value."""
        if values.dtype.kind == "f":
            return self._codes_of_numbers(values)
        texts = to_texts(column, values).tolist()
        codes = np.fromiter(map(self.by_text.get, texts, repeat(UNSEEN_CODE)), np.int32, len(texts))
        for row in np.flatnonzero(codes == UNSEEN_CODE) if self.by_number else ():
            number = _number(texts[row]) if texts[row].endswith((".0", "True", "False")) else None
            if number is not None:
                codes[row] = self.by_number.get(number, UNSEEN_CODE)
        return codes

    def _codes_of_numbers(self, values: Floats) -> NDArray[np.int32]:
        distinct, inverse = np.unique(values, return_inverse=True)
        codes = [
            MISSING_CODE if np.isnan(number) else self.by_number.get(number, UNSEEN_CODE)
            for number in distinct.tolist()
        ]
        return np.array(codes, dtype=np.int32)[inverse]


def _number(text: str) -> float | None:
    """Return the number that a text is, 1 or 0 for True or False, or None."""
    if text in {"True", "False"}:
        return float(text == "True")
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
