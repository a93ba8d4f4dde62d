"""Texts cut into terms, and what is made of how often a text has each."""

from __future__ import annotations

import re
from array import array
from base64 import b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from automl_fuse.front_end.texts import Texts, chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Floats

NGRAM_SIZES: Final = (3, 4)

KNOWN_WORDS = 20_000
"""Words whose terms a vocabulary remembers from call to call, in a few megabytes."""
GATHERED_TERMS: Final = 4_096
"""Terms whose axes are gathered at a time: they stay in the processor's cache."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_POSITION: Final = np.dtype(np.int32)


class TextSplit(StrEnum):
    """How a word, which is what stands between white space, is cut into terms."""

    NGRAMS = "ngrams"
    """Character 3- and 4-grams, a space marking each end of the word."""
    WORDS = "words"
    """Runs of letters, digits and underscores, and single other characters."""

    def terms(self, word: str) -> list[str]:
        """Cut a word into terms."""
        if self is TextSplit.WORDS:
            return _TOKEN.findall(word)
        padded = f" {word} "
        return [padded[i : i + n] for n in NGRAM_SIZES for i in range(len(padded) - n + 1)]


class Cut(NamedTuple):
    """A way of cutting texts into terms.

    Attributes
    ----------
    split : TextSplit
        How words are cut.
    characters : int
        Characters of a text that are read.
    """

    split: TextSplit
    characters: int


def words_of(texts: Iterable[str], characters: int) -> list[list[str]]:
    """Cut the first characters of texts into lower-case words."""
    return [text[:characters].lower().split() for text in texts]


class Cells(NamedTuple):
    """The cells of a sparse matrix (n_texts, n_terms), by row and then term, each once."""

    rows: Array
    terms: Array
    values: Floats


class Vocabulary:
    """The terms that are counted in texts.

    Parameters
    ----------
    cut : Cut
        How texts are cut into terms.
    terms : iterable of str
        Distinct terms, in order.

    Attributes
    ----------
    cut : Cut
        As above.
    index : dict of str to int
        Position of each term: 0, 1, 2 … in this order.
    """

    def __init__(self, cut: Cut, terms: Iterable[str]) -> None:
        self.cut = cut
        self.index = {term: position for position, term in enumerate(terms)}
        self._known = _Known(cut.split, self.index)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the words met: equal fits give equal bytes."""
        return {"cut": self.cut, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _known=_Known(state["cut"].split, state["index"]))

    def count(self, texts: Sequence[str]) -> Cells:
        """Count the terms of texts: 1 + log k for a term that a text has k times."""
        return self.count_words(words_of(texts, self.cut.characters))

    def count_words(self, texts: Sequence[Sequence[str]]) -> Cells:
        """Count the terms of texts that have been cut into words."""
        found = [b"".join(map(self._known.__getitem__, words)) for words in texts]
        if len(self._known) > KNOWN_WORDS:
            self._known.clear()
        width = len(self.index)
        sizes = np.fromiter(map(len, found), np.intp, len(found)) // _POSITION.itemsize
        # Half the bytes sort twice as fast.
        size = np.int32 if len(texts) * width < 2**31 else np.int64
        cell: NDArray[Any] = np.repeat(np.arange(len(texts), dtype=size) * width, sizes)
        cell += np.frombuffer(b"".join(found), _POSITION)
        cell.sort()
        is_first = np.ones(len(cell), dtype=bool)
        np.not_equal(cell[1:], cell[:-1], out=is_first[1:])
        first = np.flatnonzero(is_first)
        times = np.diff(first, append=len(cell))
        cell = cell[first]
        rows = cell // max(width, 1)
        terms = cell - rows * width
        # Converted once, not by each step that looks something up with them.
        return Cells(rows.astype(np.intp), terms.astype(np.intp), 1 + np.log(times))


class _Known(dict[str, bytes]):
    """Positions of the terms of each word, as the bytes of integers, found when it is first met.

    Many threads may read it, and any may clear it.
    """

    def __init__(self, split: TextSplit, index: Mapping[str, int]) -> None:
        super().__init__()
        self._split = split
        self._index = index

    def __missing__(self, word: str) -> bytes:
        positions = map(self._index.get, self._split.terms(word))
        found = array("i", [each for each in positions if each is not None]).tobytes()
        self[word] = found
        return found


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """TF-IDF weights of the terms of texts: step ``term_weights``.

    A term that a text has k times weighs (1 + log k) · rarity; then each text that has any is
    brought to length 1: Manning, Raghavan & Schütze 2008, "Introduction to Information
    Retrieval", sections 6.2 and 6.4.

    Attributes
    ----------
    vocabulary : Vocabulary
        The terms.
    rarity : float64 array of shape (n_terms,)
        Inverse document frequencies.
    """

    vocabulary: Vocabulary
    rarity: Floats

    @property
    def index(self) -> dict[str, int]:
        """Position of each term: 0, 1, 2 … in this order."""
        return self.vocabulary.index

    @property
    def width(self) -> int:
        """Number of terms."""
        return len(self.index)

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        return {
            "split": self.vocabulary.cut.split.value,
            "characters": self.vocabulary.cut.characters,
            "vocabulary": list(self.index),
            "rarity": self.rarity.tolist(),
        }

    def __call__(self, values: Texts) -> Floats:
        """Return the weights, (n_rows, n_terms), of texts, None where missing."""
        return _of_column(self, values)

    def fill(self, features: Floats, counts: Cells) -> None:
        """Write the weights of texts into zeros (n_texts, n_terms)."""
        rows, terms, weights = self.weigh(counts, len(features))
        features[rows, terms] = weights

    def weigh(self, counts: Cells, n_texts: int) -> Cells:
        """Turn the counts of texts into weights."""
        weights = counts.values * self.rarity[counts.terms]
        lengths = np.sqrt(np.bincount(counts.rows, np.square(weights), n_texts))
        return counts._replace(values=weights / lengths[counts.rows])


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
    def vocabulary(self) -> Vocabulary:
        """The terms."""
        return self.terms.vocabulary

    @property
    def width(self) -> int:
        """Number of axes."""
        return int(self.axes.shape[1])

    @property
    def settings(self) -> dict[str, Any]:
        """What ``read_step`` makes the same of: JSON values."""
        axes = self.axes.astype("<f4").tobytes()
        return {**self.terms.settings, "axes": b64encode(axes).decode()}

    def __call__(self, values: Texts) -> Floats:
        """Return the places, (n_rows, n_axes), of texts, None where missing."""
        return _of_column(self, values)

    def fill(self, features: Floats, counts: Cells) -> None:
        """Write the places of texts into zeros (n_texts, n_axes).

        A text has few terms: taking their axes is many times faster than a dense product.
        Texts of equally many terms are done together, each as it would be alone.
        """
        rows, terms, weights = self.terms.weigh(counts, len(features))
        for texts, cells in _alike(np.bincount(rows, minlength=len(features))):
            axes = self.axes.take(terms.take(cells), axis=0)
            features[texts] = (weights.take(cells)[:, None] @ axes)[:, 0]


TermStep: TypeAlias = TermWeights | TermPlaces
"""A step that reads how often texts have the terms of its ``vocabulary``."""


def _of_column(step: TermStep, values: Texts) -> Floats:
    features = np.zeros((len(values), step.width))
    for rows, texts in chunks(values):
        step.fill(features[rows], step.vocabulary.count(texts))
    return features


def _alike(sizes: NDArray[np.intp]) -> Iterator[tuple[Array, Array]]:
    """Yield texts (n,) of equally many cells, and these cells (n, n_cells), some at a time."""
    starts = np.cumsum(sizes) - sizes
    for size in set(sizes.tolist()) - {0}:
        alike = np.flatnonzero(sizes == size)
        at_once = max(1, GATHERED_TERMS // size)
        for first in range(0, len(alike), at_once):
            texts = alike[first : first + at_once]
            yield texts, starts[texts][:, None] + np.arange(size)
