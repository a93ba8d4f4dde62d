"""Free text as character n-grams in few dimensions, and as telling words."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.specs import Array, Columns, FitContext, Floats, Matrix, Task
from automl_fuse_encoders.base import Unsupervised, unique_names

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

__all__ = ["Ngrams", "Words"]

NGRAM_CHARACTERS = 1_000
"""Characters of a text that n-grams and shares are taken from; the rest adds little."""
NGRAM_ROWS = 8_000
MAX_NGRAMS = 5_000
NGRAM_SIZES = (3, 4)
DIMENSIONS = 30
OVERSAMPLING = 10
POWER_ROUNDS = 3
SMALLEST_SHARE = 1e-6
"""A dimension with less than this share of the largest singular value is rounding noise."""

WORD_CHARACTERS = 4_000
WORD_ROWS = 20_000
MAX_CANDIDATES = 10_000
MAX_WORDS = 300
"""Features that all text columns share evenly, since matrices are dense."""

CHUNK_ROWS = 1_024
"""Rows encoded at a time, to bound the memory that counting takes."""

WORD_PATTERN = re.compile(r"\w+|[^\w\s]")

Split = Callable[[str], Sequence[str]]
"""Cuts something into pieces: a text into words, or a word into terms."""
Known = dict[str, "array[int]"]
"""Positions of the terms of words that were met before."""


class Ngrams(Unsupervised):
    """Encoder ``ngrams``: 30 dimensions of character 3- and 4-grams, and the shape of the text.

    The n-grams lie within words, a space marking each end. Their TF-IDF weights are reduced by
    a truncated singular value decomposition: randomised, Halko, Martinsson & Tropp 2011,
    algorithms 4.4 and 5.1. The shape is the logarithms of the numbers of characters and words,
    and the shares of digits and of capitals (ASCII). Missing is the empty text.
    """

    def fit(self, columns: Columns) -> None:
        """Learn the n-grams and dimensions of each column."""
        rng = np.random.default_rng(self.seed)
        self.columns: dict[str, _Reduced] = {}
        names: list[str] = []
        for column in columns.columns:
            texts = columns.values[column.name]
            reduced = _Reduced.fit(_sample(texts, NGRAM_ROWS, rng), rng)
            self.columns[column.name] = reduced
            names += [f"{column.name} (ngrams {i + 1})" for i in range(reduced.axes.shape[1])]
            names += [f"{column.name}.{part}" for part in ("length", "words", "digits", "capitals")]
        self.names = unique_names(names)

    def transform(self, columns: Columns) -> Matrix:
        """Return for each column its dimensions, then its shape."""
        values = np.empty((columns.n_rows, len(self.names)))
        start = 0
        for name, reduced in self.columns.items():
            stop = start + reduced.axes.shape[1]
            known: Known = {}
            for rows, texts in _chunks(columns.values[name]):
                values[rows, start:stop] = reduced.place(texts, known)
                values[rows, stop : stop + 4] = _shape(texts)
            start = stop + 4
        return Matrix.numbers(values, self.names)


class Words:
    """Encoder ``words``: TF-IDF of the words that tell most about the target.

    Up to 300 words and punctuation marks, shared by the text columns. They are chosen by
    whether a text has the word, against the target: the chi-square statistic for classes, the
    squared correlation for numbers. The target is read for that choice only, on the training
    rows of the fold; a row's features are counts of its own words, so none is made from its
    own target. Weights are relative to the chosen words of the row. Missing is the empty text.

    Parameters
    ----------
    context : FitContext
        Its task and seed are used.
    """

    def __init__(self, context: FitContext) -> None:
        self.task = context.task
        self.seed = context.seed

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Choose the words, and return the features of the training rows."""
        rng = np.random.default_rng(self.seed)
        rows = _sample(np.arange(columns.n_rows), WORD_ROWS, rng)
        weight = np.ones(columns.n_rows) if weight is None else weight
        outputs = _outputs(self.task, y[rows])
        share = MAX_WORDS // max(1, len(columns.columns))
        self.columns: dict[str, _Terms] = {}
        for column in columns.columns:
            texts = [text or "" for text in columns.values[column.name][rows]]
            terms, counts = _Terms.fit(texts, _tokens, _itself, MAX_CANDIDATES)
            scores = _association(counts, outputs, weight[rows])
            best = np.argsort(-scores, kind="stable")[:share]
            self.columns[column.name] = terms.keep(np.sort(best[scores[best] > 0]))
        self.names = unique_names(
            f"{name}:{word}" for name, terms in self.columns.items() for word in terms.index
        )
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        """Return one feature a word."""
        values = np.empty((columns.n_rows, len(self.names)))
        start = 0
        for name, terms in self.columns.items():
            stop = start + len(terms.index)
            known: Known = {}
            for rows, texts in _chunks(columns.values[name]):
                counts = terms.weigh(terms.count(texts, _tokens, _itself, known))
                values[rows, start:stop] = counts.toarray()
            start = stop
        return Matrix.numbers(values, self.names)


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """The terms of one column: n-grams or words.

    Attributes
    ----------
    index : dict of str to int
        Position of each term.
    rarity : array of shape (n_terms,)
        Inverse document frequencies: 1 + log((1 + rows) / (1 + rows with the term)).
    """

    index: dict[str, int]
    rarity: Floats

    @classmethod
    def fit(
        cls, texts: Sequence[str], split: Split, terms_of: Split, limit: int
    ) -> tuple[_Terms, Any]:
        """Find the terms in two texts or more, at most ``limit``, and count them."""
        words = {word for text in texts for word in split(text)}
        found = sorted({term for word in words for term in terms_of(word)})
        every = cls(index={term: i for i, term in enumerate(found)}, rarity=np.zeros(len(found)))
        counts = every.count(texts, split, terms_of, {})
        frequency = np.bincount(counts.indices, minlength=len(found))
        common = np.argsort(-frequency, kind="stable")[:limit]
        common = np.sort(common[frequency[common] > 1])
        rarity = 1 + np.log((1 + len(texts)) / (1 + frequency))
        terms = cls(index=every.index, rarity=rarity).keep(common)
        return terms, counts[:, common]

    def keep(self, positions: NDArray[np.intp]) -> _Terms:
        """Return only the terms at these rising positions."""
        names = list(self.index)
        kept = {names[position]: i for i, position in enumerate(positions.tolist())}
        return _Terms(index=kept, rarity=self.rarity[positions])

    def count(self, texts: Sequence[str], split: Split, terms_of: Split, known: Known) -> Any:
        """Count the terms of texts: a sparse matrix (n_texts, n_terms), rows sorted.

        ``known`` remembers the positions of the terms of each word, for further calls.
        """
        from scipy.sparse import csr_matrix

        flat, ends = array("i"), array("i", [0])
        for text in texts:
            for word in split(text):
                positions = known.get(word)
                if positions is None:
                    terms = terms_of(word)
                    positions = array("i", [self.index[t] for t in terms if t in self.index])
                    known[word] = positions
                flat.extend(positions)
            ends.append(len(flat))
        cells = (np.ones(len(flat)), np.array(flat, dtype=np.int32), np.array(ends, dtype=np.int32))
        counts = csr_matrix(cells, shape=(len(texts), len(self.index)))
        counts.sum_duplicates()
        return counts

    def weigh(self, counts: Any) -> Any:
        """Turn counts into TF-IDF, in place: (1 + log count) · rarity, each row of length 1."""
        weights = (1 + np.log(counts.data)) * self.rarity[counts.indices]
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        lengths = np.sqrt(np.bincount(rows, np.square(weights), counts.shape[0]))
        counts.data = weights / lengths[rows]
        return counts


@dataclass(frozen=True, kw_only=True)
class _Reduced:
    """The n-grams of one column, and the axes (n_terms, n_dimensions) they are reduced to.

    The axes hold single-precision values, so that pickling them as such, which halves the
    artefact, loses nothing; products are in double precision.
    """

    terms: _Terms
    axes: Floats

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced, (self.terms, self.axes.astype(np.float32))

    @classmethod
    def fit(cls, texts: Array, rng: Generator) -> _Reduced:
        """Find n-grams and axes; there may be none."""
        cut = [(text or "")[:NGRAM_CHARACTERS] for text in texts]
        terms, counts = _Terms.fit(cut, _lower_words, _ngrams, MAX_NGRAMS)
        return cls(terms=terms, axes=_right_axes(terms.weigh(counts), rng))

    def place(self, texts: Sequence[str], known: Known) -> Floats:
        """Return the place of texts on the axes: (n_texts, n_dimensions)."""
        cut = [text[:NGRAM_CHARACTERS] for text in texts]
        weights = self.terms.weigh(self.terms.count(cut, _lower_words, _ngrams, known))
        places: Floats = weights @ self.axes
        return places


def _reduced(terms: _Terms, axes: Array) -> _Reduced:
    """Rebuild from a pickle."""
    return _Reduced(terms=terms, axes=axes.astype(np.float64))


def _single(values: Floats) -> Floats:
    """Round to single precision, without changing the type."""
    rounded: Floats = values.astype(np.float32).astype(np.float64, order="C")
    return rounded


def _lower_words(text: str) -> list[str]:
    return text.lower().split()


def _ngrams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + n] for n in NGRAM_SIZES for i in range(len(padded) - n + 1)]


def _tokens(text: str) -> list[str]:
    return WORD_PATTERN.findall(text[:WORD_CHARACTERS].lower())


def _itself(word: str) -> tuple[str]:
    return (word,)


def _sample(values: Array, limit: int, rng: Generator) -> Array:
    """Return at most this many entries, drawn without replacement, in their order."""
    if len(values) <= limit:
        return values
    return values[np.sort(rng.choice(len(values), limit, replace=False))]


def _chunks(values: Array) -> Iterator[tuple[slice, list[str]]]:
    """Cut a text column into slices of rows and their texts, empty for missing ones."""
    for start in range(0, len(values), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield rows, [text or "" for text in values[rows]]


def _shape(texts: Sequence[str]) -> Floats:
    """Return log characters, log words, share of digits, share of capitals: (n_texts, 4)."""
    cut = [text[:NGRAM_CHARACTERS] for text in texts]
    characters = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    ends = np.cumsum([0, *map(len, cut)])
    sizes = np.maximum(np.diff(ends), 1)
    shape = np.empty((len(texts), 4))
    shape[:, 0] = np.log1p([len(text) for text in texts])
    shape[:, 1] = np.log1p([len(text.split()) for text in texts])
    for place, (first, last) in enumerate((("0", "9"), ("A", "Z"))):
        within = (characters >= ord(first)) & (characters <= ord(last))
        running = np.concatenate([[0], np.cumsum(within)])
        shape[:, 2 + place] = np.diff(running[ends]) / sizes
    return shape


def _right_axes(weights: Any, rng: Generator) -> Floats:
    """Return the leading right singular vectors of a sparse matrix: (n_terms, n_dimensions)."""
    size = min(DIMENSIONS + OVERSAMPLING, *weights.shape)
    if size == 0:
        return np.empty((weights.shape[1], 0))
    basis = np.linalg.qr(weights @ rng.standard_normal((weights.shape[1], size)))[0]
    for _ in range(POWER_ROUNDS):
        basis = np.linalg.qr(weights.T @ basis)[0]
        basis = np.linalg.qr(weights @ basis)[0]
    left, values, _ = np.linalg.svd(weights.T @ basis, full_matrices=False)
    axes = left[:, :DIMENSIONS]
    axes = axes[:, values[:DIMENSIONS] > SMALLEST_SHARE * values[0]]
    # The sign of an axis is arbitrary: its largest entry is made positive.
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return _single(axes * np.sign(largest))


def _outputs(task: Task, y: Array) -> Floats:
    """Return what words are compared with, (n_rows, n_outputs): each class, or the number."""
    if task is Task.REGRESSION:
        return np.asarray(y, dtype=np.float64)[:, None]
    of_class: Array = y[:, None] == np.unique(y)
    return of_class.astype(np.float64)


def _association(counts: Any, outputs: Floats, weight: Floats) -> Floats:
    """Return how much having each term tells about the outputs: (n_terms,), 0 for nothing.

    For classes this is the chi-square statistic of the table (has the term) by (class) over the
    number of rows; for one number, its squared correlation with having the term.
    """
    shares = weight / weight.sum()
    present = counts.astype(bool).astype(np.float64)
    frequency = present.T @ shares
    means = shares @ outputs
    joint = present.T @ (outputs * shares[:, None]) - frequency[:, None] * means
    binary = bool(np.isin(outputs, (0, 1)).all())
    spread = means if binary else shares @ np.square(outputs - means)
    chance = frequency * (1 - frequency)
    told = np.square(joint)[:, spread > 0] / spread[spread > 0]
    scores: Floats = np.zeros(len(frequency))
    np.divide(told.sum(axis=1), chance, out=scores, where=chance > 1e-12)
    return scores
