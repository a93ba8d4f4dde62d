"""Generated frames, at fit and at predict: success, or an error of ours."""

from __future__ import annotations

import contextlib
import logging
import warnings

import numpy as np
import pytest
from generated import Case, cases
from hypothesis import HealthCheck, given, settings

import automl_fuse
from automl_fuse import Settings
from automl_fuse.budget import Deadline
from automl_fuse.errors import AutoFuseError
from automl_fuse.host import discover
from automl_fuse.schema import infer
from automl_fuse.specs import FitContext
from automl_fuse.table import prepare, read_table

ENCODERS = discover().encoders
QUICK = Settings(
    compressors=(),
    executor="inline",
    fusions=("average",),
    folds=2,
    learners=("linear", "decision_tree"),
    max_trials=2,
    progress=False,
)


def examples(number: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=number, deadline=None, derandomize=True, database=None,
        suppress_health_check=slow,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("automl_fuse"), "disabled", True)
    with warnings.catch_warnings():
        # What libraries warn of is theirs; what they raise must not reach the user.
        warnings.simplefilter("ignore")
        yield


def encode(case: Case) -> None:
    """Take a table as far as features, by every encoder that reads some of its columns."""
    data = prepare(case.train, case.y)
    schema = infer(data.table, {})
    columns = schema.convert(data.table)
    context = FitContext(
        task=data.task,
        n_classes=1 if data.classes is None else len(data.classes),
        seed=0,
        n_threads=1,
        deadline=Deadline(20.0),
    )
    fitted = []
    for spec in ENCODERS.values():
        if spec.kinds & {column.kind for column in schema.columns}:
            encoder = spec.build(context)
            features = encoder.fit_transform(columns.select(spec.kinds), data.y, None)
            assert features.values.shape == (len(data.y), len(features.names))
            fitted.append((spec, encoder, features.names))
    rows = schema.convert(read_table(case.rows))
    for spec, encoder, names in fitted:
        again = encoder.transform(rows.select(spec.kinds))
        assert again.names == names
        assert again.values.shape == (rows.n_rows, len(names))


def fit_and_predict(case: Case) -> None:
    model = automl_fuse.fit(case.train, case.y, time_limit=60, settings=QUICK)
    failed = [failure["error"] for failure in model.report["failures"]]
    assert not failed, failed[0]
    table = read_table(case.rows)
    predicted = model.predict(case.rows)
    assert len(predicted) == table.n_rows
    if model.classes_ is None:
        assert np.isfinite(predicted).all()
    else:
        assert set(predicted.tolist()) <= set(model.classes_.tolist())


def in_our_words(work, case: Case) -> None:
    """Do it; raise what is not an error of ours."""
    with contextlib.suppress(AutoFuseError):
        work(case)


@examples(60)
@given(cases())
def test_some_frames_become_features(case):
    in_our_words(encode, case)


@examples(12)
@given(cases())
def test_some_frames_are_learned_and_predicted(case):
    in_our_words(fit_and_predict, case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(1000)
@given(cases())
def test_a_thousand_frames_become_features(case):
    in_our_words(encode, case)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@examples(1000)
@given(cases())
def test_a_thousand_frames_are_learned_and_predicted(case):
    in_our_words(fit_and_predict, case)
