"""The search, driven by an executor that knows how good every learner is."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from automl_fuse.budget import Stopwatch
from automl_fuse.errors import NothingFittedError
from automl_fuse.folds import cross_fitting, make_folds
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.search import MemberSearch, SearchLimits, choose_fusion
from automl_fuse.search.arms import (
    MAX_FAILURES,
    SAMPLE_ROWS,
    Allowance,
    Arm,
    Candidate,
    choose,
)
from automl_fuse.search.incumbent import Incumbent
from automl_fuse.search.ledger import Ledger
from automl_fuse.search.plateau import MIN_MEMBERS, Plateau
from automl_fuse.search.studies import Storage, Study
from automl_fuse.specs import (
    ALL_TASKS,
    Column,
    Columns,
    Configuration,
    Cost,
    FusionContext,
    FusionSpec,
    JobResult,
    Kind,
    LearnerSpec,
    Shape,
    Task,
    no_space,
)
from automl_fuse.trial import TrialData

SHAPE = Shape(n_rows=100, n_features=3, n_classes=1, task=Task.REGRESSION)
RMSE = loss_of(METRICS["rmse"], Task.REGRESSION)


class Never:
    def remaining(self):
        return float("inf")

    def expired(self):
        return False


class Now(Never):
    def expired(self):
        return True


def depth_space(suggest):
    return {"depth": suggest.integer("depth", 1, 9), "kind": suggest.choice("kind", ["a", "b"])}


def learner(name, *merits, seconds=0.01, space=no_space):
    point = {} if space is no_space else {"depth": 2, "kind": "a"}
    return LearnerSpec(
        name=name,
        api_version=1,
        tasks=ALL_TASKS,
        encoders=("numbers",),
        build=lambda params, context: pytest.fail("nothing is fitted here"),
        cost=lambda shape, params: Cost(seconds=seconds, bytes=1),
        space=space,
        portfolio=tuple(Configuration(params=point, merit=merit) for merit in merits),
    )


def arm(spec):
    portfolio = [Candidate(params=c.params, merit=c.merit) for c in spec.portfolio]
    return Arm(spec=spec, study=Study(spec.name, Storage(None), 0), portfolio=portfolio)


def allowed(seconds, left=1e9):
    return Allowance(given=seconds, left=left)


class Executor:
    """Predicts the target plus noise of the learner's size; errors and hangs by name."""

    def __init__(self, data, noise, slots=2):
        self._data = data
        self._noise = noise
        self._slots = slots
        self._jobs = deque()
        self.ran = []
        self.cancelled = []

    @property
    def idle(self):
        return self._slots - len(self._jobs)

    def submit(self, job):
        self._jobs.append(job)

    def collect(self, timeout):
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        self.ran.append((job.member, job.fold))
        error = "it broke" if job.learner == "broken" else ""
        rows = self._data.folds[job.fold].valid
        rng = np.random.default_rng([job.fold, *job.member.encode()])
        noise = self._noise[job.learner] * rng.normal(size=(len(rows), 1))
        return [
            JobResult(
                job=job,
                predictions=None if error else self._data.y[rows, None] + noise,
                fit_seconds=0.1,
                predict_seconds=0.01,
                bytes=7,
                error=error,
            )
        ]

    def cancel(self, job):
        self.cancelled.append((job.member, job.fold))
        if job in self._jobs:
            self._jobs.remove(job)

    def close(self):
        self._jobs.clear()


@pytest.fixture
def data():
    y = np.random.default_rng(0).normal(size=200)
    return TrialData(
        columns=Columns(
            columns=(Column(name="x", kind=Kind.NUMERIC, reason=""),),
            values={"x": y},
            n_rows=200,
        ),
        y=y,
        weight=None,
        folds=make_folds(y, Task.REGRESSION, 0, folds=4),
        task=Task.REGRESSION,
        n_classes=1,
        seed=0,
    )


def ledger_of(discard=lambda name: None):
    """Return a ledger that keeps nothing, and tells what is discarded."""
    ledger = Ledger(None, Stopwatch())
    ledger.discard = discard
    return ledger


def run(
    data,
    learners,
    noise,
    *,
    max_trials=None,
    seconds=20.0,
    patience=float("inf"),
    discard=lambda name: None,
):
    executor, events = Executor(data, noise), []
    search = MemberSearch(
        learners,
        data,
        RMSE,
        executor,
        Storage(None),
        SearchLimits(seconds=seconds, max_trials=max_trials, slots=2, patience=patience),
        lambda name, details: events.append((name, details)),
        ledger_of(discard),
    )
    return search.run(), executor, events


def test_members_are_tried_by_merit_and_have_predictions_of_every_row(data):
    outcome, _, events = run(
        data, [learner("plain", 0.5), learner("strong", 0.9)], {"plain": 0.4, "strong": 0.4}
    )
    assert [member.name for member in outcome.members] == ["strong-0", "plain-0"]
    for member in outcome.members:
        assert np.isfinite(member.oof).all()
        assert member.folds == (0, 1, 2, 3)
        assert member.bytes == 28
        assert member.fit_seconds == pytest.approx(0.4)
    assert outcome.busy_seconds == pytest.approx(8 * 0.11)
    assert [name for name, _ in events].count("trial_finished") == 2


def test_a_useless_member_is_stopped_after_a_fold(data):
    outcome, executor, events = run(
        data, [learner("good", 0.9), learner("poor", 0.5)], {"good": 0.01, "poor": 30.0}
    )
    assert [member.learner for member in outcome.members] == ["good"]
    assert outcome.stopped == 1
    assert sum(member == "poor-0" for member, _ in executor.ran) < 4
    assert "trial_stopped" in [name for name, _ in events]


def test_a_failed_member_is_recorded_and_given_up(data):
    outcome, _, _ = run(
        data,
        [learner("broken", 0.9, 0.8, 0.7, 0.6), learner("good", 0.1)],
        {"broken": 1.0, "good": 0.1},
    )
    assert len(outcome.failures) == MAX_FAILURES
    assert {failure.error for failure in outcome.failures} == {"it broke"}
    assert [member.learner for member in outcome.members] == ["good"]


def test_the_study_goes_on_after_the_portfolio_until_the_limit(data):
    outcome, _, _ = run(
        data, [learner("forest", 0.9, space=depth_space)], {"forest": 0.5}, max_trials=6
    )
    assert len(outcome.members) + outcome.stopped == 6
    assert outcome.members[0].params == {"depth": 2, "kind": "a"}
    assert len({str(member.params) for member in outcome.members}) > 1


def test_a_plateau_needs_time_and_members_without_gain():
    plateau = Plateau(10.0)
    assert not plateau.reached()
    plateau.record(0.0, 1.0)
    for number in range(MIN_MEMBERS - 1):
        plateau.record(11.0 + number / 100, 0.99999)
        assert not plateau.reached(), "too few members were tried"
    plateau.record(11.5, 0.99999)
    assert plateau.reached()
    plateau.record(11.6, 0.99)
    assert not plateau.reached(), "the ensemble gained"


def test_without_gain_the_search_ends_and_says_so(data):
    learners = [learner("forest", 0.9, space=depth_space)]
    outcome, _, _ = run(data, learners, {"forest": 0.0}, patience=0.2, seconds=30.0)
    assert outcome.gainless_seconds == 0.2
    assert not outcome.interrupted
    endless, _, _ = run(data, learners, {"forest": 0.0}, max_trials=40, seconds=30.0)
    assert endless.gainless_seconds is None


def test_what_is_not_kept_is_discarded(data, monkeypatch):
    monkeypatch.setattr("automl_fuse.search.keeping.MAX_KEPT", 2)
    discarded = []
    outcome, _, _ = run(
        data,
        [learner("good", 0.9), learner("fair", 0.8), learner("weak", 0.7), learner("poor", 0.6)],
        {"good": 0.2, "fair": 0.25, "weak": 0.35, "poor": 30.0},
        discard=discarded.append,
    )
    assert {member.name for member in outcome.members} == {"good-0", "fair-0"}
    assert outcome.dropped == 1
    assert outcome.stopped == 1
    assert {name for name in discarded if not name.startswith("_")} == {"weak-0", "poor-0"}


def test_time_that_is_over_leaves_the_folds_that_are_done(data):
    executor = Executor(data, {"slow": 0.1}, slots=1)
    search = MemberSearch(
        [learner("slow", 0.9)],
        data,
        RMSE,
        executor,
        Storage(None),
        SearchLimits(seconds=60, max_trials=None, slots=1),
        lambda name, details: None,
        ledger_of(),
    )
    original = executor.collect

    def interrupted(timeout):
        if len(executor.ran) == 2:
            raise KeyboardInterrupt
        return original(timeout)

    executor.collect = interrupted
    outcome = search.run()
    assert outcome.interrupted
    (member,) = outcome.members
    assert member.folds == (0, 1)
    assert np.isfinite(member.oof[data.folds[0].valid]).all()
    assert np.isnan(member.oof[data.folds[3].valid]).all()


def test_no_time_at_all_finds_nothing(data):
    outcome, _, _ = run(data, [learner("good", 0.9)], {"good": 0.1}, seconds=0.0)
    assert outcome.members == ()


def test_a_member_that_cannot_finish_is_not_tried():
    huge = arm(learner("huge", 1.0, seconds=100))
    choice = choose([huge, arm(learner("small", 0.1))], SHAPE, allowed(1, left=10))
    assert choice.arm.spec.name == "small"
    assert choose([huge], SHAPE, allowed(1, left=10)) is None


def test_what_needs_most_of_the_time_left_comes_after_what_is_nearly_as_good():
    big, small = arm(learner("big", 1.0, seconds=9)), arm(learner("small", 0.8, 0.1))
    assert choose([big, small], SHAPE, allowed(1, left=4)).arm is small
    choice = choose([big, small], SHAPE, allowed(1, left=4))
    assert choice.arm is big
    assert choice.seconds == pytest.approx(2.4)


def test_a_large_table_is_tried_on_a_sample_first():
    def cost(shape, params):
        return Cost(seconds=shape.n_rows / 1e5, bytes=1)

    large = replace(SHAPE, n_rows=1_000_000)
    spec = replace(learner("forest", 1.0), cost=cost)
    assert choose([arm(spec)], large, allowed(10, left=20)).max_rows == SAMPLE_ROWS
    assert choose([arm(spec)], large, allowed(1e3, left=1e4)).max_rows == SAMPLE_ROWS
    assert choose([arm(spec)], SHAPE, allowed(10, left=20)).max_rows is None
    known = arm(spec)
    known.costs.append((1.0, 1.0))
    assert choose([known], large, allowed(1e3, left=1e4)).max_rows is None
    again = arm(spec)
    again.portfolio[0] = replace(again.portfolio[0], max_rows=200_000)
    assert choose([again], large, allowed(10, left=20)).max_rows == 200_000


def test_features_of_a_large_table_are_sampled_to_fit_into_memory():
    large = replace(SHAPE, n_rows=1_000_000)
    wide = arm(learner("forest", 1.0))
    wide.costs.append((1.0, 1.0))
    wide.n_features = 100
    allowance = replace(allowed(1e3, left=1e4), feature_bytes=8 * 100 * 300_000)
    assert choose([wide], large, allowance).max_rows == 300_000


def test_a_cheap_member_goes_before_a_slightly_better_one():
    arms = [arm(learner("slow", 0.84, seconds=2.0)), arm(learner("quick", 0.8, seconds=0.01))]
    assert choose(arms, SHAPE, allowed(2, left=4)).arm.spec.name == "quick"
    assert choose(arms, SHAPE, allowed(2, left=400)).arm.spec.name == "slow"


def test_predicted_costs_follow_the_measured_ones():
    quick = arm(learner("quick", 1.0, 0.5, seconds=0.1))
    quick.costs += [(0.1, 5.0), (0.1, 6.0)]
    assert choose([quick], SHAPE, allowed(0.5, left=1)) is None
    assert choose([quick], SHAPE, allowed(10)).arm is quick


def test_learners_that_add_nothing_lose_merit():
    vain, modest = arm(learner("vain", 0.9)), arm(learner("modest", 0.8))
    vain.record(0.0, 1.0, [0.1])
    assert choose([vain, modest], SHAPE, allowed(1)).arm is modest


def test_the_bandit_prefers_gain_per_second_and_tries_all():
    arms = [arm(learner(name, space=depth_space)) for name in ("rich", "poor")]
    for a, gain in zip(arms, (0.2, 0.001), strict=True):
        a.portfolio.clear()
        a.record(gain, 1.0, [0.5, 0.5])
    picked = []
    for _ in range(40):
        choice = choose(arms, SHAPE, allowed(10))
        picked.append(choice.arm.spec.name)
        choice.arm.record(0.2 if choice.arm is arms[0] else 0.001, 1.0, [0.5, 0.5])
    assert picked.count("rich") > picked.count("poor") > 0


def test_the_bandit_leaves_out_what_never_added_anything():
    vain = arm(learner("vain", space=depth_space))
    vain.record(0.0, 1.0, [0.1])
    assert choose([vain], SHAPE, allowed(10)) is None


def test_the_incumbent_gains_from_diverse_members_only():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    rows = np.arange(300)
    first, second = (y[:, None] + rng.normal(size=(300, 1)) for _ in range(2))
    incumbent = Incumbent(y, None, RMSE, rows)
    assert incumbent.is_empty
    assert incumbent.absorb(first).gain == float("inf")
    assert incumbent.loss == pytest.approx(RMSE(y, first, None))
    assert incumbent.gain(first, rows) == pytest.approx(0, abs=1e-12)
    assert incumbent.gain(second, rows) > 0.1
    assert incumbent.gain(second[:50], rows[:50]) > 0
    before = incumbent.loss
    assert incumbent.absorb(second).gain == pytest.approx(before - incumbent.loss)


def test_studies_replay_a_portfolio_and_keep_a_journal(tmp_path):
    study = Study("forest", Storage(tmp_path / "study.journal"), 0)
    draw = study.ask(depth_space, {"depth": 7, "kind": "b"})
    assert draw.params == {"depth": 7, "kind": "b"}
    draw.finish(0.5)
    study.ask(depth_space).fail("no\nluck")
    study.ask(depth_space).stop(0.9)
    study.ask(depth_space).finish(float("nan"))
    assert "forest" in (tmp_path / "study.journal").read_text()


# --------------------------------------------------------------------------- fusion


class Mean:
    def __init__(self, power):
        self._power = power

    @property
    def weights(self):
        return self._weights

    def fit(self, oof, y, weight):
        losses = np.array([RMSE(y, one, weight) for one in oof]) ** self._power
        self._weights = (1 / losses) / (1 / losses).sum()

    def combine(self, predictions):
        return np.tensordot(self._weights, predictions, axes=1)


def fusion_spec(name, merit, *, min_rows=0, build=None):
    return FusionSpec(
        name=name,
        api_version=1,
        tasks=ALL_TASKS,
        build=build or (lambda params, context: Mean(params["power"])),
        space=lambda suggest: {"power": suggest.integer("power", 0, 8)},
        portfolio=(Configuration(params={"power": 0}, merit=merit),),
        min_rows=min_rows,
    )


def choose_among(specs, deadline):
    rng = np.random.default_rng(0)
    y = rng.normal(size=120)
    oof = np.stack([y[:, None] + size * rng.normal(size=(120, 1)) for size in (0.1, 1.0, 3.0)])
    context = FusionContext(task=Task.REGRESSION, n_classes=1, loss=RMSE, seed=0, deadline=deadline)
    splits = cross_fitting(y, 3, 0)
    return choose_fusion(specs, oof, (y, None), splits, context, Storage(None))


def broken(params, context):
    raise RuntimeError("no fusion today")


def test_the_fusion_study_improves_on_the_portfolio():
    choice = choose_among([fusion_spec("mean", 0.5)], Never())
    assert choice.params["power"] > 0
    assert choice.result.loss < dict(choice.tried)["mean, power=0"]


def test_without_time_the_first_by_merit_is_taken():
    choice = choose_among([fusion_spec("second", 0.2), fusion_spec("first", 0.9)], Now())
    assert choice.spec.name == "first"
    assert len(choice.tried) == 1


def test_a_failing_fusion_is_recorded():
    choice = choose_among(
        [fusion_spec("broken", 0.9, build=broken), fusion_spec("mean", 0.1)], Never()
    )
    assert choice.spec.name == "mean"
    assert any("no fusion today" in error for _, error in choice.failures)
    with pytest.raises(NothingFittedError, match="no fusion today"):
        choose_among([fusion_spec("broken", 0.9, build=broken)], Never())


def test_fusions_that_need_more_rows_are_left_out():
    specs = [fusion_spec("greedy_for_rows", 0.9, min_rows=5000), fusion_spec("mean", 0.1)]
    assert choose_among(specs, Never()).spec.name == "mean"
