"""Tests of networks that start from earlier ones."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import automl_fuse_torch
from automl_fuse.errors import PluginError
from automl_fuse.specs import Earlier, FitContext, Matrix, Rows, Task
from automl_fuse.testing import TickingDeadline
from automl_fuse_torch.inputs import Inputs
from automl_fuse_torch.shapes import MISSING
from automl_fuse_torch.starting import Start, layers_of

pytest.importorskip("torch", reason="the extra 'torch' is not installed")

SMALL: dict[str, dict[str, Any]] = {
    "realmlp": {"width": 16, "depth": 2, "epochs": 8},
    "tabm": {"width": 16, "heads": 4, "epochs": 8},
    "ft_transformer": {"width": 16, "epochs": 4},
}
SPECS = {s.name: s for s in automl_fuse_torch.automl_fuse_learners() if s.name in SMALL}
NAMES = ("a", "b", "colour")
COLOURS = tuple(f"colour {i}" for i in range(12))


def make_rows(n_rows: int, seed: int, names: tuple[str, ...] = NAMES) -> Rows:
    """Return rows of two numbers and a category of twelve levels, for three classes."""
    rng = np.random.default_rng(seed)
    numbers, codes = rng.normal(size=(n_rows, 2)), rng.integers(12, size=n_rows)
    numbers[::9, 1] = np.nan
    signal = numbers[:, 0] + 0.3 * codes + 0.1 * rng.normal(size=n_rows)
    X = Matrix(
        values=np.column_stack([numbers, codes]),
        names=names,
        cardinalities=(0, 0, 12),
        levels=((), (), COLOURS),
    )
    return Rows(X=X, y=np.searchsorted([1.0, 2.0], signal).astype(np.int64))


def fit(name: str, rows: Rows, earlier: Earlier | None = None, **changes: Any) -> Any:
    context = FitContext(
        task=Task.MULTICLASS,
        n_classes=3,
        seed=0,
        n_threads=1,
        deadline=TickingDeadline(seconds=1e6),
        earlier=earlier,
    )
    spec = SPECS[name]
    params = {**spec.portfolio[0].params, **SMALL[name], **changes}
    learner = spec.build(params, context)
    learner.fit(rows, None)
    return learner


def offered(learner: Any, outputs: tuple[int, ...] = (0, 1, 2)) -> Earlier:
    return Earlier(learner=learner, outputs=outputs)


def start_of(learner: Any, X: Matrix, outputs: tuple[int, ...] = (0, 1, 2)) -> Any:
    """Return the first weights of a network for these features, and those that rest."""
    start = Start.of(offered(learner, outputs), {"frozen": 1.0})
    assert start is not None
    network = learner.model.network
    inputs = Inputs.fitted(X, 8, start.inputs)
    fresh = {
        name: np.full(parameter.shape, 7.0) for name, parameter in network.parameters().items()
    }
    return start.taken_over(fresh, network, inputs.names)


@pytest.mark.parametrize("name", SPECS)
def test_frozen_layers_stay_and_others_learn(name: str) -> None:
    old = fit(name, make_rows(200, 0))
    tuned = fit(name, make_rows(90, 1), offered(old), frozen=1.0, thaw=1.0, rate_factor=1.0)
    before, after = old.model.weights, tuned.model.weights
    *body, head = layers_of(before)
    for parameter, values in before.items():
        stays = np.array_equal(values, after[parameter])
        assert stays == (parameter.rpartition(".")[0] != head), parameter
    assert body


@pytest.mark.parametrize("name", SPECS)
def test_frozen_layers_learn_once_they_thaw(name: str) -> None:
    old = fit(name, make_rows(200, 0))
    tuned = fit(name, make_rows(90, 1), offered(old), frozen=1.0, thaw=0.3, rate_factor=1.0)
    moved = [
        n for n, w in old.model.weights.items() if not np.array_equal(w, tuned.model.weights[n])
    ]
    assert len(moved) > len(old.model.weights) / 2


def test_weights_of_shared_columns_are_found_by_their_names() -> None:
    old = fit("realmlp", make_rows(200, 0))
    X = make_rows(90, 1).X
    order = [1, 0, 2]
    turned = replace(X, values=X.values[:, order], names=("b", "new", "colour"))
    weights, frozen = start_of(old, turned)
    first, was = weights["0.weight"], old.model.weights["0.weight"]
    # Two numbers of four features each, then the flag of gaps, then the category.
    np.testing.assert_array_equal(first[:4], was[4:8])
    np.testing.assert_array_equal(first[4:8], 7.0)
    np.testing.assert_array_equal(first[8:], was[8:])
    assert "0.weight" not in frozen
    assert {"1.weight", "1.bias", "categories.table"} <= frozen


def test_embeddings_are_found_by_category() -> None:
    old = fit("tabm", make_rows(200, 0))
    X = make_rows(200, 1).X
    turned = replace(X, levels=((), (), ("unknown", *COLOURS[:0:-1])))
    weights, _ = start_of(old, turned)
    table, was = weights["categories.table"], old.model.weights["categories.table"]
    np.testing.assert_array_equal(table[0], was[0])  # missing
    np.testing.assert_array_equal(table[1], 7.0)
    np.testing.assert_array_equal(table[2:], was[:1:-1])


def test_categories_that_are_not_told_are_not_mistaken_for_others() -> None:
    old = fit("tabm", make_rows(200, 0))
    weights, _ = start_of(old, replace(make_rows(200, 1).X, levels=()))
    table = weights["categories.table"]
    np.testing.assert_array_equal(table[0], old.model.weights["categories.table"][0])
    np.testing.assert_array_equal(table[1:], 7.0)


@pytest.mark.parametrize("name", SPECS)
def test_the_head_keeps_the_classes_that_both_have(name: str) -> None:
    old = fit(name, make_rows(200, 0))
    weights, _ = start_of(old, make_rows(90, 1).X, outputs=(2, -1, 0))
    head = layers_of(weights)[-1]
    new, was = weights[f"{head}.bias"], old.model.weights[f"{head}.bias"]
    np.testing.assert_array_equal(new[..., 0], was[..., 2])
    np.testing.assert_array_equal(new[..., 1], 7.0)
    np.testing.assert_array_equal(new[..., 2], was[..., 0])


def test_shared_numbers_are_scaled_as_before() -> None:
    rows = make_rows(200, 0)
    old = fit("realmlp", rows)
    wider = replace(rows.X, values=rows.X.values * np.array([10.0, 10.0, 1.0]))
    inputs = Inputs.fitted(wider, 8, old.model.inputs)
    np.testing.assert_array_equal(inputs.centre, old.model.inputs.centre)
    np.testing.assert_array_equal(inputs.factor, old.model.inputs.factor)
    assert inputs.names.numbers == ("a", "b")
    assert inputs.names.flags == (("b", MISSING),)
    assert Inputs.fitted(wider, 8).factor[0] == pytest.approx(inputs.factor[0] / 10.0)


@pytest.mark.parametrize("name", SPECS)
def test_a_start_that_training_spoils_is_kept(name: str) -> None:
    # Validation rows are labelled by the earlier model itself: nothing can be better.
    old = fit(name, make_rows(200, 0))
    train, valid = make_rows(60, 1), make_rows(60, 2)
    wrong = replace(train, y=(train.y + 1) % 3)
    valid = replace(valid, y=old.predict(valid.X).argmax(axis=1))
    context = FitContext(
        task=Task.MULTICLASS, n_classes=3, seed=0, n_threads=1,
        deadline=TickingDeadline(seconds=1e6), earlier=offered(old),
    )  # fmt: skip
    params = {**SPECS[name].portfolio[0].params, **SMALL[name], "rate_factor": 1.0}
    learner = SPECS[name].build(params, context)
    learner.fit(wrong, valid)
    np.testing.assert_allclose(learner.predict(train.X), old.predict(train.X), atol=1e-5)


def test_a_learner_that_is_no_network_here_is_no_start() -> None:
    rows = make_rows(60, 1)
    plain = fit("realmlp", rows)
    other = fit("realmlp", rows, Earlier(learner=object(), outputs=(0, 1, 2)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(plain.predict(rows.X), other.predict(rows.X))


# --------------------------------------------------------------------------- soups


def tuned_pair(name: str) -> tuple[Any, Any, Any]:
    """Return an earlier network, and two that were fine-tuned from it."""
    old = fit(name, make_rows(200, 0))
    pair = [
        fit(name, make_rows(90, 1), offered(old), frozen=0.0, thaw=1.0, rate_factor=rate)
        for rate in (0.1, 0.5)
    ]
    return old, pair[0], pair[1]


@pytest.mark.parametrize("name", SPECS)
def test_kin_are_averaged_weight_by_weight(name: str) -> None:
    _, one, other = tuned_pair(name)
    assert one.kin() == other.kin() != ""
    soup = one.averaged([other])
    for parameter, values in soup.model.weights.items():
        mean = (one.model.weights[parameter] + other.model.weights[parameter]) / 2.0
        np.testing.assert_allclose(values, mean, rtol=1e-6, atol=1e-7)
    X = make_rows(60, 3).X
    parts = [learner.predict(X) for learner in (one, other)]
    np.testing.assert_allclose(soup.predict(X), np.mean(parts, axis=0), atol=0.1)
    assert np.abs(soup.predict(X) - parts[0]).max() > 1e-4
    np.testing.assert_array_equal(one.averaged([one]).predict(X), parts[0])
    copied = pickle.loads(pickle.dumps(soup))
    np.testing.assert_array_equal(copied.predict(X), soup.predict(X))


def test_networks_of_different_starts_are_no_kin() -> None:
    old, one, _ = tuned_pair("realmlp")
    _, _, stranger = tuned_pair("tabm")
    assert old.kin() == ""
    wider = fit("realmlp", make_rows(90, 1), offered(old), width=32)
    from_another = fit("realmlp", make_rows(90, 1), offered(fit("realmlp", make_rows(200, 5))))
    assert len({one.kin(), wider.kin(), from_another.kin(), stranger.kin()}) == 4
    for other in (wider, from_another, stranger):
        with pytest.raises(PluginError, match="no kin"):
            one.averaged([other])
    with pytest.raises(PluginError, match="started afresh"):
        old.averaged([old])
