"""One fit over several nodes of a Ray cluster, all on this machine."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from automl_fuse.budget import Deadline
from automl_fuse.specs import FitContext, Matrix, Rows, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Crew

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("lightgbm", reason="LightGBM is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from automl_fuse_boosting import lightgbm_distributed, lightgbm_learner  # noqa: E402
from automl_fuse_ray.crews import Post, RayCluster  # noqa: E402

pytestmark = pytest.mark.slow

PARAMS = {
    **lightgbm_learner.POINTS[0][1],
    "features": "plain",
    "learning_rate": 0.1,
}
N_ROWS, N_TRAIN = 12_000, 9_000


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


def table(kind: str = "binary") -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.normal(size=(N_ROWS, 6))
    X[:, 0] = random.integers(0, 12, N_ROWS)
    X[::7, 3] = np.nan
    score = X[:, 1] + np.sin(2 * X[:, 2]) + (X[:, 0] % 3) + random.normal(size=N_ROWS)
    if kind == "regression":
        return X, (score - score.mean()) / score.std()
    return X, np.digitize(score, [1.0] if kind == "binary" else [0.0, 2.0])


def rows(X: np.ndarray, y: np.ndarray, part: slice, weight: Any = None) -> Rows:
    names = tuple(f"f{k}" for k in range(X.shape[1]))
    matrix = Matrix(values=X[part], names=names, cardinalities=(12, 0, 0, 0, 0, 0))
    return Rows(X=matrix, y=y[part], weight=None if weight is None else weight[part])


def learner(task: Task, n_classes: int, cluster: Any, seconds: float = 120.0, **params: Any) -> Any:
    context = FitContext(
        task=task,
        n_classes=n_classes,
        seed=5,
        n_threads=1,
        deadline=Deadline(seconds),
        cluster=cluster,
    )
    return lightgbm_distributed.SPEC.build({**PARAMS, **params}, context)


CASES = [(Task.BINARY, 2), (Task.MULTICLASS, 3), (Task.REGRESSION, 1)]


@pytest.mark.parametrize(("task", "n_classes"), CASES)
def test_a_model_of_two_nodes_is_as_good_as_one_of_one(
    cluster: Cluster, task: Task, n_classes: int
) -> None:
    X, y = table(task.value)
    weight = np.where(np.arange(N_ROWS) % 5 == 0, 2.0, 1.0)
    train, valid = (rows(X, y, part, weight) for part in (slice(0, 6_000), slice(6_000, N_TRAIN)))
    rest = rows(X, y, slice(N_TRAIN, None))
    fitted = []
    nodes = RayCluster(posts())
    for given in (None, nodes, nodes):
        fitted.append(learner(task, n_classes, given))
        fitted[-1].fit(train, valid)
    assert not nodes.notes

    def loss(model: Any) -> float:
        predicted = model.predict(rest.X)
        if task is Task.REGRESSION:
            return float(np.sqrt(np.mean((predicted[:, 0] - rest.y) ** 2)))
        return float(log_loss(rest.y, predicted))

    alone, spread, again = map(loss, fitted)
    assert spread == pytest.approx(alone, rel=0.02)
    assert spread != alone, "two nodes bin the rows otherwise"
    assert spread == again
    assert fitted[1].tuned()["trees"] > 20
    form = fitted[1].form()
    np.testing.assert_allclose(
        form.predict(rest.X.values), fitted[1].predict(rest.X), rtol=0, atol=1e-9
    )


def test_the_deadline_ends_a_fit_of_two_nodes(cluster: Cluster) -> None:
    X, y = table()
    model = learner(Task.BINARY, 2, RayCluster(posts()), 30.0, learning_rate=0.01, trees=10_000)
    deadline = Deadline(30.0)
    model.fit(rows(X, y, slice(0, N_TRAIN)), None)
    assert deadline.remaining() > -15.0
    assert 1 <= model.tuned()["trees"] < 10_000


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
    made = RayCluster(posts()).muster(Member, 60.0)
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
    X, y = table()
    model = learner(Task.BINARY, 2, nodes, 20.0, trees=30)
    model.fit(rows(X, y, slice(0, 2_000)), None)
    assert model.tuned()["trees"] >= 1
    (note,) = nodes.notes
    assert "over 2 nodes needs their 2 CPUs at once, and the cluster had no room" in note
