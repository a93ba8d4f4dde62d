"""Runs that start from an earlier one."""

from __future__ import annotations

import importlib
import inspect
import json
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings, hookspecs
from automl_fuse.earlier import EarlierModel, keep_earlier_models
from automl_fuse.errors import ArtefactError, RunError, SettingsError
from automl_fuse.folds import Fold
from automl_fuse.host import discover
from automl_fuse.lessons import Augmented, read_augmented, write_augmented
from automl_fuse.members import Stored
from automl_fuse.remote import RemoteFolds
from automl_fuse.run import RunDirectory, load_run, write_array
from automl_fuse.schema import infer
from automl_fuse.specs import Column, Columns, Edit, Job, Kind, Task
from automl_fuse.table import read_table
from automl_fuse.transfer import known_share, read_source, sketch
from automl_fuse.transfer.points import NotAPoint, point_of
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData
from automl_fuse_compress.soup import Average

if TYPE_CHECKING:
    from pathlib import Path

LEARNERS = ("linear", "decision_tree")


def settings_of(**changes: Any) -> Settings:
    quick = {"executor": "inline", "progress": False, "compressors": (), "max_trials": 4}
    return Settings(**{**quick, "learners": LEARNERS, "fusions": ("average",), **changes})


def table(n_rows: int, seed: int) -> pd.DataFrame:
    """Return rows of two numbers and a category, with a class that they decide."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 2)), columns=["a", "b"])
    frame["colour"] = rng.choice(["red", "green", "blue", "grey"], size=n_rows)
    signal = frame.a - frame.b + (frame.colour == "red") + 0.2 * rng.normal(size=n_rows)
    frame["y"] = np.where(signal > 0.3, "yes", "no")
    return frame


def fit(frame: pd.DataFrame, **options: Any) -> Any:
    settings = options.pop("settings", None) or settings_of(max_trials=2)
    quick = {"time_limit": 20, "prefer": "quality"}
    return automl_fuse.fit(frame, target="y", settings=settings, **{**quick, **options})


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on other rows."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    model = fit(table(300, 0), settings=settings_of(output=str(folder)))
    # A slow machine would leave it out, as it would be late.
    model.save(folder / "model.onnx")
    return folder


# --------------------------------------------------------------------------- sources


def test_directory_file_and_pipeline_offer_the_same_configurations(earlier: Path) -> None:
    given = [earlier, earlier / "model.onnx", load_run(earlier), str(earlier)]
    given.append(automl_fuse.load(earlier))
    sources = [read_source(each) for each in given]
    first = [(k.member, k.learner, dict(k.params)) for k in sources[0].configurations]
    assert first
    weights = [known.weight for known in sources[0].configurations]
    assert weights == sorted(weights, reverse=True)
    for source in sources[1:]:
        assert [(k.member, k.learner, dict(k.params)) for k in source.configurations] == first
    assert [bool(source.members) for source in sources] == [True, False, True, True, False]
    assert [source.rows is not None for source in sources] == [True, False, True, True, False]


def test_a_file_without_params_on_its_leaderboard_offers_its_members(earlier: Path) -> None:
    pipeline = load_run(earlier)
    board = [
        {k: v for k, v in row.items() if k != "params"} for row in pipeline.report["leaderboard"]
    ]
    source = read_source(replace(pipeline, report={**pipeline.report, "leaderboard": board}))
    assert [known.member for known in source.configurations] == [m.name for m in source.members]


def test_what_is_no_earlier_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="transfer_from=3"):
        fit(table(60, 1), transfer_from=3)
    with pytest.raises(ArtefactError, match=r"without model\.onnx"):
        fit(table(60, 1), transfer_from=tmp_path)
    with pytest.raises((ArtefactError, RunError), match=r"nowhere\.onnx"):
        fit(table(60, 1), transfer_from=tmp_path / "nowhere.onnx")


# --------------------------------------------------------------------------- configurations


def test_earlier_configurations_are_tried_first(earlier: Path) -> None:
    (best, *_) = read_source(earlier).configurations
    # Of rows that the earlier run knows, nothing else is used.
    rows = table(300, 0)[:100]
    model = fit(rows, transfer_from=earlier, settings=settings_of(max_trials=1))
    (row,) = model.report["leaderboard"]
    assert row["learner"] == best.learner
    assert row["params"] == dict(best.params)


def test_what_is_not_there_any_more_is_said(
    earlier: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = load_run(earlier)
    board = [
        {"member": "gone-0", "learner": "gone", "params": {}, "weight": 0.5},
        {"member": "linear-9", "learner": "linear", "params": {"penalty": -1.0}, "weight": 0.4},
        *pipeline.report["leaderboard"],
    ]
    changed = replace(pipeline, report={**pipeline.report, "leaderboard": board})
    model = fit(table(60, 1), transfer_from=changed)
    notes = "\n".join(model.report["transfer"]["notes"])
    for part in ("'gone-0'", "not installed", "'linear-9'", "penalty=-1.0 is outside"):
        assert part in notes
    assert notes.splitlines()[0] in caplog.text


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 2.5, "x": 0.5, "c": "a"}, "n=2.5 is no whole number"),
        ({"n": 11, "x": 0.5, "c": "a"}, "n=11 is outside"),
        ({"n": 2, "x": "0.5", "c": "a"}, "x='0.5' is no number"),
        ({"n": 2, "x": 0.5, "c": "z"}, "c='z' is none of"),
        ({"n": 2, "c": "a"}, "x is not given"),
    ],
)
def test_a_configuration_outside_of_the_space_is_no_point(
    params: dict[str, Any], message: str
) -> None:
    def space(suggest: Any) -> dict[str, Any]:
        return {
            "n": suggest.integer("n", 1, 10),
            "x": suggest.real("x", 0.0, 1.0),
            "c": suggest.choice("c", ("a", "b")),
        }

    assert point_of(space, {"n": 2, "x": 1, "c": "b", "target": "log"}) == {
        "n": 2,
        "x": 1.0,
        "c": "b",
    }
    with pytest.raises(NotAPoint, match=message):
        point_of(space, params)


# --------------------------------------------------------------------------- rows that were seen


def typed(frame: pd.DataFrame) -> Columns:
    read = read_table(frame)
    return infer(read, {}).convert(read)


@pytest.mark.parametrize("n_rows", [400, 12_000])
def test_rows_that_were_seen_are_found(n_rows: int) -> None:
    frame = table(n_rows, 0).drop(columns="y")
    frame.loc[::7, "a"] = np.nan
    known = json.loads(json.dumps(sketch(typed(frame))))
    assert known["is_whole"] == (n_rows == 400)
    schema = infer(read_table(frame), {})
    others = table(n_rows, 1).drop(columns="y")
    half = pd.concat([frame[: n_rows // 2], others[: n_rows // 2]])[["colour", "b", "a"]]
    for rows, share in ((frame, 1.0), (others, 0.0), (half, 0.5)):
        found = known_share(known, schema.convert(read_table(rows)))
        assert found == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("n_rows", [500, 50])
def test_rows_that_are_equal_by_chance_are_not_counted(n_rows: int) -> None:
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(rng.integers(6, size=(size, 3)), columns=list("abc")) for size in (500, n_rows)
    ]
    known = sketch(typed(frames[0]))
    assert 0.5 < known["repeated"] < 1.0
    assert known_share(known, typed(frames[1])) == pytest.approx(0.0, abs=0.05)


def test_too_few_rows_tell_nothing() -> None:
    frame = table(12_000, 0).drop(columns="y")
    schema = infer(read_table(frame), {})
    few = schema.convert(read_table(frame[:20]))
    assert known_share(sketch(typed(frame)), few) is None


def test_cells_of_all_kinds_have_digests() -> None:
    values = {
        "t": np.array(["x", None, "z"], dtype=object),
        "d": np.array(["2020-01-01", "NaT", "2021-01-01"], dtype="datetime64[us]"),
        "s": np.array([np.ones((2, 1)), None, np.zeros((1, 1))], dtype=object),
    }
    kinds = {"t": Kind.TEXT, "d": Kind.DATETIME, "s": Kind.SEQUENCE}
    columns = tuple(Column(name=n, kind=k, reason="") for n, k in kinds.items())
    rows = Columns(columns=columns, values=values, n_rows=3)
    assert len(set(sketch(rows)["smallest"])) == 3
    assert sketch(rows)["smallest"] == sketch(replace(rows, columns=columns[::-1]))["smallest"]


def test_where_rows_were_seen_only_configurations_are_used(earlier: Path) -> None:
    model = fit(table(300, 0)[:100], transfer_from=earlier)
    told = model.report["transfer"]
    assert told["known_rows"] > 0.9
    assert not told["teacher"]
    assert told["configurations"]
    assert any("training rows of the earlier run" in note for note in told["notes"])
    assert not any("taught" in row["member"] for row in model.report["leaderboard"])


def test_a_portable_file_cannot_tell_and_says_so(earlier: Path) -> None:
    model = fit(table(60, 1), transfer_from=earlier / "model.onnx")
    told = model.report["transfer"]
    assert told["teacher"]
    assert any("cannot be told" in note for note in told["notes"])


def test_a_portable_file_of_the_same_table_is_noticed(earlier: Path) -> None:
    model = fit(table(300, 0), transfer_from=earlier / "model.onnx")
    assert model.report["transfer"]["known_rows"] == 1.0
    assert not model.report["transfer"]["teacher"]


def test_no_portable_file_holds_digests_of_rows(earlier: Path) -> None:
    report = json.loads((earlier / "report.json").read_text())
    assert (
        report["rows_sketch"]["smallest"][0].encode() not in (earlier / "model.onnx").read_bytes()
    )


# --------------------------------------------------------------------------- teacher


def typed_as_read(rows: Columns) -> pd.DataFrame:
    """Return typed rows as a frame."""
    values = dict(rows.values)
    (colour,) = (column for column in rows.columns if column.name == "colour")
    values["colour"] = np.array(colour.categories, dtype=object)[values["colour"]]
    return pd.DataFrame(values)


def test_an_earlier_pipeline_of_the_same_classes_teaches(earlier: Path, tmp_path: Path) -> None:
    frame = table(60, 1)
    settings = settings_of(output=str(tmp_path / "run"), max_trials=6)
    model = fit(frame, transfer_from=earlier, settings=settings)
    labels = np.load(tmp_path / "run" / "teachers" / "earlier.npy")
    expected = read_source(earlier).pipeline.predict_proba(frame)
    np.testing.assert_allclose(labels, expected, atol=1e-9)
    rows = read_augmented(RunDirectory(tmp_path / "run"), "earlier")
    assert len(rows.source) % len(frame) == 0
    made = typed_as_read(rows.columns)
    expected = read_source(earlier).pipeline.predict_proba(made)
    for fold_labels in rows.labels:
        np.testing.assert_allclose(fold_labels, expected, atol=1e-9)
    board = {row["member"]: row for row in model.report["leaderboard"]}
    taught = [name for name in board if "-taught-" in name]
    assert taught
    assert 0.0 < board[taught[0]]["params"]["taught"] <= 1.0
    test = table(500, 2)
    assert model.evaluate(test)["log_loss"] < fit(frame).evaluate(test)["log_loss"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.assign(y=f.y.replace("yes", "perhaps")), "other classes"),
        (lambda f: f.assign(y=np.arange(len(f)) * 0.1), "another target, or other classes"),
        (lambda f: f.drop(columns="b"), "columns that were there at fit are missing"),
    ],
)
def test_who_cannot_teach_is_told_why(earlier: Path, change: Any, reason: str) -> None:
    model = fit(change(table(60, 1)), transfer_from=earlier)
    assert not model.report["transfer"]["teacher"]
    assert any(reason in note for note in model.report["transfer"]["notes"])


def trial_data() -> TrialData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    column = Column(name="x", kind=Kind.NUMERIC, reason="")
    rows = np.arange(80)
    return TrialData(
        columns=Columns(columns=(column,), values={"x": x}, n_rows=80),
        y=(x > 0).astype(np.int64),
        weight=None,
        folds=(Fold(train=rows[:60], valid=rows[60:]), Fold(train=rows[20:], valid=rows[:20])),
        task=Task.BINARY,
        n_classes=2,
        seed=0,
    )


def job_of(learner: str, **params: Any) -> Job:
    point = discover().learners[learner].portfolio[0].params
    return Job(member="m", learner=learner, params={**point, **params}, fold=0, seconds=60.0)


def test_labels_are_mixed_with_the_teachers(tmp_path: Path) -> None:
    data, run = trial_data(), RunDirectory(tmp_path)
    # A teacher that says the contrary: the more it is believed, the more members do, too.
    contrary = np.eye(2)[1 - data.y]
    write_array(run.teacher("earlier"), contrary)
    runner = FoldRunner(data, run, PluginChoice(), 1)
    truth = np.arange(20), data.y[60:]
    said = [
        float(runner(job_of("linear", taught=share)).predictions[truth].mean())
        for share in (0.0, 0.4, 1.0)
    ]
    assert said[0] > 0.8
    assert said[0] > said[1] > 0.5 > said[2]


def test_rows_made_from_rows_have_the_teachers_labels_only(tmp_path: Path) -> None:
    data, run = trial_data(), RunDirectory(tmp_path)
    write_array(run.teacher("earlier"), np.eye(2)[data.y])
    # The copies say the contrary of what is true.
    made = Augmented(
        columns=data.columns,
        source=np.arange(80),
        labels=np.repeat(np.eye(2)[1 - data.y][None], 3, axis=0),
    )
    write_augmented(run, "earlier", made)
    runner = FoldRunner(data, run, PluginChoice(), 1)
    truth = np.arange(20), data.y[60:]
    plain = runner(job_of("linear", taught=0.5, taught_copies=0.0))
    doubted = runner(job_of("linear", taught=0.5, taught_copies=1.0))
    assert float(plain.predictions[truth].mean()) > 0.8
    assert float(doubted.predictions[truth].mean()) == pytest.approx(0.5, abs=0.05)


# --------------------------------------------------------------------------- weights


@pytest.fixture
def ridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The learner of the hook's example, which is drawn to earlier slopes."""
    docstring = inspect.getdoc(hookspecs.automl_fuse_learners) or ""
    (tmp_path / "ridge_plugin.py").write_text(textwrap.dedent(docstring.partition("::\n")[2]))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return "ridge_plugin"


def line(n_rows: int, seed: int, columns: str = "abcdef") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 6)), columns=list("abcdef"))
    frame["y"] = frame.to_numpy() @ [3.0, -2.0, 1.0, 0.5, 0.0, 2.0] + rng.normal(size=n_rows)
    return frame[[*columns, "y"]]


def tried(folder: Path) -> list[str]:
    """Return the members that a run has begun."""
    events = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [event["member"] for event in events if event["event"] == "trial_started"]


def test_learners_start_from_earlier_models(ridge: str, tmp_path: Path) -> None:
    settings = settings_of(learners=("closed_ridge",), plugins=(ridge,), max_trials=2)
    before = fit(line(2_000, 0), settings=settings)
    few = line(14, 1)
    settings = replace(settings, target_transforms=False, max_trials=14)
    kept = replace(settings, output=str(tmp_path / "run"))
    model = fit(few, settings=kept, transfer_from=before)
    assert any("-tuned-" in member for member in tried(tmp_path / "run"))
    assert not model.report["failures"]
    test = line(1_000, 2)
    afresh = fit(few, settings=settings)
    assert model.evaluate(test)["rmse"] < afresh.evaluate(test)["rmse"]
    narrow = fit(line(14, 1, "fab"), settings=settings, transfer_from=before)
    assert narrow.report["transfer"]["weights"]
    assert not narrow.report["failures"]


def test_learners_do_not_start_from_models_of_another_task(ridge: str) -> None:
    settings = settings_of(learners=("closed_ridge",), plugins=(ridge,), max_trials=1)
    before = fit(line(100, 0), settings=settings)
    frame = line(60, 1)
    frame["y"] = np.where(frame.y > 0, "high", "low")
    model = fit(frame, transfer_from=before, settings=settings_of(max_trials=1))
    assert model.report["transfer"]["weights"] == []


class Sign:
    """A learner that tells what it was built with."""

    def __init__(self, offset: float) -> None:
        self.offset = offset

    def fit(self, train: Any, valid: Any) -> None:
        """Learn nothing."""

    def predict(self, X: Any) -> Any:
        return np.tile([0.5, 0.5], (len(X.values), 1))


def test_folds_take_earlier_models_in_turn_and_know_their_classes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    models = [EarlierModel(learner=Stored(Sign(i)), outputs=(1, 0)) for i in range(2)]  # type: ignore[arg-type]
    keep_earlier_models(run, "old-0", models, 3)
    offsets = [run.seals.load(run.earlier("old-0", f)).learner.get().offset for f in (-1, 0, 1, 2)]
    assert offsets == [0, 0, 1, 0]


def test_a_missing_earlier_model_is_named(tmp_path: Path) -> None:
    runner = FoldRunner(trial_data(), RunDirectory(tmp_path), PluginChoice(), 1)
    assert "no earlier model to start from" in runner(job_of("linear", earlier="old-0")).error


def test_jobs_elsewhere_are_sent_what_they_start_from(tmp_path: Path) -> None:
    data, run = trial_data(), RunDirectory(tmp_path)
    write_array(run.teacher("earlier"), np.eye(2)[data.y])
    model = EarlierModel(learner=Stored(Sign(0)), outputs=(0, 1))  # type: ignore[arg-type]
    keep_earlier_models(run, "old-0", [model], 2)
    home = RemoteFolds(FoldRunner(data, run, PluginChoice(), 1))
    errand = home.errand(job_of("linear", taught=0.5, earlier="old-0"))
    assert set(errand.reads) == {"teachers/earlier.npy", "earlier/old-0.fold-0.pkl"}
    run.augmented("earlier").parent.mkdir()
    run.augmented("earlier").touch()
    errand = home.errand(job_of("linear", taught=0.5, taught_copies=2.0))
    assert set(errand.reads) == {"teachers/earlier.npy", "augmented/earlier.joblib"}


TINY_NETWORK = """
from dataclasses import replace

from automl_fuse import hookimpl
from automl_fuse.specs import Configuration
from automl_fuse_torch.tabm import TABM

POINT = {**TABM.portfolio[0].params, "width": 16, "heads": 4, "epochs": 20}


@hookimpl
def automl_fuse_learners():
    return [
        replace(
            TABM,
            name="tiny_network",
            portfolio=(Configuration(params=POINT),),
            space=lambda suggest: POINT | {"epochs": suggest.choice("epochs", (20, 21))},
        )
    ]
"""


@pytest.fixture
def tiny_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network as a learner."""
    pytest.importorskip("torch", reason="the extra 'torch' is not installed")
    (tmp_path / "tiny_plugin.py").write_text(TINY_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("tiny_plugin")
def test_networks_start_from_earlier_networks() -> None:
    settings = settings_of(
        learners=("tiny_network",), plugins=("tiny_plugin",), max_trials=1, folds=3
    )
    before = fit(table(600, 0), settings=settings, time_limit=30)
    few, test = table(50, 1), table(500, 2)
    eight = replace(settings, max_trials=8)
    model = fit(few, transfer_from=before, settings=eight, time_limit=30)
    afresh = fit(few, settings=settings, time_limit=30)
    assert model.evaluate(test)["log_loss"] < afresh.evaluate(test)["log_loss"]
    # A third class: nobody teaches it, but networks start from those of two.
    more = few.assign(y=np.where(few.a > 1.0, "perhaps", few.y))
    third = fit(more, transfer_from=before, settings=replace(settings, max_trials=5))
    assert third.report["transfer"]["weights"]
    assert not third.report["failures"]


@pytest.mark.usefixtures("tiny_plugin")
def test_fold_models_of_one_start_are_averaged(tmp_path: Path) -> None:
    data, run = trial_data(), RunDirectory(tmp_path)
    runner = FoldRunner(data, run, PluginChoice(modules=("tiny_plugin",)), 1)
    point = discover(modules=("tiny_plugin",)).learners["tiny_network"].portfolio[0].params

    def job(member: str, **changes: Any) -> Job:
        params = {**point, **changes.pop("params", {})}
        return Job(
            member=member, learner="tiny_network", params=params, fold=0, seconds=60.0, **changes
        )

    def learner_of(member: str) -> Any:
        return run.seals.load(run.fold_model(member, 0)).learner.get()

    assert not runner(job("old")).error
    earlier = EarlierModel(learner=Stored(learner_of("old")), outputs=(0, 1))
    keep_earlier_models(run, "old", [earlier], 2)
    for member, rate in (("one", 0.3), ("other", 1.0)):
        assert not runner(job(member, params={"earlier": "old", "rate_factor": rate})).error
    edit = Edit(name="soup", member=0, edit=Average(), others=(1,))
    result = runner(job("soup", edit=edit, source="one", others=("other",)))
    assert not result.error
    averaged = learner_of("one").averaged([learner_of("other")]).model.weights
    soup = learner_of("soup").model.weights
    for name, values in averaged.items():
        np.testing.assert_array_equal(soup[name], values)
    stranger = runner(job("none", edit=edit, source="one", others=("old",)))
    assert "no kin" in stranger.error
    home = RemoteFolds(FoldRunner(data, run, PluginChoice(), 1))
    reads = home.errand(job("soup", edit=edit, source="one", others=("other",))).reads
    assert {"members/one.fold-0.pkl", "members/other.fold-0.pkl"} <= set(reads)
