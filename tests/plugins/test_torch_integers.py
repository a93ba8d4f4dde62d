"""Tests of networks with branches in integers of 8 bits."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from networks import READ, SPECS, context, make_rows, params_of, propose_by, teacher_of

from automl_fuse.errors import PluginError
from automl_fuse.graph import GraphBuilder
from automl_fuse.specs import Kind, Matrix, Rows, Task, Tensor
from automl_fuse_torch import integer
from automl_fuse_torch.integer import ToIntegers

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

BODIES = ("image_cnn", "audio_lstm", "sequence_cnn", "sequence_rnn", "text_transformer")


def fitted(name: str, task: Task = Task.BINARY, **changes: Any) -> tuple[Any, Rows, Rows]:
    """Return a learner after a few epochs, its rows, and others."""
    rows, test = make_rows(READ[name], 80, 1), make_rows(READ[name], 60, 2)
    learner = SPECS[name].build(params_of(name, epochs=3, **changes), context(task))
    learner.fit(rows, None)
    return learner, rows, test


def operators(learner: Any) -> list[str]:
    """Return the operators that a learner writes."""
    written: list[str] = []

    class Noting(GraphBuilder):
        def node(self, operator: str, *given: Any, **settings: Any) -> Any:
            written.append(operator)
            return super().node(operator, *given, **settings)

    learner.to_onnx(Noting(reserved=["X"]), Tensor("X"))
    return written


@pytest.mark.parametrize("name", BODIES)
def test_integers_take_a_third_of_the_bytes_and_predict_nearly_the_same(name: str) -> None:
    learner, rows, test = fitted(name)
    before = learner.predict(test.X)
    whole = ToIntegers(0.0)(learner, rows)
    after = whole.predict(test.X)
    off = np.abs(after - before).max()
    assert 0.0 < off < 0.05
    assert sum(a.nbytes for a in whole.model.arrays.values()) < 0.4 * sum(
        a.nbytes for a in learner.model.arrays.values()
    )
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.predict(test.X), after)
    np.testing.assert_array_equal(learner.predict(test.X), before)


@pytest.mark.parametrize("name", BODIES)
def test_a_row_in_integers_does_not_depend_on_its_batch(name: str) -> None:
    learner, rows, test = fitted(name)
    whole = ToIntegers(0.25)(learner, rows)
    together = whole.predict(test.X)
    alone = [whole.predict(replace(test.X, values=row[None])) for row in test.X.values]
    np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-5)
    far = test.X.values.copy()
    far[1:, : far.shape[1] // 2] *= 3.0
    outliers = whole.predict(replace(test.X, values=far))
    np.testing.assert_allclose(outliers[0], together[0], atol=1e-5)


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_the_dearest_layers_stay_in_floating_point(task: Task) -> None:
    rows, test = make_rows(Kind.SEQUENCE, 120, 1), make_rows(Kind.SEQUENCE, 200, 2)
    params = params_of("sequence_cnn", depth=3, epochs=10)
    learner = SPECS["sequence_cnn"].build(params, context(task))
    learner.fit(rows if task is Task.BINARY else replace(rows, y=2.0 * rows.y - 1.0), None)
    before = learner.predict(test.X)
    shares = (0.0, 0.5, 1.0)
    made = [ToIntegers(share)(learner, rows) for share in shares]
    kept = [sum(a.dtype == np.int8 for a in each.model.arrays.values()) for each in made]
    off = [np.square(each.predict(test.X) - before).mean() for each in made]
    assert kept[0] > kept[1] > kept[2] == 0
    assert off[0] > 2.0 * off[1] > off[2] == 0.0


def test_the_way_back_keeps_rounded_weights_and_no_other_rounding() -> None:
    learner, rows, test = fitted("audio_cnn", separable=True)
    whole = ToIntegers(0.0)(learner, rows)
    back = whole.decompress()
    assert {a.dtype for a in back.model.arrays.values()} == {np.dtype(np.float32)}
    assert set(back.model.arrays) == set(learner.model.arrays)
    for name, values in learner.model.arrays.items():
        step = whole.model.arrays.get(f"{name}.step", np.zeros(1)).max()
        assert np.abs(values - back.model.arrays[name]).max() <= 0.51 * step
    off = np.abs(back.predict(test.X) - learner.predict(test.X)).max()
    assert 0.0 < off < 0.05


def test_ranges_are_fixed_and_not_those_of_a_batch() -> None:
    learner, rows, _ = fitted("image_cnn")
    written = operators(ToIntegers(0.0)(learner, rows))
    assert "QuantizeLinear" in written
    assert "DynamicQuantizeLinear" not in written


def test_what_has_no_branches_says_so() -> None:
    learner, rows, _ = fitted("sequence_cnn")
    plain = Rows(X=Matrix.numbers(rows.X.values, rows.X.names), y=rows.y)
    mlp = SPECS["realmlp"].build({**SPECS["realmlp"].portfolio[0].params, "epochs": 1}, context())
    mlp.fit(plain, None)
    for given, message in (
        (object(), "no network of automl_fuse_torch"),
        (mlp, "RealMLP has no branches"),
        (ToIntegers(0.0)(learner, rows), "made smaller already"),
    ):
        with pytest.raises(PluginError, match=message):
            ToIntegers(0.0)(given, plain)  # type: ignore[arg-type]


def test_networks_are_quantised_by_their_share() -> None:
    teacher = teacher_of(
        ("audio_lstm", "realmlp", "sequence_rnn"), shares=np.array([0.2, 0.5, 0.3])
    )
    points: list[Any] = [{"rank": rank, "floating": 0.25} for rank in range(3)]
    found = [propose_by(integer.SPEC, point, teacher) for point in points]
    assert [[edit.member for edit in each] for each in found] == [[2], [0], []]
    assert found[0][0].name == "sequence_rnn-2_int8_0.25"
