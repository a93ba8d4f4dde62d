"""What runs before the graph of a portable file: the steps that ONNX cannot express.

A step turns one raw text column into numbers, and is described by JSON values, so that a file
can state it. It needs NumPy alone. Encoders of text compute their features with the same code.
"""

from __future__ import annotations

import re
import string
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from automl_fuse.errors import ArtefactError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats

__all__ = [
    "Cells",
    "Step",
    "TermPlaces",
    "TermWeights",
    "TextShape",
    "TextSplit",
    "read_step",
    "run_step",
]

NGRAM_SIZES: Final = (3, 4)
SHAPE_WIDTH: Final = 4
DIGITS: Final = string.digits.encode()
CAPITALS: Final = string.ascii_uppercase.encode()

CHUNK_ROWS = 1_024
"""Rows encoded at a time, to bound the memory that counting takes."""
KNOWN_WORDS = 10_000
"""Words whose terms a step remembers from call to call, in a few megabytes."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


class Step(Protocol):
    """Turns one text column into numbers."""

    @property
    def width(self) -> int:
        """Number of columns that it makes."""

    def __call__(self, values: Array | Sequence[str | None]) -> Floats:
        """Return (n_rows, width) for (n_rows,) texts, None where missing."""


def run_step(step: Mapping[str, Any], values: Array | Sequence[str | None]) -> Floats:
    """Do one step for some rows.

    Parameters
    ----------
    step : mapping
        See ``read_step``, which need run only once where rows come one by one.
    values : array or sequence of shape (n_rows,)
        Texts, None where missing, which is the empty text.

    Returns
    -------
    float64 array of shape (n_rows, width)
        Dense: give many rows in parts.

    Raises
    ------
    ArtefactError
        If the step is unknown, or its settings are malformed.
    DataError
        If a value is neither a text nor None.
    """
    return read_step(step)(values)


def read_step(step: Mapping[str, Any]) -> Step:
    """Check the description of a step, and return what does it.

    Parameters
    ----------
    step : mapping
        JSON values under ``kind``, ``settings`` and ``width``; what else it holds, such as the
        name of the column, is not read. There are three kinds:

        ``term_weights``
            TF-IDF weights of terms: see ``TermWeights``. Settings: ``split`` (``"ngrams"`` or
            ``"words"``), ``characters``, ``vocabulary`` (distinct terms, in the order of the
            columns) and ``rarity`` (a positive number for each).
        ``term_places``
            Places of such weights on axes: see ``TermPlaces``. Settings: those of
            ``term_weights`` and ``axes``, single-precision numbers (n_terms, n_axes), row by
            row, the least byte first, in Base64.
        ``text_shape``
            Length and make-up of a text: see ``TextShape``. Settings: ``characters``.

    Raises
    ------
    ArtefactError
        If the kind is unknown, a setting is missing, unknown or malformed, or ``width`` is not
        the number of columns that the settings make.
    """
    if not isinstance(step, Mapping):
        raise ArtefactError(f"a front-end step is {_shown(step)}, not a mapping")
    kind = step.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise ArtefactError(
            f"front-end step {_shown(kind)} is unknown; known are {', '.join(_READERS)}. A newer "
            f"automl_fuse may have written the file"
        )
    names, read = _READERS[kind]
    settings: Any = step.get("settings")
    width = step.get("width")
    _require(isinstance(settings, Mapping), kind, "settings", settings, "a mapping")
    given = sorted(map(str, settings))
    _require(set(settings) == names, kind, "settings", given, f"exactly {sorted(names)}")
    result = read(kind, settings)
    _require(type(width) is int and width == result.width, kind, "width", width, str(result.width))
    return result


class TextSplit(StrEnum):
    """How a text is cut into words, and a word into terms."""

    NGRAMS = "ngrams"
    """Character 3- and 4-grams of lower-case words, a space marking each end of a word."""
    WORDS = "words"
    """Lower-case words and single punctuation marks; a word is its only term."""

    def words(self, text: str) -> list[str]:
        """Cut a text into words."""
        lower = text.lower()
        return lower.split() if self is TextSplit.NGRAMS else _TOKEN.findall(lower)

    def terms(self, word: str) -> Sequence[str]:
        """Cut a word into terms."""
        if self is TextSplit.WORDS:
            return (word,)
        padded = f" {word} "
        return [padded[i : i + n] for n in NGRAM_SIZES for i in range(len(padded) - n + 1)]


class Cells(NamedTuple):
    """The cells of a sparse matrix (n_texts, n_terms), by row and then term, each once."""

    rows: Array
    terms: Array
    values: Floats


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """TF-IDF weights of the terms of texts: step ``term_weights``.

    A term that a text has k times weighs (1 + log k) · rarity; then each text that has any is
    brought to length 1: Manning, Raghavan & Schütze 2008, "Introduction to Information
    Retrieval", sections 6.2 and 6.4.

    Attributes
    ----------
    split : TextSplit
        How texts are cut into terms.
    characters : int
        Characters of a text that are read.
    index : dict of str to int
        Position of each term: 0, 1, 2 … in this order.
    rarity : float64 array of shape (n_terms,)
        Inverse document frequencies.
    """

    split: TextSplit
    characters: int
    index: dict[str, int]
    rarity: Floats
    _known: dict[str, array[int]] = field(default_factory=dict, init=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the words met: equal fits give equal bytes."""
        return {**self.__dict__, "_known": {}}

    @property
    def width(self) -> int:
        """Number of terms."""
        return len(self.index)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        return {
            "split": self.split.value,
            "characters": self.characters,
            "vocabulary": list(self.index),
            "rarity": self.rarity.tolist(),
        }

    def __call__(self, values: Array | Sequence[str | None]) -> Floats:
        """Return the weights, (n_rows, n_terms), of texts, None where missing."""
        weights = np.zeros((len(values), self.width))
        for rows, cells in self.weighed(values):
            weights[rows][cells.rows, cells.terms] = cells.values
        return weights

    def weighed(self, values: Array | Sequence[str | None]) -> Iterator[tuple[slice, Cells]]:
        """Yield the weights of some rows at a time; rows of cells count from the slice."""
        for rows, texts in _chunks(values):
            yield rows, self.weigh(self.count(texts), len(texts))
        if len(self._known) > KNOWN_WORDS:
            self._known.clear()

    def count(self, texts: Sequence[str]) -> Cells:
        """Count the terms of texts."""
        known, flat, ends = self._known, array("i"), array("q", [0])
        for text in texts:
            for word in self.split.words(text[: self.characters]):
                positions = known.get(word)
                if positions is None:
                    positions = known[word] = self._positions(word)
                flat.extend(positions)
            ends.append(len(flat))
        # Half the bytes sort twice as fast.
        size = np.int32 if len(texts) * self.width < 2**31 else np.int64
        first_cell = np.arange(len(texts), dtype=size) * self.width
        cell: NDArray[Any] = np.repeat(first_cell, np.diff(ends))
        cell += np.array(flat, dtype=size)
        cell.sort()
        first = np.flatnonzero(np.diff(cell, prepend=-1))
        counts = np.diff(first, append=len(cell)).astype(np.float64)
        cell = cell[first]
        rows = cell // max(self.width, 1)
        return Cells(rows, cell - rows * self.width, counts)

    def weigh(self, counts: Cells, n_texts: int) -> Cells:
        """Turn the counts of texts into weights."""
        weights = (1 + np.log(counts.values)) * self.rarity[counts.terms]
        lengths = np.sqrt(np.bincount(counts.rows, np.square(weights), n_texts))
        return counts._replace(values=weights / lengths[counts.rows])

    def _positions(self, word: str) -> array[int]:
        index = self.index
        return array("i", [index[term] for term in self.split.terms(word) if term in index])


@dataclass(frozen=True, kw_only=True)
class TermPlaces:
    """Places of TF-IDF weights on axes: step ``term_places``.

    Attributes
    ----------
    terms : TermWeights
        What makes the weights.
    axes : float64 array of shape (n_terms, n_axes)
        Directions, which are single-precision numbers, and are stored as such.
    """

    terms: TermWeights
    axes: Floats

    def __getstate__(self) -> dict[str, Any]:
        return {"terms": self.terms, "axes": self.axes.astype(np.float32)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, axes=state["axes"].astype(np.float64))

    @property
    def width(self) -> int:
        """Number of axes."""
        return int(self.axes.shape[1])

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        axes = self.axes.astype("<f4").tobytes()
        return {**self.terms.settings, "axes": b64encode(axes).decode()}

    def __call__(self, values: Array | Sequence[str | None]) -> Floats:
        """Return the places, (n_rows, n_axes), of texts, None where missing.

        A row has few terms: taking their axes is many times faster than a dense product.
        """
        places = np.zeros((len(values), self.width))
        for rows, (row, term, weight) in self.terms.weighed(values):
            start = 0
            ends = np.cumsum(np.bincount(row, minlength=rows.stop - rows.start)).tolist()
            for position, end in enumerate(ends, rows.start):
                axes = self.axes.take(term[start:end], axis=0)
                np.dot(weight[start:end], axes, out=places[position])
                start = end
        return places


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

    def __call__(self, values: Array | Sequence[str | None]) -> Floats:
        """Return the shapes, (n_rows, 4), of texts, None where missing."""
        shapes = np.empty((len(values), SHAPE_WIDTH))
        for rows, texts in _chunks(values):
            shapes[rows] = [self._parts(text) for text in texts]
        shapes[:, :2] = np.log1p(shapes[:, :2])
        return shapes

    def _parts(self, text: str) -> tuple[int, int, float, float]:
        cut = text[: self.characters]
        size = max(len(cut), 1)
        # Bytes of UTF-8 below 128 are ASCII characters, and nothing is quicker to count.
        data = cut.encode("utf-8", "surrogatepass")
        digits = len(data) - len(data.translate(None, DIGITS))
        capitals = len(data) - len(data.translate(None, CAPITALS))
        return len(text), len(text.split()), digits / size, capitals / size


def _chunks(values: Array | Sequence[str | None]) -> Iterator[tuple[slice, list[str]]]:
    """Cut a text column into slices of rows and their texts, empty for missing ones."""
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


def _read_term_weights(kind: str, settings: Mapping[str, Any]) -> TermWeights:
    split, terms, rarity = settings["split"], settings["vocabulary"], settings["rarity"]
    _require(split in list(TextSplit), kind, "split", split, " or ".join(TextSplit))
    texts = isinstance(terms, list) and all(isinstance(term, str) for term in terms)
    _require(texts, kind, "vocabulary", terms, "a list of texts")
    index = {term: position for position, term in enumerate(terms)}
    _require(len(index) == len(terms), kind, "vocabulary", terms, "a list without repetitions")
    positive = isinstance(rarity, list) and len(rarity) == len(terms) and _all_positive(rarity)
    _require(positive, kind, "rarity", rarity, "a positive number for each term")
    return TermWeights(
        split=TextSplit(split),
        characters=_read_characters(kind, settings),
        index=index,
        rarity=np.array(rarity, dtype=np.float64),
    )


def _read_term_places(kind: str, settings: Mapping[str, Any]) -> TermPlaces:
    terms, text = _read_term_weights(kind, settings), settings["axes"]
    try:
        axes = np.frombuffer(b64decode(text, validate=True), dtype="<f4").astype(np.float64)
        axes = axes.reshape(terms.width, axes.size // max(terms.width, 1))
    except (TypeError, ValueError):
        axes = np.array(np.nan)
    expected = f"Base64 of finite numbers, equally many for each of {terms.width} terms"
    _require(bool(np.isfinite(axes).all()), kind, "axes", text, expected)
    return TermPlaces(terms=terms, axes=axes)


def _read_text_shape(kind: str, settings: Mapping[str, Any]) -> TextShape:
    return TextShape(characters=_read_characters(kind, settings))


def _read_characters(kind: str, settings: Mapping[str, Any]) -> int:
    value = settings["characters"]
    positive = isinstance(value, int) and not isinstance(value, bool) and value > 0
    _require(positive, kind, "characters", value, "a whole number from 1 on")
    return int(value)


def _all_positive(values: list[Any]) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return numbers and all(0 < value <= sys.float_info.max for value in values)


def _require(holds: bool, kind: str, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ArtefactError(
            f"{name!r} of front-end step {kind!r} is {_shown(value)}, not {expected}: the file "
            f"is damaged, or a newer automl_fuse wrote it"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


_Reader = Callable[[str, Mapping[str, Any]], Step]

_WEIGHTS = {"split", "characters", "vocabulary", "rarity"}

_READERS: Final[dict[str, tuple[set[str], _Reader]]] = {
    "term_weights": (_WEIGHTS, _read_term_weights),
    "term_places": (_WEIGHTS | {"axes"}, _read_term_places),
    "text_shape": ({"characters"}, _read_text_shape),
}
