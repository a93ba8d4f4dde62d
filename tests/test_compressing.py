"""Smaller pipelines, through ``fit``, ``front`` and ``pick``."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import automl_fuse
from automl_fuse import Settings, hookimpl
from automl_fuse.compressing import FULL
from automl_fuse.errors import ExportError, RunError, SettingsError
from automl_fuse.run import load_run
from automl_fuse.specs import CLASSIFICATION, Cost, LearnerSpec

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.pipeline import Pipeline

SEARCH = Settings(learners=("linear", "decision_tree", "mlp"), max_trials=3)


@pytest.fixture(scope="module")
def cancer() -> tuple[pd.DataFrame, pd.DataFrame]:
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(diagnosis=data.target.map({0: "malignant", 1: "benign"}))
    table = table.sample(frac=1, random_state=0)
    return table[:400], table[400:]


@pytest.fixture(scope="module")
def model(cancer: tuple[pd.DataFrame, pd.DataFrame]) -> Pipeline:
    return automl_fuse.fit(
        cancer[0], target="diagnosis", metric="roc_auc", time_limit=60, settings=SEARCH
    )


def test_the_front_is_ordered_and_nothing_on_it_beats_another(model: Pipeline) -> None:
    front = model.front()
    assert front.chosen.sum() == 1
    assert len(front) >= 2
    assert front.relative_loss.is_monotonic_increasing
    assert front.relative_loss.iloc[0] == 0
    # The fused pipeline is always listed, also where a smaller one beats it.
    figures = front.loc[
        front.pipeline != FULL, ["relative_loss", "latency_ms", "size_mb"]
    ].to_numpy()
    for i, one in enumerate(figures):
        for j, other in enumerate(figures):
            assert i == j or not ((other <= one).all() and (other < one).any())


def test_students_were_made_and_nothing_failed(model: Pipeline) -> None:
    compression = model.report["compression"]
    assert any(name.startswith("distil") for name in compression["made"])
    assert compression["failures"] == []


def test_every_pipeline_of_the_front_predicts_and_saves(
    model: Pipeline, cancer: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    rows = model.front().set_index("pipeline")
    assert rows.measured.any()
    for name in rows.index:
        other = model.named(name)
        file = tmp_path / "model.onnx"
        other.save(file)
        if rows.measured[name]:
            size = file.stat().st_size / 1e6
            assert size == pytest.approx(rows.size_mb[name], rel=0.05)
        portable = automl_fuse.load(file)
        np.testing.assert_array_equal(portable.predict(cancer[1]), other.predict(cancer[1]))
        np.testing.assert_allclose(
            portable.predict_proba(cancer[1]), other.predict_proba(cancer[1]), atol=1e-9
        )


def test_quality_and_speed_can_be_had_from_one_run(
    model: Pipeline, cancer: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    best, fast = model.pick(prefer="quality"), model.pick(prefer="speed")
    rows = model.front().set_index("pipeline")
    assert _chosen(best) == rows.relative_loss.idxmin()
    assert rows.latency_ms[_chosen(fast)] <= rows.latency_ms[_chosen(best)]
    for other in (best, fast):
        assert other.evaluate(cancer[1])["roc_auc"] > 0.95
        assert other.pick(prefer="quality").members == best.members


def _chosen(model: Pipeline) -> str:
    front = model.front()
    return str(front.pipeline[front.chosen].iloc[0])


def test_limits_are_kept_or_refused_with_the_nearest(model: Pipeline) -> None:
    front = model.front()
    limit = float(front.size_mb.median())
    small = model.pick(max_size_mb=limit)
    assert front.set_index("pipeline").size_mb[_chosen(small)] <= limit
    with pytest.raises(SettingsError, match=r"max_latency_ms=1e-06.*nearest.*raise the limit"):
        model.pick(max_latency_ms=1e-6)
    with pytest.raises(SettingsError, match="has no pipeline 'none such'"):
        model.named("none such")


def test_the_front_can_be_drawn(model: Pipeline, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = model.plot_front(str(tmp_path / "front.png"))
    assert (tmp_path / "front.png").stat().st_size > 10_000
    axes = figure.axes[0]
    assert len(axes.collections) == len(model.front())
    assert "roc_auc" in axes.get_ylabel()


@pytest.mark.parametrize(
    "options", [{"prefer": "fastest"}, {"max_latency_ms": 0.0}, {"max_size_mb": -1.0}]
)
def test_options_that_cannot_be_meant_are_refused_at_once(options: dict[str, float]) -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(SettingsError, match=next(iter(options))):
        automl_fuse.fit(X, y, **options)


def test_a_limit_that_no_pipeline_meets_is_told_by_fit() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(SettingsError, match="nearest"):
        automl_fuse.fit(X, y, time_limit=15, max_latency_ms=1e-6, settings=SEARCH)


def test_a_run_directory_holds_the_file_and_the_front(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    run = tmp_path / "run"
    settings = Settings(
        learners=("linear", "decision_tree"), max_trials=2, output=str(run), executor="inline"
    )
    model = automl_fuse.fit(X, y, time_limit=15, prefer="speed", settings=settings)
    again = load_run(run)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.front().equals(model.front())
    np.testing.assert_allclose(automl_fuse.load(run).predict(X), model.predict(X), rtol=1e-9)
    with pytest.raises(RunError, match="no finished run"):
        load_run(tmp_path / "nothing")


class Nearest:
    """A learner that says nothing of export."""

    def __init__(self, _params: object, context: object) -> None:
        self.n_classes = context.n_classes  # type: ignore[attr-defined]

    def fit(self, train: object, _valid: object) -> None:
        self.rows, self.y = train.X.values, train.y  # type: ignore[attr-defined]

    def predict(self, X: object) -> np.ndarray:
        distances = ((X.values[:, None, :] - self.rows) ** 2).sum(axis=2)  # type: ignore[attr-defined]
        share = np.eye(self.n_classes)[self.y[np.argsort(distances, axis=1)[:, :5]]].mean(axis=1)
        return np.asarray(share)


@pytest.fixture
def teachers_only(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("nearest_plugin")

    @hookimpl
    def automl_fuse_learners() -> list[LearnerSpec]:
        return [
            LearnerSpec(
                name="nearest",
                api_version=1,
                tasks=CLASSIFICATION,
                encoders=("scaled_numbers",),
                build=Nearest,
                cost=lambda _shape, _params: Cost(seconds=0.01, bytes=1e4),
            )
        ]

    module.automl_fuse_learners = automl_fuse_learners  # type: ignore[attr-defined]
    Nearest.__module__ = "nearest_plugin"
    module.Nearest = Nearest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nearest_plugin", module)
    return "nearest_plugin"


def test_a_member_that_cannot_be_written_teaches_a_student(
    teachers_only: str, tmp_path: Path
) -> None:
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        plugins=(teachers_only,),
        learners=("nearest", "decision_tree"),
        max_trials=2,
        executor="inline",
    )
    model = automl_fuse.fit(X, y, time_limit=20, settings=settings)
    notes = " ".join(model.report["compression"]["notes"])
    assert "nearest-0" in notes
    assert "no to_onnx" in notes
    assert all(member.learner != "nearest" for member in model.members)
    model.save(tmp_path / "student.onnx")
    assert (automl_fuse.load(tmp_path / "student.onnx").predict(X) == y).mean() > 0.9


def test_where_nothing_can_be_written_the_pipeline_still_predicts(
    teachers_only: str, tmp_path: Path
) -> None:
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        plugins=(teachers_only,), learners=("nearest",), max_trials=1, executor="inline"
    )
    model = automl_fuse.fit(X, y, time_limit=10, settings=settings)
    assert (model.predict(X) == y).mean() > 0.9
    with pytest.raises(ExportError, match=r"nearest-0.*no to_onnx"):
        model.save(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_dict_of_cells_is_predicted_as_a_frame_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": np.where(rng.random(200) < 0.1, np.nan, rng.normal(size=200)),
            "town": rng.choice(["Bath", "York", "1", None], 200),
            "price": rng.normal(size=200),
        }
    )
    settings = Settings(
        learners=("decision_tree",), max_trials=1, compressors=(), executor="inline"
    )
    automl_fuse.fit(table, target="price", time_limit=10, settings=settings).save(
        tmp_path / "m.onnx"
    )
    model = automl_fuse.load(tmp_path / "m.onnx")
    cells = [None, np.nan, 0, -1.5, 2**60, np.inf, "3", True]
    towns = [None, "Bath", "Rome", "", "<unseen>", 1, 1.0, np.nan]
    for cell in cells:
        for town in towns:
            if isinstance(cell, bool | str) and town is not None:
                continue
            alone = model.predict({"size": cell, "town": town})
            framed = model.predict(pd.DataFrame({"size": [cell], "town": [town]}))
            np.testing.assert_array_equal(alone, framed)
