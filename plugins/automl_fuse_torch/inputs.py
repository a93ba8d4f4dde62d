"""What networks for tables read: numbers, flags and category codes, made from features.

Fitted on training rows; written once, for training, for predicting and for graphs alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.specs import Kind
from automl_fuse_torch.program import DOUBLE, INTEGER, SINGLE, Program
from automl_fuse_torch.shapes import (
    CODES,
    FLAGS,
    MISSING,
    NUMBERS,
    BlockShape,
    Group,
    InputNames,
    InputShape,
)
from automl_fuse_torch.writing import number, reshaped, side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from automl_fuse.specs import Array, Block, Floats, Matrix, Tensor
    from automl_fuse_torch.program import Writer

_FARTHEST: Final = 1e6
"""Scaled numbers are cut here, so that infinities cannot overflow."""
_CLIP: Final = 3.0
_VALUES_AT_ONCE: Final = 1 << 21
"""Features that are read at once: what lies in between is in double precision."""
_FARTHEST_IN_BLOCKS: Final = 100.0
"""The same for blocks, which are scaled by their encoders."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """From features to what networks read.

    Numbers are scaled robustly, (x - median) / interquartile range, and clipped smoothly, by
    x / sqrt(1 + (x / 3)²): Holzmüller et al. (2024), "Better by default", section 3. A missing
    number becomes the median, and a flag where the training rows lacked some.

    Attributes
    ----------
    shape : InputShape
        How many of each kind.
    columns : int64 array of shape (n_numbers,)
        Features that are numbers and vary.
    centre, factor : float64 array of shape (n_numbers,)
        Their scaling.
    gaps : int64 array
        Features whose missing values are flagged.
    flagged, levels : int64 and float64 array of shape (n_levels,)
        A feature and one of its codes, for each flag of a category.
    coded, first : int64 array of shape (n_codes,)
        Features that are categories, and where each begins in ``lookup``.
    most : float64 array of shape (n_codes,)
        Greatest code of each that ``lookup`` knows.
    lookup : int64 array
        Row in the shared table of embeddings, for missing and then for each code.
    names : InputNames
        What each input is.
    blocks : tuple of tuple of Block
        Where the blocks are. Sequences that are of equal length in all training rows are read as
        the channels of one.
    """

    shape: InputShape
    columns: NDArray[np.int64]
    centre: Floats
    factor: Floats
    gaps: NDArray[np.int64]
    flagged: NDArray[np.int64]
    levels: Floats
    coded: NDArray[np.int64]
    first: NDArray[np.int64]
    most: Floats
    lookup: NDArray[np.int64]
    names: InputNames
    blocks: tuple[Group, ...] = ()

    @staticmethod
    def fitted(
        X: Matrix,
        flagged_levels: int,
        earlier: Inputs | None = None,
        *,
        reads_blocks: bool = False,
    ) -> Inputs:
        """Measure the training rows.

        Parameters
        ----------
        X : Matrix
            Their features.
        flagged_levels : int
            Levels up to which a category becomes flags.
        earlier : Inputs, optional
            Numbers that it knows are scaled as it does: what was learned of them holds.
        reads_blocks : bool
            Whether blocks are read as such, or as plain numbers.
        """
        blocks = _groups(X) if reads_blocks else ()
        plain = X.plain if reads_blocks else range(len(X.names))
        numeric = [j for j in plain if X.cardinalities[j] == 0]
        scales = _scales(X, numeric, earlier)
        varying = [j for j in numeric if scales[j].factor > 0.0]
        ordered = sorted(varying, key=lambda j: scales[j].is_binary)
        missing = np.isnan(X.values).mean(axis=0)
        gaps = [j for j in numeric if 0.0 < missing[j] < 1.0]
        flags, lookups = _categories(X, flagged_levels)
        codes = tuple(int(table.max()) + 1 for _, table in lookups)
        starts = np.cumsum([0, *codes])
        sizes = [len(table) for _, table in lookups]
        shape = InputShape(
            embedded=sum(not scales[j].is_binary for j in varying),
            plain=sum(scales[j].is_binary for j in varying),
            flags=len(gaps) + len(flags),
            codes=codes,
            blocks=tuple(map(BlockShape.of, blocks)),
        )
        return Inputs(
            shape=shape,
            columns=_integers(ordered),
            centre=np.array([scales[j].centre for j in ordered]),
            factor=np.array([scales[j].factor for j in ordered]),
            gaps=_integers(gaps),
            flagged=_integers([j for j, _ in flags]),
            levels=np.array([level for _, level in flags], dtype=np.float64),
            coded=_integers([j for j, _ in lookups]),
            first=_integers(np.cumsum([0, *sizes])[:-1].tolist()),
            most=np.array(sizes, dtype=np.float64) - 2.0,
            lookup=np.concatenate(
                [_integers([])] + [t + s for (_, t), s in zip(lookups, starts[:-1], strict=True)]
            ),
            names=InputNames(
                numbers=tuple(X.names[j] for j in ordered),
                flags=(
                    *((X.names[j], MISSING) for j in gaps),
                    *((X.names[j], _category(X, j, int(level))) for j, level in flags),
                ),
                codes=tuple(name for j, table in lookups for name in _coded(X, j, table)),
            ),
            blocks=blocks,
        )

    def scales(self) -> dict[str, _Scale]:
        """Return how each number is scaled, by its feature."""
        kinds = np.arange(len(self.columns)) >= self.shape.embedded
        parts = zip(self.names.numbers, self.centre, self.factor, kinds, strict=True)
        return {
            name: _Scale(float(centre), float(factor), is_binary=bool(is_binary))
            for name, centre, factor, is_binary in parts
        }

    def tables(self, values: Floats) -> dict[str, Array]:
        """Return what networks read of features (n_rows, n_features), in single precision."""
        program = Program(self.write)
        size = max(1, _VALUES_AT_ONCE // values.shape[1])
        starts = range(0, len(values), size)
        made = [_singles(program.run(values[start : start + size])) for start in starts]
        return {name: np.concatenate([part[name] for part in made]) for name in made[0]}

    def write(self, writer: Writer, features: Tensor) -> dict[str, Tensor]:
        """Write what networks read; what there is none of is left out."""
        written: dict[str, Tensor] = {}
        if self.shape.numbers:
            written[NUMBERS] = self._numbers(writer, features)
        if self.shape.flags:
            written[FLAGS] = self._flags(writer, features)
        if self.shape.codes:
            written[CODES] = self._codes(writer, features)
        for place, group in enumerate(self.blocks):
            parts = [_block(writer, features, block) for block in group]
            written[f"block{place}"] = side_by_side(writer, parts, axis=2)
            if group[0].kind is not Kind.IMAGE:
                written[f"block{place}.steps"] = _steps(writer, features, group[0])
        return written

    def _numbers(self, writer: Writer, features: Tensor) -> Tensor:
        raw = _columns(writer, features, self.columns)
        scaled = writer.node("Sub", [raw, writer.constant(self.centre)])
        scaled = writer.node("Mul", [scaled, writer.constant(self.factor)])
        scaled = writer.node("Max", [scaled, number(writer, -_FARTHEST)])
        scaled = writer.node("Min", [scaled, number(writer, _FARTHEST)])
        # Filled before and not after what follows: NaN is slow in some processors.
        missing = writer.node("IsNaN", [raw])
        scaled = writer.node("Where", [missing, number(writer, 0.0), scaled])
        third = writer.node("Mul", [scaled, number(writer, 1.0 / _CLIP)])
        square = writer.node("Mul", [third, third])
        length = writer.node("Sqrt", [writer.node("Add", [square, number(writer, 1.0)])])
        return writer.node("Div", [scaled, length])

    def _flags(self, writer: Writer, features: Tensor) -> Tensor:
        parts = []
        if len(self.gaps):
            parts.append(writer.node("IsNaN", [_columns(writer, features, self.gaps)]))
        if len(self.flagged):
            codes = _columns(writer, features, self.flagged)
            parts.append(writer.node("Equal", [codes, writer.constant(self.levels)]))
        return writer.node("Cast", [side_by_side(writer, parts)], {"to": DOUBLE})

    def _codes(self, writer: Writer, features: Tensor) -> Tensor:
        raw = _columns(writer, features, self.coded)
        missing = writer.node("IsNaN", [raw])
        codes = writer.node("Where", [missing, number(writer, -1.0), raw])
        codes = writer.node("Max", [codes, number(writer, -1.0)])
        codes = writer.node("Min", [codes, writer.constant(self.most)])
        places = writer.node("Cast", [codes], {"to": INTEGER})
        places = writer.node("Add", [places, writer.constant(self.first + 1)])
        return writer.node("Gather", [writer.constant(self.lookup), places], {"axis": 0})


def _groups(X: Matrix) -> tuple[Group, ...]:
    """Return blocks, those that are channels of one sequence together."""
    groups: dict[object, list[Block]] = {}
    for block in X.blocks:
        key: object = block.start
        if block.kind is Kind.SEQUENCE and block.length is not None:
            key = (block.shape[0], X.values[:, block.length].tobytes())
        groups.setdefault(key, []).append(block)
    return tuple(map(tuple, groups.values()))


def _block(writer: Writer, features: Tensor, block: Block) -> Tensor:
    """Write a block as (n_rows, *shape): codes of a text, else numbers in single precision."""
    raw = _columns(writer, features, np.arange(block.columns.start, block.columns.stop))
    is_text = block.kind is Kind.TEXT
    low = 0.0 if is_text else -_FARTHEST_IN_BLOCKS
    high = block.n_tokens - 1.0 if is_text else _FARTHEST_IN_BLOCKS
    # Encoders give neither gaps nor numbers beyond: others may.
    cut = _within(writer, raw, low, high)
    made = writer.node("Cast", [cut], {"to": INTEGER if is_text else SINGLE})
    return reshaped(writer, made, -1, *block.shape)


def _steps(writer: Writer, features: Tensor, block: Block) -> Tensor:
    """Write the steps of each row that are used, (n_rows, 1); of none, the first counts."""
    most = float(block.shape[0])
    place = block.start if block.length is None else block.length
    raw = _columns(writer, features, _integers([place]))
    least = most if block.length is None else 1.0
    return writer.node("Cast", [_within(writer, raw, least, most)], {"to": SINGLE})


def _within(writer: Writer, x: Tensor, low: float, high: float) -> Tensor:
    """Cut numbers, after missing ones became 0."""
    x = writer.node("Where", [writer.node("IsNaN", [x]), number(writer, 0.0), x])
    x = writer.node("Max", [x, number(writer, low)])
    return writer.node("Min", [x, number(writer, high)])


def _singles(tables: dict[str, Array]) -> dict[str, Array]:
    """Round all but codes to single precision."""
    return {
        name: table if table.dtype.kind == "i" else table.astype(np.float32, copy=False)
        for name, table in tables.items()
    }


@dataclass(frozen=True)
class _Scale:
    centre: float
    factor: float
    is_binary: bool


def _scales(X: Matrix, numeric: Sequence[int], earlier: Inputs | None) -> dict[int, _Scale]:
    """Return how each of these features is scaled: as earlier if it was known then."""
    known = {} if earlier is None else earlier.scales()
    scales = {j: _scale(X.values[:, j]) for j in numeric}
    return scales | {
        j: known[X.names[j]] for j in numeric if X.names[j] in known and scales[j].factor > 0.0
    }


def _scale(values: Floats) -> _Scale:
    """Return median, one over the spread (0 if there is none), and whether two values occur.

    The spread is the distance of the quartiles; where they coincide, half the range.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return _Scale(0.0, 0.0, is_binary=False)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        low, first, median, third, high = np.quantile(known, (0.0, 0.25, 0.5, 0.75, 1.0))
        spread = third - first if third > first else (high - low) / 2.0
        factor = 1.0 / spread
    if not (spread > 0.0 and np.isfinite(factor) and factor > 0.0):
        return _Scale(0.0, 0.0, is_binary=False)
    is_binary = bool(((known == low) | (known == high)).all())
    return _Scale(float(median), float(factor), is_binary)


def _categories(
    X: Matrix, flagged_levels: int
) -> tuple[list[tuple[int, float]], list[tuple[int, NDArray[np.int64]]]]:
    """Return the levels to flag, and features to embed with the rows of their codes.

    Levels that no training row has count as missing.
    """
    flags: list[tuple[int, float]] = []
    lookups: list[tuple[int, NDArray[np.int64]]] = []
    for j in X.categorical:
        codes = X.values[:, j]
        known = np.unique(codes[~np.isnan(codes)])
        is_whole = not np.isnan(codes).any()
        if len(known) == 0 or (len(known) == 1 and is_whole):
            continue
        if len(known) <= flagged_levels:
            # Of two levels, one flag says all.
            told = known[1:] if len(known) == 2 and is_whole else known
            flags += [(j, float(level)) for level in told]
        else:
            table = np.zeros(X.cardinalities[j] + 1, dtype=np.int64)
            table[known.astype(np.int64) + 1] = np.arange(len(known)) + 1
            lookups.append((j, table))
    return flags, lookups


def _category(X: Matrix, feature: int, code: int) -> str:
    """Return what a code stands for; empty if that is not told."""
    levels = X.levels[feature] if X.levels else ()
    return levels[code] if code < len(levels) else ""


def _coded(X: Matrix, feature: int, table: NDArray[np.int64]) -> list[tuple[str, str]]:
    """Return feature and category for each row of a feature's embeddings."""
    told = {int(row): _category(X, feature, code) for code, row in enumerate(table[1:]) if row}
    categories = [told[row] for row in range(1, int(table.max()) + 1)]
    return [(X.names[feature], each) for each in (MISSING, *categories)]


def _columns(writer: Writer, features: Tensor, positions: NDArray[np.int64]) -> Tensor:
    return writer.node("Gather", [features, writer.constant(positions)], {"axis": 1})


def _integers(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
