"""The conformance suites catch plugins that break a rule, and name it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from automl_fuse.specs import (
    ALL_TASKS,
    REGRESSION,
    Candidate,
    CompressorSpec,
    Configuration,
    Cost,
    EncoderSpec,
    ExecutorContext,
    ExecutorSpec,
    FitContext,
    FusionContext,
    FusionSpec,
    JobResult,
    Kind,
    LearnerSpec,
    Matrix,
    MetricSpec,
    ObserverSpec,
    Params,
)
from automl_fuse.testing import (
    Check,
    RandomDraws,
    Replay,
    check_learner,
    checks_for,
    encoder_checks,
    learner_checks,
    parametrize_with_checks,
)

if TYPE_CHECKING:
    from automl_fuse.specs import Array, Columns, Event, Floats, Job, Rows, Spec, Suggest


def broken_rules(spec: Spec) -> set[str]:
    """Return the rules that a spec breaks."""
    broken: set[str] = set()
    messages: list[str] = []
    for check in checks_for(spec):
        try:
            check()
        except AssertionError as error:
            broken.add(check.rule)
            messages.append(str(error))
    assert all(repr(spec.name) in message for message in messages)
    return broken


# --------------------------------------------------------------------------- learners


@dataclass
class Slope:
    """A sound learner of one slope, or one that breaks the rule called ``flaw``."""

    flaw: str = ""
    slopes: Any = None
    extra: Any = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        if self.flaw == "needs_valid":
            assert valid is not None
        if self.flaw == "mutates":
            train.X.values[0] = 0.0
        if self.flaw == "unpicklable":
            self.extra = lambda: None
        weight = np.ones(len(train.y))
        if train.weight is not None and self.flaw != "ignores_weights":
            weight = train.weight
        X = self.expanded(train.X)
        gram = (X.T * weight) @ X + 1e-3 * np.eye(X.shape[1])
        self.slopes = np.linalg.solve(gram, (X.T * weight) @ train.y)
        if self.flaw == "unseeded":
            self.slopes = self.slopes + np.random.default_rng().normal(scale=0.01)

    def expanded(self, X: Matrix) -> Floats:
        return np.column_stack([np.ones(len(X.values)), X.values])

    def predict(self, X: Matrix) -> Floats:
        values: Floats = self.expanded(X) @ self.slopes
        if self.flaw == "batch":
            values = values - values.mean()
        if self.flaw == "flat":
            return values
        if self.flaw == "useless":
            values = -values
        return values[:, None]


@dataclass(frozen=True)
class BuildSlope:
    flaw: str

    def __call__(self, params: Params, context: FitContext) -> Slope:
        return Slope(self.flaw)


def slope_space(suggest: Suggest) -> dict[str, Any]:
    return {"depth": suggest.integer("depth", 1, 5)}


def slope_spec(flaw: str = "", **changes: Any) -> LearnerSpec:
    spec = LearnerSpec(
        name="slope",
        api_version=1,
        tasks=REGRESSION,
        encoders=("scaled_numbers",),
        build=BuildSlope(flaw),
        cost=lambda shape, params: Cost(seconds=1e-3 * shape.n_rows, bytes=100.0),
        space=slope_space,
        portfolio=(Configuration(params={"depth": 2}),),
    )
    return replace(spec, **changes)


def test_a_sound_learner_passes() -> None:
    check_learner(slope_spec())


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("needs_valid", "fits_without_validation_rows"),
        ("mutates", "leaves_its_input_alone"),
        ("unpicklable", "pickles"),
        ("ignores_weights", "uses_weights"),
        ("unseeded", "repeats_with_its_seed"),
        ("batch", "predicts_rows_alone"),
        ("flat", "predicts_validly"),
        ("useless", "learns"),
    ],
)
def test_a_flawed_learner_is_caught(flaw: str, rule: str) -> None:
    assert rule in broken_rules(slope_spec(flaw))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"portfolio": (Configuration(params={"depth": 9}),)}, "has_a_sound_portfolio"),
        ({"portfolio": (Configuration(params={"depth": 2.0}),)}, "has_a_sound_portfolio"),
        ({"portfolio": (Configuration(),)}, "has_a_sound_portfolio"),
        (
            {"portfolio": (Configuration(params={"depth": 2, "other": 1}),)},
            "has_a_sound_portfolio",
        ),
        (
            {"cost": lambda shape, params: Cost(seconds=1 / shape.n_rows, bytes=1.0)},
            "estimates_its_cost",
        ),
        ({"cost": lambda shape, params: Cost(seconds=0.0, bytes=1.0)}, "estimates_its_cost"),
        ({"api_version": 2}, "is_sound"),
    ],
)
def test_a_flawed_spec_is_caught(changes: dict[str, Any], rule: str) -> None:
    assert broken_rules(slope_spec(**changes)) == {rule}


def test_check_learner_lists_all_that_is_broken() -> None:
    with pytest.raises(AssertionError) as caught:
        check_learner(slope_spec("useless", api_version=2))
    assert "'is_sound'" in str(caught.value)
    assert "'learns'" in str(caught.value)


def test_missing_values_are_tried_where_encoders_keep_them() -> None:
    spec = slope_spec(encoders=("numbers",))
    assert "survives_missing_values" in broken_rules(spec)


# --------------------------------------------------------------------------- encoders


class Leak:
    """Target means that include the row's own target."""

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        self.means = {
            c.name: {int(k): float(y[columns.values[c.name] == k].mean()) for k in set(v.tolist())}
            for c in columns.columns
            for v in [columns.values[c.name]]
        }
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        names = [c.name for c in columns.columns]
        values = [[self.means[n].get(int(k), 0.0) for k in columns.values[n]] for n in names]
        return Matrix.numbers(np.array(values).reshape(len(names), columns.n_rows).T, names)


class Ranks:
    """Ranks within the batch."""

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        names = [c.name for c in columns.columns]
        ranks = [np.argsort(np.argsort(columns.values[n])) for n in names]
        return Matrix.numbers(np.array(ranks, dtype=np.float64).T, names)


def test_an_encoder_that_leaks_is_caught() -> None:
    spec = EncoderSpec(
        name="leak", api_version=1, kinds=frozenset({Kind.CATEGORY}), build=lambda _: Leak()
    )
    assert broken_rules(spec) == {"hides_the_target"}


def test_an_encoder_that_reads_the_batch_is_caught() -> None:
    spec = EncoderSpec(
        name="ranks", api_version=1, kinds=frozenset({Kind.NUMERIC}), build=lambda _: Ranks()
    )
    assert "encodes_rows_alone" in broken_rules(spec)


def test_kinds_that_cannot_be_made_up_need_a_table() -> None:
    spec = EncoderSpec(
        name="pixels", api_version=1, kinds=frozenset({Kind.IMAGE}), build=lambda _: Ranks()
    )
    with pytest.raises(ValueError, match="pass make_columns"):
        encoder_checks(spec)


# --------------------------------------------------------------------------- fusions


@dataclass
class Flawed:
    """An average, or a fusion with a flaw."""

    flaw: str = ""
    weights: Any = field(default=None)

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        n_members = len(oof)
        self.weights = np.full(n_members, 1 / n_members)
        if self.flaw == "sum":
            self.weights = np.ones(n_members)
        if self.flaw == "last":
            self.weights = np.eye(n_members)[-1]
        if self.flaw == "needs_all":
            self.weights = np.eye(n_members)[0]
        if self.flaw == "needs_two":
            assert n_members > 1

    def combine(self, predictions: Floats) -> Floats:
        if self.flaw == "batch":
            shifted: Floats = predictions.mean(axis=0) + predictions.mean()
            return shifted
        shares = np.ones(len(predictions)) if self.flaw == "needs_all" else self.weights
        shares = shares / shares.sum() if self.flaw != "sum" else shares
        combined: Floats = np.einsum("m,mij->ij", shares, predictions)
        return combined


@dataclass(frozen=True)
class BuildFlawed:
    flaw: str

    def __call__(self, params: Params, context: FusionContext) -> Flawed:
        return Flawed(self.flaw)


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("sum", "combines_validly"),
        ("last", "does_not_favour_a_position"),
        ("needs_all", "ignores_members_of_no_weight"),
        ("needs_two", "accepts_one_member"),
        ("batch", "combines_rows_alone"),
    ],
)
def test_a_flawed_fusion_is_caught(flaw: str, rule: str) -> None:
    spec = FusionSpec(name="odd", api_version=1, tasks=REGRESSION, build=BuildFlawed(flaw))
    assert rule in broken_rules(spec)
    assert not broken_rules(replace(spec, build=BuildFlawed("")))


# --------------------------------------------------------------------------- other kinds


def squared(y: Array, prediction: Array, weight: Floats | None) -> float:
    return float(np.average((y - prediction) ** 2, weights=weight))


def unweighted(y: Array, prediction: Array, weight: Floats | None) -> float:
    return squared(y, prediction, None)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, set()),
        ({"greater_is_better": True}, {"prefers_better_predictions", "uses_weights"}),
        ({"score": unweighted}, {"uses_weights"}),
    ],
)
def test_a_flawed_metric_is_caught(changes: dict[str, Any], broken: set[str]) -> None:
    spec = MetricSpec(
        name="squared",
        api_version=1,
        tasks=REGRESSION,
        needs="value",
        greater_is_better=False,
        score=squared,
    )
    assert broken_rules(replace(spec, **changes)) == broken


class KeepsTooMany:
    def propose(self, teacher: Any) -> list[Candidate]:
        return [Candidate(name="all", members=tuple(range(5)))]


def test_a_compressor_that_names_absent_members_is_caught() -> None:
    spec = CompressorSpec(
        name="odd", api_version=1, tasks=ALL_TASKS, build=lambda params, context: KeepsTooMany()
    )
    assert broken_rules(spec) == {"accepts_one_member"}


class Here:
    """Runs a job when it is collected; a runner that raises breaks it."""

    def __init__(self, context: ExecutorContext) -> None:
        self.context = context
        self.jobs: list[Job] = []

    @property
    def idle(self) -> int:
        return 1

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def collect(self, timeout: float) -> list[JobResult]:
        return [self.context.runner(self.jobs.pop(0))] if self.jobs else []

    def cancel(self, job: Job) -> None:
        self.jobs.remove(job)

    def close(self) -> None:
        self.jobs.clear()


def test_an_executor_that_does_not_isolate_is_caught() -> None:
    spec = ExecutorSpec(name="here", api_version=1, build=Here)
    assert broken_rules(spec) == {"isolates_failures"}


class Choosy:
    def notify(self, event: Event) -> None:
        {"run_started": 1, "run_finished": 2}[event.name]


def test_an_observer_that_knows_few_events_is_caught() -> None:
    spec = ObserverSpec(name="choosy", api_version=1, build=lambda folder: Choosy())
    assert broken_rules(spec) == {"accepts_every_event", "serves_two_runs"}


# --------------------------------------------------------------------------- tools


def test_expected_failures_are_strict_and_reasoned() -> None:
    expected = {"slope": {"uses_weights": "it has none"}}
    mark = parametrize_with_checks([slope_spec("ignores_weights")], expected)
    marked = [p for p in mark.args[1] if p.marks]
    assert [p.id for p in marked] == ["learner-slope-regression-uses_weights"]
    assert marked[0].marks[0].kwargs == {"strict": True, "reason": "it has none"}


def test_an_expected_failure_of_no_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_rule"):
        parametrize_with_checks([slope_spec()], {"slope": {"no_such_rule": "a slip"}})


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a spec"):
        checks_for("slope")  # type: ignore[arg-type]


def test_a_check_can_be_read() -> None:
    check = learner_checks(slope_spec())[1]
    assert isinstance(check, Check)
    assert str(check) == "slope-regression-predicts_validly"
    assert check.meaning.startswith("predictions have the right shape")


def test_warnings_of_a_plugin_reach_its_author() -> None:
    def warns(params: Params, context: FitContext) -> Slope:
        warnings.warn("slow", UserWarning, stacklevel=1)
        return Slope()

    with pytest.warns(UserWarning, match="slow"):
        check_learner(slope_spec(build=warns))


def test_random_draws_refuse_a_name_asked_twice() -> None:
    draws = RandomDraws(0)
    assert 1e-3 <= draws.real("rate", 1e-3, 1.0, log=True) <= 1.0
    with pytest.raises(AssertionError, match="'rate' twice"):
        draws.real("rate", 0.0, 1.0)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.integer("absent", 1, 2), "which the params lack"),
        (lambda s: s.integer("flag", 0, 1), "wants an integer"),
        (lambda s: s.real("word", 0.0, 1.0), "wants a number"),
        (lambda s: s.choice("word", ["x", "y"]), "not one of"),
        (lambda s: s.integer("whole", 5, 1), "empty range"),
        (lambda s: s.real("whole", 0.0, 9.0, log=True), "log scale"),
    ],
)
def test_replay_objects_to_params_outside_the_space(ask: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        ask(Replay({"flag": True, "word": "z", "whole": 3}))
