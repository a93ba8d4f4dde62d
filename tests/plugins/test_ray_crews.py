"""One fit over several nodes of a Ray cluster, all on this machine."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

import automl_fuse
from automl_fuse import Settings
from automl_fuse.budget import Deadline
from automl_fuse.search import arms, times
from automl_fuse.specs import (
    Errand,
    ExecutorContext,
    FitContext,
    Job,
    JobResult,
    Matrix,
    Rows,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from automl_fuse.specs import Crew

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("lightgbm", reason="LightGBM is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from automl_fuse_boosting import lightgbm_distributed, lightgbm_learner  # noqa: E402
from automl_fuse_ray.crews import Post, RayCluster  # noqa: E402
from automl_fuse_ray.executor import RayExecutor  # noqa: E402
from automl_fuse_ray.tasks import NoFiles  # noqa: E402

pytestmark = pytest.mark.slow

PARAMS = {**lightgbm_learner.POINTS[0][1], "features": "plain", "learning_rate": 0.15}
N_TRAIN, N_ROWS = 3_000, 4_500
PATIENCE = 250.0
"""Seconds that a machine which is busy with other work may take to start two processes."""


def node() -> dict[str, Any]:
    return {
        "num_cpus": 1,
        "object_store_memory": 200 * 2**20,
        "include_dashboard": False,
        "include_log_monitor": False,
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start two nodes with one CPU each, and connect this process to them."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    made = Cluster(initialize_head=True, head_node_args={**node(), "no_monitor": True})
    made.add_node(**node())
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def posts() -> tuple[Post, ...]:
    names = [each["NodeID"] for each in ray.nodes() if each["Alive"]]
    return tuple(Post(node=name, n_cpus=1) for name in sorted(names))


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(N_ROWS, 4)), columns=list("abcd"))
    frame["e"] = random.choice(list("xyz"), N_ROWS)
    frame.loc[::7, "c"] = np.nan
    score = frame["a"] + np.sin(2 * frame["b"]) + (frame["e"] == "x") + random.normal(size=N_ROWS)
    return frame.assign(y=(score > 0.3).astype(int))


def fitted(cluster: Any) -> Any:
    frame = table()
    matrix = Matrix(
        values=frame[list("abcd")].to_numpy(), names=tuple("abcd"), cardinalities=(0,) * 4
    )
    y = frame["y"].to_numpy()
    train, valid = (
        Rows(X=replace(matrix, values=matrix.values[part]), y=y[part], weight=None)
        for part in (slice(0, N_TRAIN), slice(N_TRAIN, N_ROWS))
    )
    context = FitContext(
        task=Task.BINARY,
        n_classes=2,
        seed=5,
        n_threads=1,
        deadline=Deadline(5 * PATIENCE),
        cluster=cluster,
    )
    model = lightgbm_distributed.SPEC.build(PARAMS, context)
    model.fit(train, valid)
    return model.predict(valid.X), float(log_loss(valid.y, model.predict(valid.X)))


def test_a_model_of_two_nodes_is_as_good_as_one_of_one(cluster: Cluster) -> None:
    nodes = RayCluster(posts())
    (alone, loss), (spread, spread_loss) = fitted(None), fitted(nodes)
    assert not nodes.notes
    assert spread_loss == pytest.approx(loss, rel=0.03)
    assert not np.array_equal(spread, alone), "two nodes add up what they see in another order"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give fits of few rows the time that those of very many would have."""
    monkeypatch.setattr(arms, "SHORT_SECONDS", 200.0)
    monkeypatch.setattr(times, "OVERRUN", (1.25, 200.0))


def settings(**others: Any) -> Settings:
    """Return options of a run in which every fit with 2,000 rows is one over all nodes."""
    chosen: dict[str, Any] = {
        "executor": "ray",
        "executor_options": {"spread_from": 2_000},
        "learners": ("lightgbm_distributed",),
        "folds": 2,
        "max_trials": 1,
        "compressors": (),
    }
    return Settings(**{**chosen, **others})


class Member:
    """One of a crew that does what it is told."""

    def place(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def double(self, number: float) -> float:
        return 2 * number

    def fail(self) -> None:
        raise ValueError("no luck")

    def die(self, place: str) -> None:
        if place == self.place():
            os._exit(3)
        time.sleep(600)


@pytest.fixture
def crew(cluster: Cluster) -> Iterator[Crew]:
    made = RayCluster(posts()).muster(Member, PATIENCE)
    assert made is not None
    yield made
    made.close()


def test_a_crew_has_one_on_each_node(crew: Crew) -> None:
    assert sorted(crew.call("place")) == [post.node for post in posts()]
    assert crew.deal("double", [1.0, 2.0]) == [2.0, 4.0]
    assert crew.first("double", 4.0) == 8.0
    assert len(crew.hosts) == len(crew.n_threads) == 2


def test_what_one_raises_is_raised(crew: Crew) -> None:
    with pytest.raises(ValueError, match="no luck"):
        crew.call("fail")


def test_one_that_is_lost_is_noticed_while_the_others_wait(crew: Crew) -> None:
    with pytest.raises(ray.exceptions.ActorDiedError):
        crew.call("die", posts()[1].node)


def test_nodes_without_room_are_not_waited_for(cluster: Cluster, crew: Crew) -> None:
    nodes = RayCluster(posts())
    assert nodes.muster(Member, 2.0) is None
    (note,) = nodes.notes
    assert "over 2 nodes needs their 2 CPUs at once, and the cluster had no room" in note


def test_an_executor_gives_nothing_else_beside_a_fit_over_all_nodes(cluster: Cluster) -> None:
    class Wide(NoFiles):
        def errand(self, job: Job) -> Errand:
            return Errand(job=job, spread_rows=10 if job.learner == "wide" else 0)

        def run(self, errand: Errand, fetch: Any, cluster: Any = None) -> Any:
            crew = None if cluster is None else cluster.muster(Member, PATIENCE)
            places = [] if crew is None else crew.call("place")
            return JobResult(
                job=errand.job,
                predictions=np.array([[float(len(set(places)))]]),
                fit_seconds=0.0,
                predict_seconds=0.0,
                bytes=0,
            ), {}

    context = ExecutorContext(
        runner=print, n_workers=2, n_threads=1, remote=Wide(print), options={"spread_from": 10}
    )
    executor = RayExecutor(context)
    found = {}
    for learner in ("wide", "narrow"):
        job = Job(member=learner, learner=learner, params={}, fold=0, seconds=600.0)
        executor.submit(job)
        assert (executor.idle == 0) == (learner == "wide")
        while learner not in found:
            for result in executor.collect(1.0):
                assert not result.error
                found[result.job.learner] = result.predictions[0, 0]
    assert executor.idle > 0
    executor.close()
    assert found == {"wide": 2.0, "narrow": 0.0}


def test_a_run_fits_over_all_nodes_and_exports_what_it_has(
    cluster: Cluster, patient: None, tmp_path: Path
) -> None:
    frame = table()
    model = automl_fuse.fit(frame, target="y", time_limit=900, settings=settings())
    notes = [note for note in model.report["warnings"] if "one node" in note]
    assert not notes
    model.save(tmp_path / "model.onnx")
    loaded = automl_fuse.load(tmp_path / "model.onnx")
    rows = frame.drop(columns="y").head(200)
    assert loaded.predict_proba(rows) == pytest.approx(model.predict_proba(rows), abs=1e-9)
    assert model.report["score"] < 0.5


def is_at_work(actor: Mapping[str, Any]) -> bool:
    return actor["State"] == "ALIVE" and "Seat" in actor["ActorClassName"]


def test_a_node_that_dies_in_a_fit_over_all_costs_that_trial(
    cluster: Cluster, patient: None, tmp_path: Path
) -> None:
    third, ended = cluster.add_node(**node()), Event()
    cluster.wait_for_nodes()

    def kill_when_all_work() -> None:
        while not ended.wait(0.1):
            actors = [each for each in ray._private.state.actors().values() if is_at_work(each)]
            if len(actors) == 3:
                cluster.remove_node(third, allow_graceful=False)
                return

    killer = Thread(target=kill_when_all_work)
    killer.start()
    learners = ("lightgbm_distributed", "linear")
    options = settings(learners=learners, max_trials=3, output=str(tmp_path / "run"))
    model = automl_fuse.fit(table(), target="y", time_limit=900, settings=options)
    ended.set()
    killer.join()
    assert third not in cluster.list_all_nodes()
    report = model.report
    errors = [failure["error"] for failure in report["failures"]]
    # It may have died before the fit had begun, which then needs no other trial.
    assert len(errors) == 1 or "lost one of them" in "".join(report["warnings"])
    # Who notices first is a matter of chance: Ray, or the library, whose connection ends. No one
    # blames the learner.
    lines = map(json.loads, (tmp_path / "run" / "ledger.jsonl").read_text().splitlines())
    assert {line["weight"] for line in lines if line["event"] == "failed"} <= {0}
    assert len(errors) + report["trials"]["finished"] + report["trials"]["stopped"] == 3
