"""All steps of a file done together, so that each text is cut once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import ArtefactError, DataError
from automl_fuse.front_end.cells import CellStep
from automl_fuse.front_end.reading import read_step
from automl_fuse.front_end.terms import Cells, TermStep, Vocabulary, words_of
from automl_fuse.front_end.texts import TextShape, chunks
from automl_fuse.front_end.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automl_fuse.front_end.terms import Cut
    from automl_fuse.front_end.texts import Step, Texts
    from automl_fuse.specs import Floats


class FrontEnd:
    """Does several steps at once.

    Steps of one column that cut its texts alike, those of fold models and members, share the
    cutting and counting; each makes the same of the counts as it would alone.

    Parameters
    ----------
    steps : mapping of str to mapping
        By the name of what each makes: see ``read_step``; ``column`` names the raw column.

    Attributes
    ----------
    columns : tuple of str
        Raw columns that are read.

    Raises
    ------
    ArtefactError
        If a step is unknown or malformed.
    """

    def __init__(self, steps: Mapping[str, Mapping[str, Any]]) -> None:
        read: dict[str, dict[str, Step]] = defaultdict(dict)
        for name, step in steps.items():
            done = read_step(step)
            column = step.get("column")
            if not isinstance(column, str):
                raise ArtefactError(f"front-end step {name!r} names no column: the file is damaged")
            read[column][name] = done
        self._columns = {column: _Column(of_column) for column, of_column in read.items()}
        self.columns = tuple(self._columns)

    def __call__(self, columns: Mapping[str, Texts]) -> dict[str, Floats]:
        """Return what each step makes, float64 (n_rows, width), by name.

        Parameters
        ----------
        columns : mapping of str to array or sequence of shape (n_rows,)
            Texts, or other cells, of the columns that are read, None where missing.

        Raises
        ------
        DataError
            If a value is not of the kind that a step reads.
        """
        made: dict[str, Floats] = {}
        for name, column in self._columns.items():
            try:
                made |= column(columns[name])
            except DataError as error:
                raise DataError(f"column {name!r}: {error}") from error
        return made


class _Column:
    """The steps that read one column, by the name of what each makes."""

    def __init__(self, steps: Mapping[str, Step]) -> None:
        self._widths = {name: step.width for name, step in steps.items()}
        self._cells = {name: s for name, s in steps.items() if isinstance(s, CellStep)}
        if 0 < len(self._cells) < len(steps):
            raise ArtefactError("front-end steps of texts and of other cells read one column")
        self._whole = {n: s for n, s in steps.items() if isinstance(s, TextShape | Tokens)}
        alike: dict[Cut, dict[str, TermStep]] = defaultdict(dict)
        for name, step in steps.items():
            if isinstance(step, TermStep):
                alike[step.vocabulary.cut][name] = step
        self._shared = [_Shared(cut, of_cut) for cut, of_cut in alike.items()]

    def __call__(self, values: Texts) -> dict[str, Floats]:
        if self._cells:
            return {name: step(values) for name, step in self._cells.items()}
        made = {name: np.zeros((len(values), width)) for name, width in self._widths.items()}
        for rows, texts in chunks(values):
            for name, step in self._whole.items():
                step.fill(made[name][rows], texts)
            longest = max(map(len, texts))
            words: dict[int, list[list[str]]] = {}
            for shared in self._shared:
                characters = min(shared.cut.characters, longest)
                if characters not in words:
                    words[characters] = words_of(texts, characters)
                for name, counted, counts in shared.counted(words[characters]):
                    counted.fill(made[name][rows], counts)
        return made


class _Shared:
    """Steps that cut texts alike: terms of all of them are counted together."""

    def __init__(self, cut: Cut, steps: Mapping[str, TermStep]) -> None:
        indices = [step.vocabulary.index for step in steps.values()]
        self.cut = cut
        self._union = Vocabulary(cut, sorted(set().union(*indices)))
        self._parts = [
            (name, step, _Part(step.vocabulary, self._union)) for name, step in steps.items()
        ]

    def counted(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[str, TermStep, Cells]]:
        """Yield each step with the counts of its own terms in texts that are cut into words."""
        counts = self._union.count_words(texts)
        for name, step, part in self._parts:
            yield name, step, part.of(counts)


class _Part:
    """Takes the counts of one vocabulary out of those of a union."""

    def __init__(self, vocabulary: Vocabulary, union: Vocabulary) -> None:
        positions = [union.index[term] for term in vocabulary.index]
        self._place = np.full(len(union.index), -1, dtype=np.intp)
        self._place[positions] = np.arange(len(positions))
        self._rises = bool((np.diff(positions) > 0).all())

    def of(self, counts: Cells) -> Cells:
        """Return the cells of own terms, by row and then own term."""
        place = self._place[counts.terms]
        own = np.flatnonzero(place >= 0)
        if not self._rises:
            own = own[np.lexsort((place[own], counts.rows[own]))]
        return Cells(counts.rows[own], place[own], counts.values[own])
