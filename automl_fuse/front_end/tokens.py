"""Texts cut into pieces of words, for networks that read them one after the other."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.front_end.texts import chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.front_end.texts import Texts
    from automl_fuse.specs import Floats

UNKNOWN: Final = 1
FIRST_PIECE: Final = 2
"""Codes: a character that no piece has, and the first piece; 0 fills up."""
KNOWN_WORDS: Final = 20_000
"""Words whose pieces are remembered from call to call, in a few megabytes."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Codes of the pieces of texts: step ``tokens``.

    A text, in lower case, is cut at white space into words, and a space is put before each. A
    word is cut into pieces from its beginning, always the longest that the vocabulary has; a
    character with which none begins is unknown. Source: WordPiece as in Devlin et al. 2019,
    "BERT", whose greedy matching is that of Schuster & Nakajima 2012.

    Columns are the codes of the first ``length`` pieces, 0 after the last: 1 for an unknown
    character, 2, 3, … for those of the vocabulary in its order; then the number of pieces, at
    most ``length``.

    Attributes
    ----------
    characters : int
        Characters of a text that are read.
    length : int
        Pieces of a text that are kept.
    vocabulary : tuple of str
        Distinct pieces; one with a space before it begins a word.
    """

    characters: int
    length: int
    vocabulary: tuple[str, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.length + 1

    @property
    def n_tokens(self) -> int:
        """Number of codes."""
        return FIRST_PIECE + len(self.vocabulary)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        return {
            "characters": self.characters,
            "length": self.length,
            "vocabulary": list(self.vocabulary),
        }

    def __call__(self, values: Texts) -> Floats:
        """Return the codes, (n_rows, width), of texts, None where missing."""
        codes = np.zeros((len(values), self.width))
        for rows, texts in chunks(values):
            self.fill(codes[rows], texts)
        return codes

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the words met: equal fits give equal bytes."""
        return {name: getattr(self, name) for name in ("characters", "length", "vocabulary")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def fill(self, codes: Floats, texts: Sequence[str]) -> None:
        """Write the codes of texts into zeros (n_texts, width)."""
        for row, text in enumerate(texts):
            found = self.codes(text)[: self.length]
            codes[row, : len(found)] = found
            codes[row, -1] = len(found)

    def codes(self, text: str) -> array[int]:
        """Return the codes of all pieces of a text, those beyond ``length`` included."""
        found = array("i")
        for word in text[: self.characters].lower().split():
            found += self._known[word]
        if len(self._known) > KNOWN_WORDS:
            self._known.clear()
        return found

    @cached_property
    def _known(self) -> _Known:
        return _Known(self.vocabulary)


class _Known(dict[str, "array[int]"]):
    """The codes of the pieces of each word, found when it is first met.

    Many threads may read it, and any may clear it.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self._code = {piece: code for code, piece in enumerate(vocabulary, FIRST_PIECE)}
        self._longest = max(map(len, vocabulary), default=1)

    def __missing__(self, word: str) -> array[int]:
        found, rest, start = array("i"), f" {word}", 0
        while start < len(rest):
            end = min(start + self._longest, len(rest))
            while end > start and rest[start:end] not in self._code:
                end -= 1
            if end > start:
                found.append(self._code[rest[start:end]])
                start = end
            else:
                # The space alone says nothing: its word is then told by what follows.
                if start:
                    found.append(UNKNOWN)
                start += 1
        self[word] = found
        return found
