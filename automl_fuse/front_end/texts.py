"""Text columns read in parts, and the shape of a text."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from automl_fuse.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automl_fuse.specs import Array, Floats

Texts: TypeAlias = "Array | Sequence[str | None]"
"""A text column: (n_rows,) texts, None where missing, which is the empty text."""

SHAPE_WIDTH: Final = 4
DIGITS: Final = string.digits.encode()
CAPITALS: Final = string.ascii_uppercase.encode()

CHUNK_ROWS = 2_048
"""Rows encoded at a time, to bound the memory that counting takes."""


class Step(Protocol):
    """Turns one text column into numbers."""

    @property
    def width(self) -> int:
        """Number of columns that it makes."""

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""

    def __call__(self, values: Texts) -> Floats:
        """Return (n_rows, width) for (n_rows,) texts, None where missing."""


def chunks(values: Texts) -> Iterator[tuple[slice, list[str]]]:
    """Cut a text column into slices of rows and their texts, empty for missing ones.

    Raises
    ------
    DataError
        If a value is neither a text nor None.
    """
    for start in range(0, len(values), CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, len(values)))
        texts = ["" if text is None else text for text in values[rows]]
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(
                    f"a text column holds {text!r} ({type(text).__name__}) in row "
                    f"{start + position}: give str, or None where missing"
                )
        yield rows, texts


@dataclass(frozen=True, kw_only=True)
class TextShape:
    """Length and make-up of texts: step ``text_shape``.

    Its four columns are log(1 + characters), log(1 + words), and the shares of digits 0 … 9
    and of capitals A … Z.

    Attributes
    ----------
    characters : int
        Characters of a text that the shares are taken from; the lengths are of the whole.
    """

    characters: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return SHAPE_WIDTH

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        return {"characters": self.characters}

    def __call__(self, values: Texts) -> Floats:
        """Return the shapes, (n_rows, 4), of texts, None where missing."""
        shapes = np.empty((len(values), SHAPE_WIDTH))
        for rows, texts in chunks(values):
            self.fill(shapes[rows], texts)
        return shapes

    def fill(self, shapes: Floats, texts: Sequence[str]) -> None:
        """Write the shapes of some texts into (n_texts, 4)."""
        shapes[:] = [self._parts(text) for text in texts]
        shapes[:, :2] = np.log1p(shapes[:, :2])

    def _parts(self, text: str) -> tuple[int, int, float, float]:
        cut = text[: self.characters]
        size = max(len(cut), 1)
        # Bytes of UTF-8 below 128 are ASCII characters, and nothing is quicker to count.
        data = cut.encode("utf-8", "surrogatepass")
        digits = len(data) - len(data.translate(None, DIGITS))
        capitals = len(data) - len(data.translate(None, CAPITALS))
        return len(text), len(text.split()), digits / size, capitals / size
