"""Free text as character n-grams in few dimensions, and as telling words.

What is fitted is found here; ``automl_fuse.front_end`` cuts, counts and weighs, here as well as
before the graph of a portable file.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.front_end import (
    Cells,
    Cut,
    TermPlaces,
    TermWeights,
    TextShape,
    TextSplit,
    Vocabulary,
    words_of,
)
from automl_fuse.specs import Array, Columns, FitContext, Floats, Graph, Matrix, Task, Tensor
from automl_fuse_encoders.base import Unsupervised, unique_names
from automl_fuse_encoders.writing import beside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

__all__ = ["Ngrams", "Words"]

NGRAM_CUT = Cut(TextSplit.NGRAMS, characters=1_000)
"""How n-grams are cut: characters of a text beyond these add little."""
NGRAM_ROWS = 8_000
MAX_NGRAMS = 5_000
DIMENSIONS = 30
OVERSAMPLING = 10
POWER_ROUNDS = 3
SMALLEST_SHARE = 1e-6
"""A dimension with less than this share of the largest singular value is rounding noise."""

WORD_CUT = Cut(TextSplit.WORDS, characters=4_000)
WORD_ROWS = 20_000
MAX_CANDIDATES = 10_000
MAX_WORDS = 300
"""Features that all text columns share evenly, since matrices are dense."""

SHAPE = TextShape(characters=NGRAM_CUT.characters)


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
        self.columns: dict[str, TermPlaces] = {}
        names: list[str] = []
        for column in columns.columns:
            texts = columns.values[column.name]
            places = _fit_places(_sample(texts, NGRAM_ROWS, rng), rng)
            self.columns[column.name] = places
            names += [f"{column.name} (ngrams {i + 1})" for i in range(places.width)]
            names += [f"{column.name}.{part}" for part in ("length", "words", "digits", "capitals")]
        self.names = unique_names(names)

    def transform(self, columns: Columns) -> Matrix:
        """Return for each column its dimensions, then its shape."""
        blocks = [np.empty((columns.n_rows, 0))]
        for name, places in self.columns.items():
            texts = columns.values[name]
            blocks += [places(texts), SHAPE(texts)]
        return Matrix.numbers(np.hstack(blocks), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Ask the front-end for the places and shapes, which are the features.

        The projection on the axes could be a product in the graph. But texts have few of the
        5,000 n-grams, and ONNX has no sparse product: onnxruntime takes 60 µs for one row,
        NumPy 3 µs, and 5,000 rows of dense weights are 200 MB.
        """
        del columns
        blocks = []
        for name, places in self.columns.items():
            if places.width:
                blocks.append(_prepared(graph, "term_places", name, places))
            blocks.append(_prepared(graph, "text_shape", name, SHAPE))
        return beside(graph, blocks)


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
        self.columns: dict[str, TermWeights] = {}
        for column in columns.columns:
            texts = [text or "" for text in columns.values[column.name][rows]]
            terms, counts = _find(WORD_CUT, texts, MAX_CANDIDATES)
            matrix = _sparse(counts, len(texts), terms.width)
            scores = _association(matrix, outputs, weight[rows])
            best = np.argsort(-scores, kind="stable")[:share]
            self.columns[column.name] = _keep(terms, np.sort(best[scores[best] > 0]))
        self.names = unique_names(
            f"{name}:{word}" for name, terms in self.columns.items() for word in terms.index
        )
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        """Return one feature a word."""
        blocks = [np.empty((columns.n_rows, 0))]
        blocks += [terms(columns.values[name]) for name, terms in self.columns.items()]
        return Matrix.numbers(np.hstack(blocks), self.names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Ask the front-end for the weights, which are the features."""
        del columns
        used = {name: terms for name, terms in self.columns.items() if terms.width}
        blocks = [_prepared(graph, "term_weights", name, terms) for name, terms in used.items()]
        return beside(graph, blocks)


def _prepared(
    graph: Graph, kind: str, column: str, step: TermWeights | TermPlaces | TextShape
) -> Tensor:
    return graph.prepared(kind, column, step.settings, step.width)


def _fit_places(texts: Array, rng: Generator) -> TermPlaces:
    """Find n-grams and the axes they are reduced to; there may be none."""
    filled = [text or "" for text in texts]
    terms, counts = _find(NGRAM_CUT, filled, MAX_NGRAMS)
    weights = _sparse(terms.weigh(counts, len(filled)), len(filled), terms.width)
    return TermPlaces(terms=terms, axes=_right_axes(weights, rng))


def _find(cut: Cut, texts: Sequence[str], limit: int) -> tuple[TermWeights, Cells]:
    """Find the terms in two texts or more, at most ``limit``, and count them.

    The rarity of a term is 1 + log((1 + texts) / (1 + texts with the term)).
    """
    words = set(chain.from_iterable(words_of(texts, cut.characters)))
    found = sorted({term for word in words for term in cut.split.terms(word)})
    every = Vocabulary(cut, found)
    counts = every.count(texts)
    frequency = np.bincount(counts.terms, minlength=len(found))
    common = np.argsort(-frequency, kind="stable")[:limit]
    common = np.sort(common[frequency[common] > 1])
    rarity = 1 + np.log((1 + len(texts)) / (1 + frequency))
    place = np.full(len(found), -1)
    place[common] = np.arange(len(common))
    known = place[counts.terms] >= 0
    counts = Cells(counts.rows[known], place[counts.terms[known]], counts.values[known])
    return _keep(TermWeights(vocabulary=every, rarity=rarity), common), counts


def _keep(terms: TermWeights, positions: NDArray[np.intp]) -> TermWeights:
    """Return only the terms at these rising positions."""
    names = list(terms.index)
    kept = Vocabulary(terms.vocabulary.cut, [names[position] for position in positions.tolist()])
    return TermWeights(vocabulary=kept, rarity=terms.rarity[positions])


def _sparse(cells: Cells, n_rows: int, n_terms: int) -> Any:
    """Return cells as a sparse matrix; only fitting needs it, and with it SciPy."""
    from scipy.sparse import csr_matrix

    starts = np.searchsorted(cells.rows, np.arange(n_rows + 1))
    return csr_matrix((cells.values, cells.terms, starts), shape=(n_rows, n_terms))


def _sample(values: Array, limit: int, rng: Generator) -> Array:
    """Return at most this many entries, drawn without replacement, in their order."""
    if len(values) <= limit:
        return values
    return values[np.sort(rng.choice(len(values), limit, replace=False))]


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
    single: Floats = (axes * np.sign(largest)).astype(np.float32).astype(np.float64, order="C")
    return single


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
