"""Behaviour through ``fit``: what a user sees."""

import json
import logging
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GroupKFold, TimeSeriesSplit

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import (
    DataError,
    MetricError,
    NothingFittedError,
    RunError,
    SettingsError,
    TargetError,
)

INLINE = {"executor": "inline", "progress": False, "folds": 3, "compressors": ()}
LINEAR = Settings(**INLINE, learners=("linear",), fusions=("average",), max_trials=1)
SEVERAL = Settings(
    **INLINE, learners=("linear", "naive_bayes", "decision_tree", "knn"), max_trials=5
)


def cancer() -> pd.DataFrame:
    data = load_breast_cancer(as_frame=True)
    return data.data.assign(diagnosis=data.target.map({0: "malignant", 1: "benign"}))


@pytest.fixture(scope="module")
def fused():
    return automl_fuse.fit(
        cancer().iloc[:400], target="diagnosis", metric="roc_auc", settings=SEVERAL
    )


def test_members_are_found_fused_and_good(fused):
    untouched = cancer().iloc[400:]
    assert fused.evaluate(untouched)["roc_auc"] > 0.98
    assert fused.report["score"] > 0.98
    assert fused.task == "binary"


def test_leaderboard_shows_every_member_best_first(fused):
    board = fused.leaderboard()
    assert list(board.columns) == [
        "member", "learner", "score", "std", "fit_s", "predict_s", "bytes", "weight",
    ]  # fmt: skip
    assert board.score.is_monotonic_decreasing
    assert board.weight.sum() == pytest.approx(1.0)
    assert (board.bytes > 0).all()
    assert set(board.learner) <= {"linear", "naive_bayes", "decision_tree", "knn"}
    assert len(board) == fused.report["trials"]["finished"]


def test_labels_and_probabilities_agree(fused):
    rows = cancer().drop(columns="diagnosis").iloc[400:]
    probabilities = fused.predict_proba(rows)
    assert fused.classes_.tolist() == ["benign", "malignant"]
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    threshold = fused.calibration.threshold
    expected = np.where(probabilities[:, 1] > threshold, "malignant", "benign")
    assert (fused.predict(rows) == expected).all()


def test_one_row_is_predicted_as_in_a_batch(fused):
    rows = cancer().iloc[400:420]
    batch = fused.predict_proba(rows)
    alone = np.vstack([fused.predict_proba(rows.iloc[[i]]) for i in range(len(rows))])
    assert alone == pytest.approx(batch, abs=1e-9)


def test_threads_change_no_digit(fused, monkeypatch):
    rows = pd.concat([cancer()] * 3, ignore_index=True)
    monkeypatch.setattr("automl_fuse.pipeline.usable_cores", lambda: 1)
    alone = fused.predict_proba(rows)
    monkeypatch.setattr("automl_fuse.pipeline.usable_cores", lambda: 4)
    assert (fused.predict_proba(rows) == alone).all()


def test_column_order_and_extra_columns_do_not_matter(fused):
    rows = cancer().iloc[400:420]
    shuffled = rows[rows.columns[::-1]].assign(extra="x")
    assert (fused.predict_proba(shuffled) == fused.predict_proba(rows)).all()


def test_zero_rows_are_predicted(fused):
    nothing = cancer().iloc[:0]
    assert fused.predict(nothing).shape == (0,)
    assert fused.predict_proba(nothing).shape == (0, 2)


def test_predicting_without_a_column_names_it(fused):
    with pytest.raises(DataError, match="mean radius"):
        fused.predict(cancer().drop(columns="mean radius"))


def test_the_front_holds_the_fused_pipeline_or_better(fused):
    front = fused.front()
    assert len(front) >= 1
    assert front.score.max() >= fused.report["score"] - 0.02
    assert (front.size_mb > 0).all()
    assert (front.latency_ms > 0).all()


def test_schema_can_be_read(fused):
    text = str(fused.schema)
    assert "mean radius" in text
    assert "numeric" in text


def test_a_tree_tells_its_rules():
    settings = Settings(**INLINE, learners=("decision_tree",), max_trials=1)
    model = automl_fuse.fit(cancer(), target="diagnosis", settings=settings)
    name = model.members[0].name
    assert any(column in model.rules(name) for column in model.feature_names_in_)
    with pytest.raises(SettingsError, match=name):
        model.rules("oak")
    linear = automl_fuse.fit(cancer(), target="diagnosis", settings=LINEAR)
    with pytest.raises(SettingsError, match="no rules"):
        linear.rules("linear-0")


def test_saving_and_loading_keep_predictions(fused, tmp_path):
    fused.save(tmp_path / "model.onnx")
    loaded = automl_fuse.load(tmp_path / "model.onnx")
    rows = cancer().iloc[400:]
    assert loaded.predict_proba(rows) == pytest.approx(fused.predict_proba(rows), abs=1e-9)
    assert (loaded.predict(rows) == fused.predict(rows)).all()
    assert loaded.leaderboard().member.tolist() == fused.leaderboard().member.tolist()
    assert loaded.evaluate(rows) == pytest.approx(fused.evaluate(rows))


def test_the_same_seed_gives_the_same_fused_pipeline():
    # Which pipeline of the front is returned also depends on measured times.
    first, again, other = (
        automl_fuse.fit(
            cancer(),
            target="diagnosis",
            settings=Settings(**INLINE, learners=("decision_tree",), max_trials=2, seed=seed),
        )
        .named("all members")
        .predict_proba(cancer())
        for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert not (first == other).all()


def test_regression():
    data = load_diabetes(as_frame=True).frame
    model = automl_fuse.fit(data.iloc[:350], target="target", settings=SEVERAL)
    assert model.classes_ is None
    assert model.evaluate(data.iloc[350:])["r2"] > 0.4
    with pytest.raises(SettingsError, match="classification"):
        model.predict_proba(data)


def test_a_metric_of_numbers_makes_ratings_numbers():
    X, y = load_iris(return_X_y=True)
    model = automl_fuse.fit(X, y, metric="rmse", settings=SEVERAL)
    assert model.classes_ is None
    labels = np.array(["a", "b", "c"])[y]
    with pytest.raises(MetricError, match="rmse"):
        automl_fuse.fit(X, labels, metric="rmse", settings=SEVERAL)


def test_multiclass_from_arrays():
    X, y = load_iris(return_X_y=True)
    model = automl_fuse.fit(X, y, settings=SEVERAL)
    assert model.classes_.tolist() == [0, 1, 2]
    assert (model.predict(X) == y).mean() > 0.9
    assert model.predict(X).dtype.kind == "i"


def test_polars_and_files_are_read(tmp_path):
    data = cancer()
    data.to_csv(tmp_path / "train.csv", index=False)
    data.to_parquet(tmp_path / "train.parquet")
    sources = [data, pl.from_pandas(data), tmp_path / "train.csv", tmp_path / "train.parquet"]
    expected, *others = [
        automl_fuse.fit(source, target="diagnosis", settings=LINEAR).predict_proba(data)
        for source in sources
    ]
    for probabilities in others:
        assert probabilities == pytest.approx(expected, abs=1e-6)


def test_mixed_columns_and_missing_values():
    rng = np.random.default_rng(0)
    n = 300
    frame = pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "town": rng.choice(["Bath", "York", "Hull", None], n),
            "member": rng.choice([True, False], n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), "D"),
            "note": rng.choice(["a very good day", "not such a good day", ""], n),
            "same": 1,
        }
    )
    frame["y"] = (frame.number.fillna(0) + (frame.town == "York") > 0.3).map({True: 1, False: 0})
    model = automl_fuse.fit(
        frame,
        target="y",
        settings=Settings(**INLINE, learners=("linear", "extra_trees"), max_trials=2),
    )
    assert model.report["score"] < 0.5
    assert any("same" in note for note in model.report["warnings"])
    unseen = frame.assign(town="Rome", note=None, day=pd.NaT)
    assert np.isfinite(model.predict_proba(unseen)).all()


def test_weights_change_the_pipeline():
    X, y = load_iris(return_X_y=True)
    heavy = np.where(y == 2, 50.0, 1.0)
    plain = automl_fuse.fit(X, y, settings=LINEAR).predict_proba(X)
    weighted = automl_fuse.fit(X, y, sample_weight=heavy, settings=LINEAR).predict_proba(X)
    assert weighted[:, 2].mean() > plain[:, 2].mean()


def test_groups_splitters_and_time_order_reach_the_folds(tmp_path):
    data = load_diabetes(as_frame=True).frame.assign(
        patient=np.arange(442) // 4, day=np.random.default_rng(0).permutation(442)
    )
    by_column = automl_fuse.fit(data, target="target", groups="patient", settings=LINEAR)
    assert "patient" not in by_column.feature_names_in_
    splitter = automl_fuse.fit(
        data.drop(columns="patient"),
        target="target",
        groups=data["patient"],
        settings=Settings(**{**INLINE, "folds": GroupKFold(4)}, learners=("linear",), max_trials=1),
    )
    assert splitter.report["folds"] == 4
    in_time = automl_fuse.fit(
        data,
        target="target",
        settings=Settings(**INLINE, learners=("linear",), max_trials=2, time_column="day"),
    )
    series = automl_fuse.fit(
        data.sort_values("day"),
        target="target",
        settings=Settings(
            **{**INLINE, "folds": TimeSeriesSplit(3)}, learners=("linear",), max_trials=2
        ),
    )
    assert in_time.report["score"] == pytest.approx(series.report["score"], rel=0.1)
    with pytest.raises(SettingsError, match="time_column"):
        automl_fuse.fit(data, target="target", settings=Settings(time_column="dya"))


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("f1", "f1"),
        ("balanced_accuracy", "balanced_accuracy"),
        ("f1_weighted", "f1_weighted"),
        ("neg_brier_score", "neg_brier_score"),
    ],
)
def test_metrics_by_name(metric, name):
    model = automl_fuse.fit(
        cancer().assign(diagnosis=lambda t: (t.diagnosis == "benign").astype(int)),
        target="diagnosis",
        metric=metric,
        settings=LINEAR,
    )
    assert model.report["metric"] == name
    assert {"accuracy", "recall", "precision", "f1", "roc_auc", "log_loss", "brier"} <= set(
        model.report["scores"]
    )


def test_scorers_and_functions_are_objectives():
    data = load_diabetes(as_frame=True).frame
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    by_scorer = automl_fuse.fit(data, target="target", metric=scorer, settings=LINEAR)
    by_name = automl_fuse.fit(data, target="target", metric="mae", settings=LINEAR)
    assert abs(by_scorer.report["score"]) == pytest.approx(by_name.report["score"])
    with pytest.raises(MetricError, match="regression"):
        automl_fuse.fit(data, target="target", metric="roc_auc", settings=LINEAR)


def test_overridden_kinds_are_obeyed():
    data = cancer().assign(ward=np.arange(569) % 5)
    model = automl_fuse.fit(
        data,
        target="diagnosis",
        settings=Settings(**INLINE, learners=("linear",), max_trials=1, kinds={"ward": "category"}),
    )
    kinds = {column.name: column.kind for column in model.schema.columns}
    assert kinds["ward"] == "category"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.drop(columns="diagnosis"), TargetError, "diagnosis"),
        (lambda t: t.iloc[:0], DataError, "no rows"),
        (lambda t: t.iloc[:1], DataError, "one row"),
        (lambda t: t.assign(diagnosis=None), TargetError, "missing"),
        (lambda t: t.assign(diagnosis="benign"), TargetError, "benign"),
        (lambda t: t[["diagnosis"]], DataError, "column"),
        (lambda t: t[["diagnosis"]].assign(a=1), DataError, "a"),
    ],
)
def test_bad_tables_are_named(change, error, words):
    with pytest.raises(error, match=words):
        automl_fuse.fit(change(cancer()), target="diagnosis", settings=LINEAR)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"learners": ("lineer",)}, SettingsError, "linear"),
        ({"fusions": ("gredy",)}, SettingsError, "greedy"),
        ({"folds": 1}, SettingsError, "folds=1"),
        ({"executor": "cloud"}, SettingsError, "processes"),
        ({"kinds": {"mean radius": "nubmer"}}, SettingsError, "nubmer"),
        ({"learners": ("linear",), "block_plugins": ("sklearn",)}, SettingsError, "linear"),
    ],
)
def test_bad_settings_are_named(settings, error, words):
    with pytest.raises(error, match=words):
        automl_fuse.fit(
            cancer(),
            target="diagnosis",
            time_limit=30,
            settings=Settings(**{"progress": False, **settings}),
        )


def test_bad_time_limits_are_named():
    for limit in (0, -1, float("nan")):
        with pytest.raises(SettingsError, match="time_limit"):
            automl_fuse.fit(cancer(), target="diagnosis", time_limit=limit)


def test_a_run_directory_keeps_the_run(tmp_path):
    output = tmp_path / "run"
    model = automl_fuse.fit(
        cancer(),
        target="diagnosis",
        settings=Settings(**INLINE, learners=("linear",), max_trials=2, output=str(output)),
    )
    report = json.loads((output / "report.json").read_text())
    assert report["score"] == model.report["score"]
    lines = (output / "log.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events[0] == "run_started"
    assert events[-1] == "run_finished"
    assert events.count("trial_finished") == model.report["trials"]["finished"]
    for name in model.leaderboard().member:
        assert np.load(output / "oof" / f"{name}.npy").shape == (569, 2)
    loaded = automl_fuse.load(output)
    assert (loaded.predict(cancer()) == model.predict(cancer())).all()
    with pytest.raises(RunError, match="finished run"):
        automl_fuse.fit(
            cancer(), target="diagnosis", settings=Settings(**INLINE, output=str(output))
        )


def test_failing_members_are_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(**INLINE, learners=("broken", "linear"), plugins=("hostile",), max_trials=3)
    model = automl_fuse.fit(cancer(), target="diagnosis", settings=settings)
    (failure, *_) = model.report["failures"]
    assert failure["learner"] == "broken"
    assert "the dog ate it" in failure["error"]
    assert set(model.leaderboard().learner) == {"linear"}
    with pytest.raises(NothingFittedError, match="the dog ate it"):
        automl_fuse.fit(
            cancer(),
            target="diagnosis",
            settings=Settings(**INLINE, learners=("broken",), plugins=("hostile",)),
        )


HOSTILE = """
from automl_fuse import hookimpl
from automl_fuse.specs import ALL_TASKS, Configuration, Cost, LearnerSpec


class Broken:
    def __init__(self, params, context):
        pass

    def fit(self, train, valid):
        raise RuntimeError("the dog ate it")

    def predict(self, X):
        return X.values


class Crash(Broken):
    def fit(self, train, valid):
        import os

        os.abort()


class Endless(Broken):
    def fit(self, train, valid):
        while True:
            pass


def spec(name, build):
    return LearnerSpec(
        name=name,
        api_version=1,
        tasks=ALL_TASKS,
        encoders=("numbers",),
        build=build,
        cost=lambda shape, params: Cost(seconds=0.01, bytes=10),
        portfolio=(Configuration(merit=1.0), Configuration(merit=0.9)),
    )


@hookimpl
def automl_fuse_learners():
    return [spec("broken", Broken), spec("crash", Crash), spec("endless", Endless)]
"""


def test_crashes_and_endless_fits_cost_only_themselves(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(
        learners=("crash", "endless", "linear"),
        plugins=("hostile",),
        folds=2,
        max_trials=4,
        progress=False,
    )
    model = automl_fuse.fit(cancer(), target="diagnosis", time_limit=120, settings=settings)
    assert set(model.leaderboard().learner) == {"linear"}
    reasons = {failure["learner"]: failure["error"] for failure in model.report["failures"]}
    assert "signal 6" in reasons["crash"]
    assert "killed" in reasons["endless"]


def test_processes_give_the_same_pipeline_as_inline():
    options = {"folds": 2, "learners": ("linear",), "max_trials": 1, "progress": False}
    inline, processes = (
        automl_fuse.fit(
            cancer(), target="diagnosis", settings=Settings(**options, executor=executor)
        ).predict_proba(cancer())
        for executor in ("inline", "processes")
    )
    assert processes == pytest.approx(inline, abs=1e-12)


def test_ctrl_c_returns_the_best_so_far():
    class Impatient:
        def notify(self, event):
            if event.name == "trial_finished":
                os.kill(os.getpid(), 2)

    from automl_fuse import engine

    original = engine._observers
    try:
        engine._observers = lambda run, plugins, settings, watch: engine.Observers(
            [Impatient()], watch
        )
        model = automl_fuse.fit(cancer(), target="diagnosis", time_limit=60, settings=SEVERAL)
    finally:
        engine._observers = original
    assert model.report["trials"]["interrupted"]
    assert model.report["trials"]["finished"] == 1
    assert model.evaluate(cancer())["accuracy"] > 0.8


def test_a_limit_of_trials_is_kept():
    model = automl_fuse.fit(
        cancer(),
        target="diagnosis",
        settings=Settings(**INLINE, learners=("linear", "knn"), max_trials=2),
    )
    trials = model.report["trials"]
    assert trials["finished"] + trials["stopped"] + trials["failed"] == 2


def test_a_table_that_nothing_reads_is_refused_with_the_reason():
    sounds = {"sound": [(8_000, np.zeros(i)) for i in range(40)]}
    few = Settings(progress=False, learners=("naive_bayes",))
    with pytest.raises(NothingFittedError, match=r"'sound' \(audio\).*no encoder reads"):
        automl_fuse.fit(sounds, [0, 1] * 20, settings=few)


def test_unused_kinds_are_reported(caplog):
    data = cancer().iloc[:100].assign(sound=[(8_000, np.zeros(i)) for i in range(100)])
    few = replace(LINEAR, learners=("naive_bayes",))
    with caplog.at_level(logging.WARNING, logger="automl_fuse"):
        model = automl_fuse.fit(data, target="diagnosis", settings=few)
    assert any("sound" in note and "audio" in note for note in model.report["warnings"])
    assert "sound" in caplog.text


def test_a_fold_without_a_feature_that_varies_predicts_the_prior():
    y = np.arange(40) % 4 == 0
    rare = np.zeros(40)
    rare[39] = 1.0
    halves = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    model = automl_fuse.fit(
        {"rare": rare.astype(bool)},
        y,
        settings=Settings(**{**INLINE, "folds": halves}, learners=("linear",), max_trials=1),
    )
    assert model.predict_proba({"rare": [False]})[0, 1] == pytest.approx(0.25, abs=0.1)


def test_a_class_with_one_member_is_survived():
    X, y = load_iris(return_X_y=True)
    rows = np.r_[0:100, 149]
    model = automl_fuse.fit(X[rows], y[rows], settings=SEVERAL)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(X).shape == (150, 3)
