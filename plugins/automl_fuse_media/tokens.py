"""Texts as blocks of tokens: what a network reads piece by piece."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.front_end import Tokens
from automl_fuse.specs import Block, Kind, Matrix
from automl_fuse_media.common import beside, prepared_as, round_length, unique_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import Array, Columns, FitContext, Floats, Graph, Tensor

__all__ = ["TokenBlocks"]

CHARACTERS: Final = 4_000
"""What is read of a text."""
MOST_PIECES: Final = 256
"""Pieces of a text that are kept."""
MOST_VALUES: Final = 1 << 26
"""Codes in all training rows, half a gigabyte: with more rows, fewer pieces are kept."""
FEWEST: Final = 8
ROWS: Final = 20_000
WORDS, PARTS, LETTERS = 4_000, 1_500, 500
"""Pieces of each sort in a vocabulary, at most."""
CANDIDATES: Final = 10_000
"""Words whose parts are counted."""
PART_SIZES: Final = range(2, 7)


class TokenBlocks:
    """Encoder ``tokens``: codes of the pieces of each text, and how many.

    The vocabulary consists of the letters of the training rows; of the parts of words, of 2 to 6
    letters, that spare most tokens; and of the words in two rows or more that occur most often.
    There are as many pieces as 95 % of the training texts have, up to 256. Missing is the empty
    text. The target is not read.

    Parameters
    ----------
    context : FitContext
        Its seed chooses the rows that words are counted in, if there are more than 20,000.
    """

    def __init__(self, context: FitContext) -> None:
        self.seed = context.seed

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        """Learn vocabularies, and return the features of the training rows."""
        del y, weight
        rng = np.random.default_rng(self.seed)
        self.steps: dict[str, Tokens] = {}
        names: list[str] = []
        self.blocks: tuple[Block, ...] = ()
        for column in columns.columns:
            texts = columns.values[column.name]
            if len(texts) > ROWS:
                texts = texts[np.sort(rng.choice(len(texts), ROWS, replace=False))]
            known = [text for text in texts if text is not None]
            vocabulary = _vocabulary(known)
            if vocabulary:
                step = _step(vocabulary, known, MOST_VALUES // columns.n_rows)
                self.steps[column.name] = step
                self.blocks += (_block(column.name, step, len(names)),)
                names += [f"{column.name}[{place}]" for place in range(step.length)]
                names.append(f"{column.name} (pieces)")
        self.names = unique_names(names)
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        """Return the features of any rows."""
        features = [np.empty((columns.n_rows, 0))]
        features += [step(columns.values[name]) for name, step in self.steps.items()]
        return Matrix.numbers(np.hstack(features), self.names, self.blocks)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        """Ask the front-end for the codes, which are the features."""
        del columns
        parts = [prepared_as(graph, "tokens", name, step) for name, step in self.steps.items()]
        return beside(graph, parts)


def _step(vocabulary: tuple[str, ...], known: Sequence[str], most: int) -> Tokens:
    step = Tokens(characters=CHARACTERS, length=1, vocabulary=vocabulary)
    sizes = [len(step.codes(text)) for text in known]
    length = round_length(sizes, max(FEWEST, min(MOST_PIECES, most)))
    return Tokens(characters=CHARACTERS, length=length, vocabulary=vocabulary)


def _block(column: str, step: Tokens, start: int) -> Block:
    return Block(
        column=column,
        kind=Kind.TEXT,
        start=start,
        shape=(step.length,),
        length=start + step.length,
        n_tokens=step.n_tokens,
    )


def _vocabulary(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the pieces that texts are cut into, in order; none if there is no word."""
    cut = [text[:CHARACTERS].lower().split() for text in texts]
    counts = Counter(chain.from_iterable(cut))
    rows = Counter(chain.from_iterable(set(words) for words in cut))
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in set(word):
            letters[letter] += count
    parts: Counter[str] = Counter()
    for word, count in _commonest(counts, CANDIDATES):
        spaced = f" {word}"
        for size in PART_SIZES:
            for start in range(len(spaced) - size + 1):
                parts[spaced[start : start + size]] += count * (size - 1)
    repeated = Counter({word: count for word, count in counts.items() if rows[word] > 1})
    chosen = {letter for letter, _ in _commonest(letters, LETTERS)}
    chosen |= {part for part, _ in _commonest(parts, PARTS)}
    chosen |= {f" {word}" for word, _ in _commonest(repeated, WORDS)}
    return tuple(sorted(chosen))


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """Return the entries that count most; of equal ones the first in the alphabet."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
