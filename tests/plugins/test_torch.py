"""Tests of the networks for tables: what the conformance suite does not ask."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import automl_fuse_torch
import automl_fuse_torch.inputs as inputs_module
from automl_fuse.errors import PluginError
from automl_fuse.specs import FitContext, ForestModel, Matrix, Rows, Shape, Task
from automl_fuse.testing import TickingDeadline
from automl_fuse_torch.inputs import Inputs
from automl_fuse_torch.learner import batch_size
from automl_fuse_torch.schedules import COSINE, REALMLP, Pace, coslog4
from automl_fuse_torch.shapes import CODES, FLAGS, NUMBERS

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from automl_fuse_torch import core, devices  # noqa: E402 - they import torch
from automl_fuse_torch.batching import Batches, Noise, NoNoise, batch_shape  # noqa: E402
from automl_fuse_torch.fitting import FitTask, fit_many  # noqa: E402
from automl_fuse_torch.losses import Loss  # noqa: E402
from automl_fuse_torch.parameters import Parameter  # noqa: E402
from automl_fuse_torch.schedules import Schedule  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALL: dict[str, dict[str, Any]] = {
    "realmlp": {"width": 16, "depth": 2, "epochs": 6},
    "tabm": {"width": 16, "heads": 4, "epochs": 6},
    "ft_transformer": {"width": 16, "epochs": 4},
    "factorisation": {"rank": 8, "hidden": 16, "epochs": 6},
}
SPECS = {s.name: s for s in automl_fuse_torch.automl_fuse_learners() if s.name in SMALL}
N_CLASSES = {Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 1}
CPU = devices.Device("cpu")


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


def make_rows(task: Task, n_rows: int = 150, seed: int = 0) -> Rows:
    """Return rows with numbers, gaps, a category of few levels and one of many."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n_rows, 3))
    few, many = rng.integers(3, size=n_rows), rng.integers(20, size=n_rows)
    signal = numbers[:, 0] ** 2 + numbers[:, 1] + 0.5 * few + 0.3 * (many % 3)
    signal = signal + 0.2 * rng.normal(size=n_rows)
    if task is Task.REGRESSION:
        y = (signal - signal.mean()) / signal.std()
    else:
        cuts = np.quantile(signal, np.arange(1, N_CLASSES[task]) / N_CLASSES[task])
        y = np.searchsorted(cuts, signal).astype(np.int64)
    numbers[::9, 2] = np.nan
    values = np.column_stack([numbers, numbers[:, 0] > 0, few, many])
    values[::11, 4:] = np.nan
    names = ("a", "b", "c", "positive", "few", "many")
    X = Matrix(values=values, names=names, cardinalities=(0, 0, 0, 0, 3, 20))
    return Rows(X=X, y=y)


def context(task: Task, seed: int = 0, deadline: Any = None, n_threads: int = 1) -> FitContext:
    return FitContext(
        task=task,
        n_classes=N_CLASSES[task],
        seed=seed,
        n_threads=n_threads,
        deadline=deadline or Far(),
    )


def params_of(name: str, **changes: Any) -> dict[str, Any]:
    return {**SPECS[name].portfolio[0].params, **SMALL[name], **changes}


def fold(task: Task, number: int) -> tuple[Rows, Rows]:
    return make_rows(task, seed=2 * number), make_rows(task, 40, seed=2 * number + 1)


def task_of(
    name: str, task: Task, rows: tuple[Rows, Rows | None], seed: int = 0, **changes: Any
) -> FitTask:
    return FitTask(
        learner=name,
        params=params_of(name, **changes),
        context=context(task, seed),
        train=rows[0],
        valid=rows[1],
    )


# --------------------------------------------------------------------------- training together


@pytest.mark.parametrize("name", SPECS)
def test_members_trained_together_are_those_trained_alone(name: str) -> None:
    task = Task.MULTICLASS
    folds = [fold(task, 0), fold(task, 1)]
    tasks = [
        task_of(name, task, folds[0], seed=1),
        task_of(name, task, folds[1], seed=2, learning_rate=0.01, dropout=0.0),
        task_of(name, task, folds[0], seed=3, weight_decay=0.5, dropout=0.4),
    ]
    together = fit_many(tasks, device="cpu")
    alone = [fit_many([each], device="cpu")[0] for each in tasks]
    test = make_rows(task, 60, seed=9).X.values
    predictions = [model.predict(test) for model in together]
    for model, prediction in zip(alone, predictions, strict=True):
        np.testing.assert_allclose(model.predict(test), prediction, atol=2e-4)
    assert np.abs(predictions[0] - predictions[2]).max() > 0.01


def test_tasks_of_different_shapes_come_back_in_their_order() -> None:
    rows = fold(Task.REGRESSION, 0)
    nothing = replace(rows[0], X=replace(rows[0].X, values=np.ones_like(rows[0].X.values)))
    tasks = [
        task_of("realmlp", Task.REGRESSION, rows, width=16),
        task_of("realmlp", Task.REGRESSION, (nothing, None)),
        task_of("tabm", Task.REGRESSION, rows),
        task_of("realmlp", Task.REGRESSION, rows, width=32),
        task_of("realmlp", Task.REGRESSION, rows, width=16, seed=5),
    ]
    models = fit_many(tasks, device="cpu")
    test = make_rows(Task.REGRESSION, 60, seed=9).X.values
    assert isinstance(models[1], ForestModel)
    np.testing.assert_allclose(models[1].predict(test), rows[0].y.mean())
    for position in (0, 2, 3, 4):
        alone = fit_many([tasks[position]], device="cpu")[0]
        np.testing.assert_allclose(alone.predict(test), models[position].predict(test), atol=2e-4)


def test_unknown_learners_and_devices_are_named() -> None:
    rows = fold(Task.BINARY, 0)
    wrong = replace(task_of("tabm", Task.BINARY, rows), learner="tabn")
    with pytest.raises(PluginError, match="tabn"):
        fit_many([wrong])
    with pytest.raises(PluginError, match="tpu"):
        fit_many([], device="tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card")
@pytest.mark.parametrize("name", SPECS)
def test_a_card_learns_as_the_processor_does(name: str) -> None:
    rows = make_rows(Task.BINARY, 400, seed=1), make_rows(Task.BINARY, 200, seed=2)
    tasks = [task_of(name, Task.BINARY, rows, seed=seed, epochs=30) for seed in range(3)]
    test = make_rows(Task.BINARY, 300, seed=3)
    models, again = (fit_many(tasks, device="cuda") for _ in range(2))
    for model, same in zip(models, again, strict=True):
        predicted = model.predict(test.X.values)
        assert (predicted.argmax(axis=1) == test.y).mean() > 0.75
        np.testing.assert_array_equal(same.predict(test.X.values), predicted)


# --------------------------------------------------------------------------- the core alone


class Line:
    """A linear network, to train the core on tables that have nothing to do with features."""

    fits = 1_000
    """Rows at once, beyond which memory is short."""

    def parameters(self) -> dict[str, Parameter]:
        return {"slope": Parameter(shape=(2, 1)), "shift": Parameter(shape=(1,), decay=0.0)}

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        if batch["points"].shape[1] > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made = noise.drop(batch["points"]) @ weights["slope"] + weights["shift"].unsqueeze(1)
        return made.unsqueeze(2)


class Cramped(Line):
    fits = 5


def line_member(**changes: Any) -> core.Member:
    plain = core.Member(
        weights={"slope": np.zeros((2, 1)), "shift": np.zeros(1)},
        train=np.arange(100),
        valid=np.arange(100, 120),
        rate=0.1,
        decay=0.0,
    )
    return replace(plain, **changes)


def train_lines(
    network: Line, members: list[core.Member], deadline: Any = None, **changes: Any
) -> list[core.Trained]:
    """Train on points and what a line makes of them; ``changes`` are of the recipe."""
    points = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    goal = points @ np.array([[2.0], [-1.0]], dtype=np.float32) + 0.5
    tables = {"points": points, core.GOAL: goal, core.WEIGHT: np.ones(120, np.float32)}
    plain = core.Recipe(loss=Loss.SQUARED_ERROR, epochs=60, batch=32, schedule=COSINE)
    recipe = replace(plain, **changes)
    return core.train(network, tables, members, recipe, deadline or Far(), CPU)


def test_the_core_trains_any_network() -> None:
    (trained,) = train_lines(Line(), [line_member()])
    np.testing.assert_allclose(trained.weights["slope"][:, 0], [2.0, -1.0], atol=1e-2)
    np.testing.assert_allclose(trained.weights["shift"], [0.5], atol=1e-2)
    assert 1 <= trained.epochs <= 60


def test_what_does_not_fit_into_memory_is_computed_in_parts() -> None:
    members = [line_member(), line_member(seed=1)]
    whole, parts = train_lines(Line(), members)[1], train_lines(Cramped(), members)[1]
    for name, values in whole.weights.items():
        np.testing.assert_allclose(parts.weights[name], values, atol=1e-4)


def test_memory_too_short_for_a_single_row_is_an_error() -> None:
    class Hopeless(Line):
        fits = 0

    with pytest.raises(torch.OutOfMemoryError):
        train_lines(Hopeless(), [line_member()])


def test_a_member_that_does_not_improve_is_ended_and_the_others_go_on() -> None:
    class Counting(Line):
        def __init__(self) -> None:
            self.members: list[int] = []

        def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
            self.members.append(len(batch["points"]))
            return super().forward(weights, batch, noise)

    network = Counting()
    stuck, moving = line_member(rate=0.0), line_member(seed=3, rate=0.01)
    ended, trained = train_lines(network, [stuck, moving])
    assert network.members[0] == 2
    assert network.members[-1] == 1
    assert not ended.weights["slope"].any()
    (alone,) = train_lines(Line(), [moving])
    np.testing.assert_allclose(alone.weights["slope"], trained.weights["slope"], atol=1e-5)
    assert alone.epochs == trained.epochs


def test_without_validation_rows_the_last_state_is_kept() -> None:
    assert train_lines(Line(), [line_member(valid=None)])[0].epochs == 60


def test_the_mean_of_the_parameters_lags_behind_them() -> None:
    members = [line_member(valid=None), line_member(valid=None, averaging=0.999)]
    plain, averaged = train_lines(Line(), members, epochs=2)
    assert 0.0 < averaged.weights["slope"][0, 0] < plain.weights["slope"][0, 0]


def test_parameters_of_rate_zero_stay() -> None:
    class Fixed(Line):
        def parameters(self) -> dict[str, Parameter]:
            fixed = Parameter(shape=(1,), rate=0.0)
            return {"slope": Parameter(shape=(2, 1)), "shift": fixed}

    (trained,) = train_lines(Fixed(), [line_member(decay=0.5)])
    assert trained.weights["shift"] == 0.0


def test_a_passed_deadline_gives_the_start() -> None:
    (trained,) = train_lines(Line(), [line_member()], TickingDeadline(seconds=-1.0))
    assert trained.epochs == 0
    assert not trained.weights["slope"].any()


def test_the_deadline_is_looked_at_inside_of_epochs() -> None:
    # An epoch has 100 steps, and a look takes one second of ten.
    short = TickingDeadline(seconds=10.0)
    (trained,) = train_lines(Line(), [line_member()], short, batch=1, epochs=50)
    assert trained.epochs == 1
    assert short.seconds > -3.0


def test_the_schedule_is_shortened_to_fall_to_zero() -> None:
    rates: list[float] = []

    def rate(progress: float) -> float:
        rates.append(progress)
        return COSINE.rate(progress)

    schedule = Schedule(rate=rate)
    deadline = TickingDeadline(seconds=30.0)
    train_lines(Line(), [line_member()], deadline, epochs=10_000, schedule=schedule)
    assert len(rates) < 1_000
    assert rates[-1] > 0.95


def test_pace_plans_by_what_steps_have_taken() -> None:
    deadline = TickingDeadline(seconds=101.0)
    pace = Pace(deadline, planned=10_000)
    assert pace.total(0) == 10_000
    assert pace.total(10) == 10 + int(0.9 * 99 * 10)
    assert Pace(Far(), planned=50).total(10) == 50


# --------------------------------------------------------------------------- batches and noise


def test_every_row_is_seen_once_an_epoch() -> None:
    rows = [np.arange(100), np.arange(200, 303)]
    batches = Batches(rows, 32, [1, 2], CPU)
    orders = [batches.shuffled() for _ in range(2)]
    for order in orders:
        for member, own in enumerate(rows):
            seen = order[member][batches.filled[member] > 0].numpy()
            np.testing.assert_array_equal(np.sort(seen), own)
    assert not torch.equal(orders[0], orders[1])


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 32), (90, 256), (256, 256), (257, 256), (999, 64)]
)
def test_batches_are_of_about_equal_size(n_rows: int, size: int) -> None:
    steps, places = batch_shape(n_rows, size)
    filled = Batches([np.arange(n_rows)], size, [0], CPU).filled[0].sum(dim=1)
    assert filled.max() <= min(size, places)
    assert filled.max() - filled.min() <= 1
    assert int(filled.sum()) == n_rows
    assert places % 8 == 0
    assert steps == -(-n_rows // size)


def test_batches_grow_with_the_table() -> None:
    assert [batch_size(n) for n in (1, 90, 1_023, 2_048, 7_999, 8_192, 10**6)] == [
        *(32, 32, 32, 64, 128),
        *(256, 256),
    ]


def test_dropout_keeps_the_mean_and_depends_on_nobody_else() -> None:
    x = torch.ones(2, 400, 100)
    both = Noise([0.1, 0.5], [5, 6], CPU)
    made = [both.drop(x) for _ in range(3)]
    for kept, share in zip(made[0], (0.9, 0.5), strict=True):
        assert float((kept > 0).float().mean()) == pytest.approx(share, abs=0.01)
        assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    alone = Noise([0.5], [6], CPU)
    for each in made:
        assert torch.equal(alone.drop(x[:1])[0], each[1])
    assert not torch.equal(made[0], made[1])


def test_dropout_can_be_scaled_to_nothing() -> None:
    x = torch.ones(1, 8, 8)
    noise = Noise([0.5], [0], CPU)
    noise.scale(0.0)
    assert torch.equal(noise.drop(x), x)
    assert torch.equal(NoNoise().drop(x), x)


def test_realmlp_pauses_where_its_cycles_end() -> None:
    for pause in REALMLP.pauses:
        assert coslog4(pause) == pytest.approx(0.0, abs=1e-9)
    assert coslog4(0.0) == 0.0
    assert coslog4(1.0) == pytest.approx(0.0, abs=1e-9)
    assert max(coslog4(p / 100) for p in range(100)) > 0.99


# --------------------------------------------------------------------------- inputs


def test_inputs_of_numbers_flags_and_codes() -> None:
    X = make_rows(Task.BINARY).X
    inputs = Inputs.fitted(X, flagged_levels=8)
    shape = inputs.shape
    assert (shape.embedded, shape.plain, shape.flags, shape.codes) == (3, 1, 1 + 3, (21,))
    tables = inputs.tables(X.values)
    numbers = tables[NUMBERS]
    assert numbers.shape == (150, 4)
    assert np.abs(numbers).max() < 3.0
    np.testing.assert_array_equal(numbers[::9, 2], 0.0)
    np.testing.assert_array_equal(tables[FLAGS][:, 0], np.isnan(X.values[:, 2]))
    few = X.values[:, 4]
    np.testing.assert_array_equal(tables[FLAGS][:, 1:], few[:, None] == np.arange(3))
    many = X.values[:, 5]
    np.testing.assert_array_equal(tables[CODES][:, 0], np.where(np.isnan(many), 0, many + 1))


def test_inputs_of_many_rows_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    X = make_rows(Task.BINARY).X
    inputs = Inputs.fitted(X, flagged_levels=2)
    whole = inputs.tables(X.values)
    monkeypatch.setattr(inputs_module, "_VALUES_AT_ONCE", 64 * X.values.shape[1])
    parts = inputs.tables(X.values)
    assert set(parts) == {NUMBERS, FLAGS, CODES}
    for name, table in whole.items():
        np.testing.assert_array_equal(parts[name], table)


def test_levels_that_training_lacked_are_like_missing_ones() -> None:
    X = make_rows(Task.BINARY).X
    values = X.values.copy()
    values[values[:, 5] > 11, 5] = np.nan
    inputs = Inputs.fitted(replace(X, values=values), flagged_levels=0)
    assert inputs.shape.codes == (4, 13)
    found = inputs.tables(X.values)[CODES]
    unknown = np.isnan(X.values[:, 5]) | (X.values[:, 5] > 11)
    np.testing.assert_array_equal(found[:, 1] == 4, unknown)
    assert found[:, 0].max() == 3
    assert found[:, 1].min() == 4


def test_features_that_do_not_vary_are_left_out() -> None:
    values = np.column_stack([np.ones(9), np.full(9, np.nan), np.zeros(9), np.arange(9)])
    X = Matrix(values=values, names=tuple("abcd"), cardinalities=(0, 0, 3, 0))
    shape = Inputs.fitted(X, flagged_levels=8).shape
    assert (shape.embedded, shape.plain, shape.flags, shape.codes) == (1, 0, 0, ())


# --------------------------------------------------------------------------- learners


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("task", N_CLASSES)
def test_learns_what_there_is_to_learn(name: str, task: Task) -> None:
    train, valid = make_rows(task, 400, seed=1), make_rows(task, 200, seed=2)
    epochs = {"realmlp": 40, "tabm": 16, "ft_transformer": 12, "factorisation": 40}[name]
    learner = SPECS[name].build(params_of(name, epochs=epochs), context(task))
    learner.fit(train, valid)
    test = make_rows(task, 300, seed=3)
    predicted = learner.predict(test.X)
    if task is Task.REGRESSION:
        assert np.mean((predicted[:, 0] - test.y) ** 2) < 0.6
    else:
        assert (predicted.argmax(axis=1) == test.y).mean() > 1.6 / N_CLASSES[task]


def test_the_best_state_on_the_validation_rows_is_kept() -> None:
    train, valid = make_rows(Task.BINARY, 60, seed=1), make_rows(Task.BINARY, 200, seed=2)
    noisy = replace(train, y=np.random.default_rng(0).permutation(train.y))

    def loss(rows: Rows | None) -> float:
        params = params_of("tabm", epochs=60, learning_rate=0.02, dropout=0.0, width=64)
        learner = SPECS["tabm"].build(params, context(Task.BINARY))
        learner.fit(noisy, rows)
        chosen = learner.predict(valid.X)[np.arange(200), valid.y]
        return float(-np.log(chosen).mean())

    assert loss(valid) < loss(None)
    assert loss(valid) < 0.75


def test_tuned_epochs_fit_again() -> None:
    train, valid = fold(Task.BINARY, 0)
    learner = SPECS["realmlp"].build(params_of("realmlp"), context(Task.BINARY))
    learner.fit(train, valid)
    tuned = dict(learner.tuned())
    assert set(tuned) == {"epochs"}
    assert 1 <= tuned["epochs"] <= 6
    again = SPECS["realmlp"].build({**params_of("realmlp"), **tuned}, context(Task.BINARY))
    again.fit(train, None)
    assert again.tuned() == {}


def test_an_unpickled_learner_only_predicts() -> None:
    train, valid = fold(Task.BINARY, 0)
    learner = SPECS["tabm"].build(params_of("tabm"), context(Task.BINARY))
    with pytest.raises(PluginError, match="call fit first"):
        learner.predict(train.X)
    learner.fit(train, valid)
    copy = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(copy.predict(valid.X), learner.predict(valid.X))
    with pytest.raises(PluginError, match="build a new one"):
        copy.fit(train, valid)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    train, valid = fold(Task.BINARY, 0)
    wanted = context(Task.BINARY, n_threads=before + 1)
    SPECS["tabm"].build(params_of("tabm", epochs=1), wanted).fit(train, valid)
    assert torch.get_num_threads() == before


def test_predicting_needs_no_torch(tmp_path: Any) -> None:
    train, valid = fold(Task.BINARY, 0)
    learners = []
    for name, spec in SPECS.items():
        learner = spec.build(params_of(name, epochs=1), context(Task.BINARY))
        learner.fit(train, valid)
        learners.append((learner, learner.predict(valid.X)))
    path = tmp_path / "learners.pkl"
    path.write_bytes(pickle.dumps((learners, valid.X)))
    code = (
        "import pickle, sys, numpy as np; sys.modules['torch'] = None\n"
        f"learners, X = pickle.load(open({str(path)!r}, 'rb'))\n"
        "for learner, expected in learners:\n"
        "    np.testing.assert_allclose(learner.predict(X), expected, atol=1e-12)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_listing_loads_no_torch() -> None:
    code = (
        "import sys, automl_fuse_torch as p; p.automl_fuse_learners();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'scipy', 'pandas')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", SPECS)
def test_cost_grows_with_the_network(name: str) -> None:
    spec = SPECS[name]
    shape = Shape(n_rows=5_000, n_features=20, n_classes=2, task=Task.BINARY)
    params = dict(spec.portfolio[0].params)
    size = "rank" if name == "factorisation" else "width"
    plain, wide = (spec.cost(shape, {**params, size: width}) for width in (64, 128))
    long = spec.cost(shape, {**params, size: 64, "epochs": 2 * params["epochs"]})
    assert plain.seconds < wide.seconds
    assert plain.bytes < wide.bytes
    assert plain.seconds < long.seconds
