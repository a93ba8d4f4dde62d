"""The conformance suites catch plugins that break a rule, and name it."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np
import pytest

from automl_fuse.specs import (
    ALL_TASKS,
    MISSING_CODE,
    REGRESSION,
    UNSEEN_CODE,
    CompressorSpec,
    Configuration,
    Cost,
    EncoderSpec,
    ExecutorContext,
    ExecutorSpec,
    FitContext,
    Forest,
    ForestModel,
    FusionContext,
    FusionSpec,
    JobResult,
    Kind,
    Layer,
    LearnerSpec,
    Link,
    Matrix,
    MetricSpec,
    NetworkModel,
    ObserverSpec,
    Params,
    Selection,
    Task,
    Tensor,
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
from automl_fuse.testing._data import MAKEABLE, odd_columns, sample_columns
from automl_fuse.testing._exported import feed_of
from automl_fuse.testing._media import MEDIA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import (
        Array,
        Columns,
        Event,
        Floats,
        Graph,
        Job,
        Rows,
        Spec,
        Suggest,
    )


def broken_rules(spec: Spec) -> set[str]:
    """Return the rules that a spec breaks."""
    broken: set[str] = set()
    messages: list[str] = []
    for check in checks_for(spec):
        try:
            check()
        except SkipTest:
            continue
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


@dataclass
class Exportable(Slope):
    """A slope with a graph, a form and what it was tuned to, or with a flaw in one of them."""

    def fit(self, train: Rows, valid: Rows | None) -> None:
        super().fit(train, valid)
        self.calls = 0

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        self.calls += 1
        bias, slopes = self.slopes[:1], self.slopes[1:, None]
        if self.flaw == "raises":
            raise ValueError("no graph today")
        if self.flaw == "off":
            bias = bias + 1e-5
        if self.flaw == "grows":
            bias = bias + 1e-9 * self.calls
        if self.flaw == "finite":
            limits = [graph.constant(np.array(limit)) for limit in (-1e9, 1e9)]
            features = graph.node("Clip", [features, *limits])
        if self.flaw == "batch":
            first = graph.node("Gather", [features, graph.constant(np.array([0]))], {"axis": 0})
            features = graph.node("Max", [features, first])
        values = graph.node("Gemm", [features, graph.constant(slopes), graph.constant(bias)])
        if self.flaw == "shape":
            return graph.node("Reshape", [values, graph.constant(np.array([-1]))])
        if self.flaw == "type":
            return graph.node("Cast", [values], {"to": 1})
        return values

    def form(self) -> Any:
        return "trees" if self.flaw == "no_form" else self._network()

    def _network(self) -> NetworkModel:
        n_features = len(self.slopes) - 1
        bias = self.slopes[:1] + (1e-3 if self.flaw == "other_form" else 0.0)
        line = Layer(weight=self.slopes[1:, None], bias=bias)
        return NetworkModel(
            mean=np.zeros(n_features), scale=np.ones(n_features), layers=(line,), link=Link.IDENTITY
        )

    def tuned(self) -> Any:
        if self.flaw == "tuned_to_nothing":
            return {"rate": 0.1}
        return {"rounds": np.int64(3)} if self.flaw == "tuned_in_numpy" else {"rounds": 3}


@dataclass(frozen=True)
class BuildExportable:
    flaw: str = ""

    def __call__(self, params: Params, context: FitContext) -> Exportable:
        assert params.keys() <= {"depth", "rounds"}
        return Exportable(self.flaw)


def test_a_sound_export_passes() -> None:
    spec = slope_spec(build=BuildExportable())
    for check in checks_for(spec):
        check()


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("raises", "exports_what_it_predicts"),
        ("off", "exports_what_it_predicts"),
        ("grows", "exports_what_it_predicts"),
        ("shape", "exports_what_it_predicts"),
        ("type", "exports_what_it_predicts"),
        ("batch", "exports_what_it_predicts"),
        ("finite", "exports_extreme_values"),
        ("no_form", "predicts_by_its_form"),
        ("other_form", "predicts_by_its_form"),
        ("tuned_to_nothing", "fits_again_as_tuned"),
        ("tuned_in_numpy", "fits_again_as_tuned"),
    ],
)
def test_a_flawed_export_is_caught(flaw: str, rule: str) -> None:
    assert rule in broken_rules(slope_spec(build=BuildExportable(flaw)))


@dataclass
class Stump:
    """One split at the median of the first feature; a graph may compare in single precision."""

    single: bool
    threshold: float = 0.0
    means: Any = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        x = train.X.values[:, 0]
        weight = np.ones(len(x)) if train.weight is None else train.weight
        # A third cannot be written in binary: between two numbers in single precision.
        self.threshold = float(np.median(x)) + 1 / 3
        sides = [x <= self.threshold, x > self.threshold]
        self.means = np.array([np.average(train.y, weights=w * weight + 1e-9) for w in sides])

    def predict(self, X: Matrix) -> Floats:
        values: Floats = self.means[(X.values[:, 0] > self.threshold).astype(int)]
        return values[:, None]

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        threshold, low, high = map(np.array, (self.threshold, *self.means))
        x = graph.node("Gather", [features, graph.constant(np.array([0]))], {"axis": 1})
        if self.single:
            x = graph.node("Cast", [x], {"to": 1})
            threshold = threshold.astype(np.float32)
        above = graph.node("Greater", [x, graph.constant(threshold)])
        return graph.node("Where", [above, graph.constant(high), graph.constant(low)])

    def form(self) -> ForestModel:
        zero = np.zeros(1, np.int64)
        forest = Forest(
            roots=zero,
            feature=zero,
            threshold=np.array([self.threshold]),
            split=np.zeros(1, np.uint8),
            missing_true=np.zeros(1, bool),
            true=np.array([-1]),
            false=np.array([-2]),
            leaf=self.means[:, None],
            target=zero,
            base=np.zeros(1),
        )
        return ForestModel(forest=forest, link=Link.IDENTITY)


@pytest.mark.parametrize("single", [False, True])
def test_a_graph_that_compares_in_single_precision_is_caught(single: bool) -> None:
    spec = slope_spec(build=lambda params, context: Stump(single))
    broken = {rule for rule in broken_rules(spec) if rule.startswith("export")}
    assert broken == ({"exports_values_on_splits"} if single else set())


def reasons_to_skip(spec: Spec, rule: str) -> set[str]:
    reasons = set()
    for check in checks_for(spec):
        if check.rule == rule:
            with pytest.raises(SkipTest) as skipped:
                check()
            reasons.add(str(skipped.value))
    return reasons


def test_a_learner_without_a_graph_can_only_teach() -> None:
    (reason,) = reasons_to_skip(slope_spec(), "exports_what_it_predicts")
    assert reason == "Slope has no to_onnx: it can only be a teacher"


def test_export_is_not_checked_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    spec = slope_spec(build=BuildExportable("off"))
    (reason,) = reasons_to_skip(spec, "exports_what_it_predicts")
    assert reason == "export is not checked: onnxruntime cannot be imported"
    check_learner(spec)


@dataclass
class Likely:
    """The class shares of rows that are alike in the first feature."""

    hard: bool
    shares: Any = None

    def fit(self, train: Rows, valid: Rows | None) -> None:
        truth = np.eye(2)[train.y] if train.soft is None or self.hard else train.soft
        group = self.groups(train.X)
        self.shares = np.stack([truth[group == g].mean(axis=0) for g in range(4)])

    def groups(self, X: Matrix) -> Array:
        return np.searchsorted([-0.7, 0.0, 0.7], X.values[:, 0])

    def predict(self, X: Matrix) -> Floats:
        shares: Floats = self.shares[self.groups(X)]
        return shares


@pytest.mark.parametrize("hard", [False, True])
def test_a_learner_that_overlooks_soft_labels_is_caught(hard: bool) -> None:
    spec = slope_spec(
        tasks=frozenset({Task.BINARY}),
        build=lambda params, context: Likely(hard),
        soft_labels=True,
    )
    assert ("learns_soft_labels" in broken_rules(spec)) is hard


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
        name="owners", api_version=1, kinds=frozenset({Kind.ID}), build=lambda _: Ranks()
    )
    with pytest.raises(ValueError, match="pass make_columns"):
        encoder_checks(spec)


class OneHot:
    """A flag for each category, or a graph of it with a flaw."""

    def __init__(self, flaw: str) -> None:
        self.flaw = flaw

    def fit_transform(self, columns: Columns, y: Array, weight: Floats | None) -> Matrix:
        self.known = {
            c.name: sorted(set(columns.values[c.name].tolist()) - {MISSING_CODE})
            for c in columns.columns
        }
        return self.transform(columns)

    def transform(self, columns: Columns) -> Matrix:
        flags = [columns.values[n] == code for n, codes in self.known.items() for code in codes]
        names = [f"{n} is {code}" for n, codes in self.known.items() for code in codes]
        values = np.array(flags, dtype=np.float64).reshape(len(names), columns.n_rows)
        return Matrix.numbers(np.ascontiguousarray(values.T), names)

    def to_onnx(self, graph: Graph, columns: Mapping[str, Tensor]) -> Tensor:
        flags = []
        for name, codes in self.known.items():
            column = columns[name]
            if self.flaw == "unseen":
                unseen = graph.constant(np.array(UNSEEN_CODE))
                column = graph.node("Where", [
                    graph.node("Equal", [column, unseen]),
                    graph.constant(np.array(codes[:1] or [0])),
                    column,
                ])  # fmt: skip
            if self.flaw == "absent":
                column = graph.node("Min", [column, graph.constant(np.array(max(codes or [0])))])
            if codes:
                flags.append(graph.node("Equal", [column, graph.constant(np.array([codes]))]))
        return graph.node("Cast", [graph.node("Concat", flags, {"axis": 1})], {"to": 11})


@pytest.mark.parametrize(
    ("flaw", "broken"),
    [
        ("", set()),
        ("unseen", {"exports_odd_values"}),
        ("absent", {"exports_absent_codes"}),
    ],
)
def test_a_flawed_graph_of_an_encoder_is_caught(flaw: str, broken: set[str]) -> None:
    spec = EncoderSpec(
        name="flags",
        api_version=1,
        kinds=frozenset({Kind.CATEGORY}),
        build=lambda _: OneHot(flaw),
    )
    found = broken_rules(spec)
    assert found >= broken
    assert bool(found) is bool(broken)


def test_every_kind_of_column_reaches_a_graph() -> None:
    columns = odd_columns(sample_columns(MAKEABLE, n_rows=60, seed=1))
    feed = feed_of(columns, {})
    # Of images, sounds and sequences, a graph reads what the front-end makes.
    raw = columns.select(MAKEABLE - MEDIA)
    assert {name: column.shape for name, column in feed.items()} == dict.fromkeys(
        raw.values, (columns.n_rows, 1)
    )
    step = {"kind": "sequence_summary", "column": "sequence_0", "settings": {"channels": 2}}
    made = feed_of(columns, {Tensor("x"): step | {"width": 49}})["x"]
    assert made.shape == (columns.n_rows, 49)
    dates, texts = feed["datetime_0"][:, 0], feed["text_0"][:, 0]
    assert (np.isnat(columns.values["datetime_0"]) == (dates == np.iinfo(np.int64).min)).all()
    assert all(isinstance(text, str) for text in texts)
    assert set(feed["category_0"][:, 0].tolist()) == {*range(6), MISSING_CODE, UNSEEN_CODE}


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


class Winner:
    """The likeliest class of the mean has it all; ``grid`` tells probabilities apart by steps."""

    def __init__(self, grid: float) -> None:
        self.grid = grid

    def fit(self, oof: Floats, y: Array, weight: Floats | None) -> None:
        self.weights = np.full(len(oof), 1 / len(oof))

    def combine(self, predictions: Floats) -> Floats:
        mean = np.round(predictions.mean(axis=0) * self.grid)
        winners: Floats = np.eye(mean.shape[1])[mean.argmax(axis=1)]
        return winners

    def to_onnx(self, graph: Graph, predictions: Sequence[Tensor]) -> Tensor:
        total = graph.weighted_sum(predictions, self.weights.tolist())
        steps = graph.node(
            "Round", [graph.node("Mul", [total, graph.constant(np.array(self.grid))])]
        )
        winner = graph.node("ArgMax", [steps], {"axis": 1, "keepdims": 0})
        return graph.node("Gather", [graph.constant(np.eye(2)), winner])


@pytest.mark.parametrize(("grid", "breaks"), [(2.0**30, False), (2.0**60, True)])
def test_a_fusion_that_turns_on_the_last_bit_is_caught(grid: float, breaks: bool) -> None:
    spec = FusionSpec(
        name="winner",
        api_version=1,
        tasks=frozenset({Task.BINARY}),
        build=lambda params, context: Winner(grid),
    )
    assert ("exports_what_it_combines" in broken_rules(spec)) is breaks


def test_a_fusion_without_a_graph_is_told_so() -> None:
    spec = FusionSpec(name="odd", api_version=1, tasks=REGRESSION, build=BuildFlawed(""))
    (reason,) = reasons_to_skip(spec, "exports_what_it_combines")
    assert reason == "Flawed has no to_onnx: pipelines that it fuses cannot be exported"


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
    def propose(self, teacher: Any) -> list[Selection]:
        return [Selection(name="all", members=tuple(range(5)))]


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
