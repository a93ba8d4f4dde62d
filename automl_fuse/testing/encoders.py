"""The conformance suite of encoders."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from automl_fuse.specs import UNSEEN_CODE, Encoder, EncoderSpec, FitContext, Kind, Task
from automl_fuse.testing._base import (
    Check,
    checks_of,
    far,
    frozen_copies,
    require,
    require_close,
    run_all,
    sound_spec,
    through_pickle,
)
from automl_fuse.testing._data import (
    MAKEABLE,
    all_missing,
    n_classes_of,
    random_identifiers,
    sample_columns,
    sample_target,
)
from automl_fuse.testing.exporting import ENCODER_RULES

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse.specs import Array, Columns, Matrix

    MakeColumns: TypeAlias = Callable[[int, int], Columns]

_N_TRAIN = 80


class EncoderCase:
    """An encoder on one task, with a table of its kinds, and a fit that checks share."""

    def __init__(self, spec: EncoderSpec, task: Task, make: MakeColumns) -> None:
        self.spec = spec
        self.task = task
        self.make = make

    @cached_property
    def train(self) -> Columns:
        """The table to fit on."""
        return self.make(_N_TRAIN, 1)

    @cached_property
    def other(self) -> Columns:
        """Another table."""
        return self.make(40, 2)

    def target(self, n_rows: int) -> Array:
        """Return a target that no column tells anything about."""
        return sample_target(np.random.default_rng(3).normal(size=n_rows), self.task, seed=4)

    @cached_property
    def fitted(self) -> tuple[Encoder, Matrix]:
        """A fitted encoder and its training features."""
        return self.fit(self.train)

    def fit(self, columns: Columns) -> tuple[Encoder, Matrix]:
        """Build an encoder and fit it."""
        context = FitContext(
            task=self.task, n_classes=n_classes_of(self.task), seed=7, n_threads=1, deadline=far()
        )
        encoder = self.spec.build(context)
        require(isinstance(encoder, Encoder), f"build returned {encoder!r}, which is no Encoder")
        features = encoder.fit_transform(columns, self.target(columns.n_rows), None)
        _require_matrix(features, columns.n_rows)
        return encoder, features

    def transform(self, encoder: Encoder, columns: Columns) -> Matrix:
        """Transform, and require a valid matrix."""
        features = encoder.transform(columns)
        _require_matrix(features, columns.n_rows)
        return features


def _require_matrix(features: Matrix, n_rows: int) -> None:
    values, names = features.values, features.names
    require(values.dtype == np.float64, f"features are {values.dtype}, not float64")
    expected = (n_rows, len(names))
    require(values.shape == expected, f"features have shape {values.shape}, not {expected}")
    require(len(set(names)) == len(names), f"feature names repeat: {sorted(names)}")
    same = len(features.cardinalities) == len(names)
    require(same, f"{len(names)} names, and {len(features.cardinalities)} cardinalities")
    require(not np.isinf(values).any(), "features hold infinities")
    _require_blocks(features)
    for position in features.categorical:
        codes = values[:, position]
        codes = codes[~np.isnan(codes)]
        inside = np.isin(codes, np.arange(features.cardinalities[position]))
        require(inside.all(), f"{names[position]!r} holds {codes[~inside][:3]}, which are no codes")


def _require_blocks(features: Matrix) -> None:
    """Require that blocks lie side by side in the matrix, and hold numbers, none missing."""
    taken: list[int] = []
    for block in features.blocks:
        taken += range(block.start, block.columns.stop)
        taken += [] if block.length is None else [block.length]
        inside = features.values[:, block.columns]
        require(not np.isnan(inside).any(), f"the block of {block.column!r} holds NaN")
        plain = not any(features.cardinalities[block.columns])
        require(plain, f"the block of {block.column!r} holds category codes")
        if block.length is not None:
            steps = features.values[:, block.length]
            counts = np.isin(steps, np.arange(block.shape[0] + 1)).all()
            require(bool(counts), f"the lengths of {block.column!r} are {steps[:3]}")
    within = all(0 <= position < len(features.names) for position in taken)
    require(within, f"blocks {features.blocks} reach beyond {len(features.names)} features")
    require(len(set(taken)) == len(taken), f"blocks {features.blocks} overlap")


def gives_the_same_features_later(case: EncoderCase) -> None:
    """Require that ``transform`` gives the names, kinds and blocks of ``fit_transform``."""
    encoder, features = case.fitted
    later = case.transform(encoder, case.other)
    require(later.names == features.names, f"{later.names} after {features.names}")
    same = later.cardinalities == features.cardinalities
    require(same, f"{later.cardinalities} after {features.cardinalities}")
    require(later.blocks == features.blocks, f"{later.blocks} after {features.blocks}")


def repeats_with_its_seed(case: EncoderCase) -> None:
    """Require that two fits with one seed give the same features."""
    again, features = case.fit(case.train)
    encoder, expected = case.fitted
    require_close(features.values, expected.values, 1e-9, "training features of two fits")
    left, right = again.transform(case.other), encoder.transform(case.other)
    require_close(left.values, right.values, 1e-9, "features of two fits")


def pickles(case: EncoderCase) -> None:
    """Require that a fitted encoder survives pickle, and gives the same features."""
    encoder, _ = case.fitted
    left = through_pickle(encoder).transform(case.other)
    require_close(left.values, encoder.transform(case.other).values, 1e-12, "through pickle")


def encodes_rows_alone(case: EncoderCase) -> None:
    """Require that the features of a row do not depend on the rows beside it."""
    encoder, _ = case.fitted
    batch = encoder.transform(case.other).values
    for row in (0, 5, case.other.n_rows - 1):
        alone = case.transform(encoder, case.other.take(np.array([row])))
        require_close(alone.values, batch[row : row + 1], 1e-9, f"row {row} alone")


def transforms_no_rows(case: EncoderCase) -> None:
    """Require that a table without rows gives features without rows, of the same names."""
    encoder, features = case.fitted
    empty = case.transform(encoder, case.other.take(np.arange(0)))
    require(empty.names == features.names, f"{empty.names} after {features.names}")


def survives_missing_values(case: EncoderCase) -> None:
    """Require that it transforms rows, and fits columns, whose values are all missing."""
    encoder, _ = case.fitted
    case.transform(encoder, all_missing(case.other))
    gone, _ = case.fit(all_missing(case.train))
    case.transform(gone, case.other)


def survives_unseen_categories(case: EncoderCase) -> None:
    """Require that it transforms categories that were not in the training table."""
    encoder, _ = case.fitted
    values = {
        c.name: np.full_like(case.other.values[c.name], UNSEEN_CODE)
        if c.kind is Kind.CATEGORY
        else case.other.values[c.name]
        for c in case.other.columns
    }
    case.transform(encoder, replace(case.other, values=values))


def survives_categories_absent_from_training(case: EncoderCase) -> None:
    """Require that it transforms known categories of which this fold's training rows hold none."""
    values = {
        c.name: np.minimum(case.train.values[c.name], 2)
        if c.kind is Kind.CATEGORY
        else case.train.values[c.name]
        for c in case.train.columns
    }
    encoder, _ = case.fit(replace(case.train, values=values))
    case.transform(encoder, case.other)


def fits_each_kind_alone(case: EncoderCase) -> None:
    """Require that it fits a table that holds one of its kinds only."""
    for kind in sorted(case.spec.kinds & MAKEABLE):
        only = case.train.select(frozenset({kind}))
        if only.columns:
            encoder, _ = case.fit(only)
            case.transform(encoder, case.other.select(frozenset({kind})))


def fits_few_rows(case: EncoderCase) -> None:
    """Require that it fits a table of six rows."""
    encoder, _ = case.fit(case.train.take(np.arange(6)))
    case.transform(encoder, case.other)


def accepts_weights(case: EncoderCase) -> None:
    """Require that it fits weighted rows."""
    context = FitContext(
        task=case.task, n_classes=n_classes_of(case.task), seed=7, n_threads=1, deadline=far()
    )
    weight = np.random.default_rng(5).uniform(0.1, 2.0, size=_N_TRAIN)
    encoder = case.spec.build(context)
    features = encoder.fit_transform(case.train, case.target(_N_TRAIN), weight / weight.mean())
    _require_matrix(features, _N_TRAIN)


def leaves_its_input_alone(case: EncoderCase) -> None:
    """Require that neither fitting nor transforming changes the columns."""
    tables = (case.make(_N_TRAIN, 1), case.make(40, 2))
    pairs = list(frozen_copies([array for table in tables for array in table.values.values()]))
    encoder, _ = case.fit(tables[0])
    case.transform(encoder, tables[1])
    for array, copy in pairs:
        same = _same(array, copy)
        require(same, "a column was changed in place")


def _same(left: Array, right: Array) -> bool:
    if left.dtype == object:
        return all(a is b for a, b in zip(left, right, strict=True))
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fM"))


def hides_the_target(case: EncoderCase) -> None:
    """Require that training features, made out of fold, do not reveal a row's own target."""
    if Kind.CATEGORY not in case.spec.kinds:
        return
    columns = random_identifiers(n_rows=400, per_value=2, seed=1)
    _, features = case.fit(columns)
    y = case.target(400)
    targets = [y == k for k in np.unique(y)] if case.task.is_classification else [y]
    for position, name in enumerate(features.names):
        feature = np.nan_to_num(features.values[:, position], nan=-1.0)
        if np.ptp(feature) < 1e-12:
            continue
        for target in targets:
            correlation = abs(float(np.corrcoef(feature, target.astype(np.float64))[0, 1]))
            message = (
                f"feature {name!r} of random categories correlates with the target by "
                f"{correlation:.2f}"
            )
            require(correlation < 0.35, message)


_RULES = (
    gives_the_same_features_later,
    repeats_with_its_seed,
    pickles,
    encodes_rows_alone,
    transforms_no_rows,
    survives_missing_values,
    survives_unseen_categories,
    survives_categories_absent_from_training,
    fits_each_kind_alone,
    fits_few_rows,
    accepts_weights,
    leaves_its_input_alone,
    hides_the_target,
    *ENCODER_RULES,
)


def encoder_checks(spec: EncoderSpec, make_columns: MakeColumns | None = None) -> list[Check]:
    """Return the checks of an encoder.

    Parameters
    ----------
    spec : EncoderSpec
        The encoder.
    make_columns : callable, optional
        ``make_columns(n_rows, seed)`` gives a table of its kinds. Needed for kinds of which
        the suite cannot make up values: identifiers and constants.

    Raises
    ------
    ValueError
        If such a table is needed and not given.
    """
    if make_columns is None and not spec.kinds <= MAKEABLE:
        unknown = ", ".join(sorted(spec.kinds - MAKEABLE))
        raise ValueError(
            f"encoder {spec.name!r} reads columns of kind {unknown}: pass make_columns, a "
            "function of (n_rows, seed) that returns such Columns."
        )

    def sample(n_rows: int, seed: int) -> Columns:
        return sample_columns(spec.kinds, n_rows=n_rows, seed=seed)

    checks = [sound_spec(spec, "encoder")]
    for task in sorted(Task):
        case = EncoderCase(spec, task, make_columns or sample)
        checks += checks_of(_RULES, case, kind="encoder", spec=spec.name, label=str(task))
    return checks


def check_encoder(spec: EncoderSpec, make_columns: MakeColumns | None = None) -> None:
    """Apply every check of an encoder; raise ``AssertionError`` listing all that are broken."""
    run_all(encoder_checks(spec, make_columns))
