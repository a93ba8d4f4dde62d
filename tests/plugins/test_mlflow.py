"""Runs, members and models in a real local MLflow store."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from handmade import ROWS, handmade

import automl_fuse
from automl_fuse.budget import Stopwatch
from automl_fuse.errors import SettingsError
from automl_fuse.observers import Observers
from automl_fuse.testing import check_observer
from automl_fuse.testing.running import SAMPLE_EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
pytest.importorskip("sqlalchemy", reason="a store in SQLite needs SQLAlchemy")

from automl_fuse_mlflow import flavour, observer  # noqa: E402

# 2026-11-21: MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated, and warns of types of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

TABLE = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in ROWS.items()})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a store once: its database takes seconds to lay out."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    client.create_experiment("here", artifact_location=(folder / "artefacts").as_uri())
    return uri


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ask for MLflow as a user does; runs begin in an empty experiment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "here")
    made = mlflow.MlflowClient(store)
    yield made
    for run in runs_of(made):
        made.delete_run(run.info.run_id)


def runs_of(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("here").experiment_id
    return list(client.search_runs([experiment], order_by=["attributes.start_time"]))


def by_name(client: Any) -> dict[str, Any]:
    return {run.info.run_name: run for run in runs_of(client)}


def tell(folder: Path, events: Any = SAMPLE_EVENTS) -> None:
    built = observer.build(str(folder))
    for event in events:
        built.notify(event)


@pytest.mark.usefixtures("client")
def test_conforms() -> None:
    check_observer(observer.SPEC)


def test_members_are_nested_runs_with_their_outcomes(client: Any, tmp_path: Path) -> None:
    tell(tmp_path)
    runs = by_name(client)
    whole = runs.pop(tmp_path.name)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {whole.info.run_id}
    outcome = {name: run.info.status for name, run in runs.items()}
    assert outcome == {"sample-0": "FINISHED", "sample-1": "FAILED", "sample-2": "KILLED"}
    assert runs["sample-0"].data.params == {"learner": "sample", "depth": "3"}
    assert runs["sample-0"].data.metrics["log_loss"] == 0.5
    assert runs["sample-1"].data.tags["error"] == "KeyError"
    assert runs["sample-2"].data.metrics["finished_folds"] == 2
    assert whole.info.status == "FINISHED"
    assert whole.data.params["rows"] == "1000"
    assert whole.data.params["fusion"] == "average"
    assert whole.data.metrics["score"] == 0.4
    (step,) = client.get_metric_history(whole.info.run_id, "ensemble_log_loss")
    assert (step.step, step.value) == (1, 0.4)


def test_times_are_those_of_the_run(client: Any, tmp_path: Path) -> None:
    tell(tmp_path)
    runs = by_name(client)
    begun = runs[tmp_path.name].info.start_time
    assert begun == 1769860800000  # 2026-01-31T12:00:00+00:00
    assert runs["sample-0"].info.start_time == begun + 100
    assert runs["sample-0"].info.end_time == begun + 200


def test_times_count_from_the_beginning_which_was_before_it_was_told(
    client: Any, tmp_path: Path
) -> None:
    tell(tmp_path, [replace(SAMPLE_EVENTS[0], seconds=0.04), *SAMPLE_EVENTS[1:]])
    runs = by_name(client)
    assert runs[tmp_path.name].info.start_time == 1769860800000
    assert runs["sample-0"].info.start_time == 1769860800060


def test_metrics_have_their_own_direction(client: Any, tmp_path: Path) -> None:
    accuracy = {"metric": "accuracy", "greater_is_better": True}
    started = replace(SAMPLE_EVENTS[0], details={**SAMPLE_EVENTS[0].details, **accuracy})
    finished = {**SAMPLE_EVENTS[2].details, "loss": -0.8, "ensemble_loss": -0.9}
    tell(tmp_path, [started, SAMPLE_EVENTS[1], replace(SAMPLE_EVENTS[2], details=finished)])
    gc.collect()
    runs = by_name(client)
    assert runs["sample-0"].data.metrics["accuracy"] == 0.8
    assert runs[tmp_path.name].data.metrics["best_member_accuracy"] == 0.8
    assert runs[tmp_path.name].data.metrics["ensemble_accuracy"] == 0.9


def test_what_mlflow_does_not_take_is_brought_into_shape(client: Any, tmp_path: Path) -> None:
    params = {"a(b)": "x" * 10_000, "depth": None}
    details = {**SAMPLE_EVENTS[2].details, "params": params, "loss": float("nan")}
    tell(tmp_path, [*SAMPLE_EVENTS[:2], replace(SAMPLE_EVENTS[2], details=details)])
    gc.collect()
    member = by_name(client)["sample-0"]
    assert member.data.params == {"learner": "sample", "a_b_": "x" * 500, "depth": "None"}
    assert "log_loss" not in member.data.metrics


def test_a_run_that_does_not_finish_has_failed(client: Any, tmp_path: Path) -> None:
    tell(tmp_path, SAMPLE_EVENTS[:3])
    gc.collect()
    assert by_name(client)[tmp_path.name].info.status == "FAILED"


def test_a_run_inside_an_active_run_is_nested_in_it(
    client: Any, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store)
    with mlflow.start_run(run_name="outer") as outer:
        tell(tmp_path)
    mlflow.set_tracking_uri(None)
    run = by_name(client)[tmp_path.name]
    assert run.data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_nothing_is_logged_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert isinstance(observer.build(str(tmp_path)), observer.Unasked)


def test_a_server_that_is_away_silences_the_observer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        observers = Observers([], Stopwatch())
        observers.add(observer.SPEC, str(tmp_path))
        for event in SAMPLE_EVENTS:
            observers(event.name, event.details)
    (failure,) = observers.failures
    assert "MlflowObserver" in failure
    assert "refused" in failure


# --------------------------------------------------------------------------- models


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artefact") / "model.onnx"
    path.write_bytes(handmade().content())
    return path


def test_a_run_keeps_its_model_and_report(client: Any, tmp_path: Path, artefact: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(artefact.read_bytes())
    (tmp_path / "report.json").write_text("{}")
    tell(tmp_path)
    run = by_name(client)[tmp_path.name]
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["report.json"]
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.source_run_id == run.info.run_id
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    expected = automl_fuse.load(artefact)
    assert loaded.predict(TABLE).tolist() == expected.predict(ROWS).tolist()
    client.delete_logged_model(model.model_id)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, artefact: Path) -> str:
    folder = tmp_path_factory.mktemp("saved") / "model"
    flavour.save_model(folder, artefact)
    return str(folder)


def test_probabilities_have_the_classes_as_columns(saved: str, artefact: Path) -> None:
    loaded = mlflow.pyfunc.load_model(saved)
    frame = loaded.predict(TABLE, params={"method": "predict_proba"})
    pipeline = automl_fuse.load(artefact)
    assert list(frame.columns) == pipeline.classes_.tolist()
    np.testing.assert_array_equal(frame.to_numpy(), pipeline.predict_proba(ROWS))
    with pytest.raises(SettingsError, match="'transform' is not one of predict, predict_proba"):
        loaded.predict(TABLE, params={"method": "transform"})


def test_columns_need_not_have_the_types_of_the_training_table(saved: str, artefact: Path) -> None:
    table = TABLE.iloc[[0, 4]].assign(age=[30, 42], joined=pd.to_datetime(["2024-01-31"] * 2))
    expected = automl_fuse.load(artefact).predict(table)
    assert mlflow.pyfunc.load_model(saved).predict(table).tolist() == expected.tolist()


def test_the_plain_onnx_model_is_there_too(saved: str, artefact: Path) -> None:
    model = mlflow.onnx.load_model(saved)
    assert model.SerializeToString() == artefact.read_bytes()


def test_the_environment_names_what_serving_needs(saved: str) -> None:
    requirements = (Path(saved) / "requirements.txt").read_text()
    assert requirements == f"automl-fuse[mlflow]=={automl_fuse.__version__}\n"
    assert "-r requirements.txt" in (Path(saved) / "python_env.yaml").read_text()


def test_the_server_reads_raw_json(saved: str, artefact: Path) -> None:
    from mlflow.pyfunc.scoring_server import invocations

    model = mlflow.pyfunc.load_model(saved)
    rows = json.dumps({"dataframe_split": json.loads(TABLE.to_json(orient="split"))})
    answer = invocations(rows, "application/json", model, model.metadata.get_input_schema())
    assert answer.status == 200
    expected = automl_fuse.load(artefact).predict(ROWS).tolist()
    assert json.loads(answer.response) == {"predictions": expected}


@pytest.mark.slow
def test_mlflow_models_serve_serves(saved: str, artefact: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", saved]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with subprocess.Popen(
        command, env={**os.environ, "PATH": path}, start_new_session=True
    ) as server:
        try:
            await_port(port)
            body = json.dumps({"dataframe_records": json.loads(TABLE.to_json(orient="records"))})
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations",
                data=body.encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:
                predictions = json.load(answer)["predictions"]
        finally:
            os.killpg(server.pid, 15)
    assert predictions == automl_fuse.load(artefact).predict(ROWS).tolist()


def await_port(port: int) -> None:
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    pytest.fail("the server has not come up within two minutes")
