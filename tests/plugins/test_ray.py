"""Jobs on a Ray cluster of several nodes, all on this machine."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import SettingsError
from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.remote import RemoteFolds
from automl_fuse.run import RunDirectory
from automl_fuse.specs import Column, Columns, ExecutorContext, Job, JobResult, Kind, Task
from automl_fuse.testing import check_executor
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
from threading import Thread

ray = pytest.importorskip("ray", reason="Ray is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from automl_fuse_ray.executor import SPEC, RayExecutor  # noqa: E402

pytestmark = pytest.mark.slow

STORE = 200 * 2**20
"""Bytes of each node's object store."""
LEARNERS = ("linear", "decision_tree", "naive_bayes")


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


def node() -> dict[str, Any]:
    return {
        "num_cpus": 1,
        "object_store_memory": STORE,
        "include_dashboard": False,
        "include_log_monitor": False,
    }


@pytest.fixture
def third(cluster: Cluster) -> Iterator[Any]:
    """Add a node, which a test may remove."""
    made = cluster.add_node(**node())
    cluster.wait_for_nodes()
    yield made
    if made in cluster.list_all_nodes():
        cluster.remove_node(made)
    for _ in range(120):
        if sum(each["Alive"] for each in ray.nodes()) == 2:
            return
        time.sleep(0.5)
    pytest.fail("the third node is still there")


class Runner:
    """Does what the learner's name says."""

    def __init__(self, folder: Path | None = None) -> None:
        self.data = np.arange(1_000_000.0)
        self.jobs = 0
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.jobs = 0

    def __call__(self, job: Job) -> JobResult:
        self.jobs += 1
        if job.learner == "exit":
            os._exit(3)
        if job.learner == "sleep":
            if self.folder is not None:
                (self.folder / f"{job.fold} sleeps").touch()
            time.sleep(600)
        if job.learner == "nap":
            time.sleep(1)
        if job.learner == "write":
            self.data[0] = 1.0
        nodes = sorted(each["NodeID"] for each in ray.nodes() if each["Alive"])
        place = nodes.index(ray.get_runtime_context().get_node_id())
        numbers = [float(self.data.sum()), float(os.getpid()), float(self.jobs), float(place)]
        return JobResult(
            job=job,
            predictions=np.array([numbers]),
            fit_seconds=0.0,
            predict_seconds=0.0,
            bytes=0,
        )


class Unreadable:
    """A runner that cannot be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def job(learner: str, fold: int = 0) -> Job:
    return Job(member=f"{learner}-0", learner=learner, params={"a": [1]}, fold=fold, seconds=60.0)


def gather(executor: RayExecutor, number: int) -> list[JobResult]:
    results: list[JobResult] = []
    for _ in range(240):
        results += executor.collect(0.5)
        if len(results) == number:
            return results
    return pytest.fail(f"{len(results)} of {number} results after two minutes")


def await_idle(executor: RayExecutor, number: int) -> None:
    """Wait until so many worker processes are prepared."""
    for _ in range(240):
        if executor.idle == number:
            return
        assert not executor.collect(0.5)
    pytest.fail(f"{executor.idle} of {number} slots are idle after two minutes")


def await_files(folder: Path, number: int) -> None:
    for _ in range(240):
        if len(list(folder.iterdir())) == number:
            return
        time.sleep(0.5)
    pytest.fail(f"{len(list(folder.iterdir()))} of {number} jobs have started after two minutes")


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[RayExecutor]:
    made = RayExecutor(ExecutorContext(runner=Runner(), n_workers=8, n_threads=1))
    yield made
    made.close()


def test_conforms(cluster: Cluster) -> None:
    check_executor(SPEC)


def test_there_are_as_many_jobs_at_once_as_the_nodes_have_cpus(executor: RayExecutor) -> None:
    await_idle(executor, 2)
    assert SPEC.cores is not None
    assert SPEC.cores({}) == 2
    executor.submit(job("good"))
    assert executor.idle == 1
    gather(executor, 1)
    assert executor.idle == 2


def test_nodes_that_cannot_run_jobs_are_reported(cluster: Cluster) -> None:
    context = ExecutorContext(runner=Unreadable(), n_workers=1, n_threads=1)
    words = r"(?s)nodes of the Ray cluster cannot run jobs: install .*invalid literal for int"
    with pytest.raises(SettingsError, match=words):
        RayExecutor(context)


def test_both_nodes_work_and_each_process_reads_the_data_once(executor: RayExecutor) -> None:
    await_idle(executor, 2)
    places = set()
    jobs: dict[float, list[float]] = {}
    for wave in range(4):
        for fold in range(2):
            executor.submit(job("nap", 2 * wave + fold))
        for result in gather(executor, 2):
            total, process, number, place = result.predictions[0]
            assert total == np.arange(1_000_000.0).sum()
            places.add(place)
            jobs.setdefault(process, []).append(number)
    assert places == {0.0, 1.0}
    # Had a process read its runner again, it would count from one again.
    assert all(numbers == sorted(set(numbers)) for numbers in jobs.values())
    assert len(jobs) < 8


def test_a_dying_worker_costs_one_job(executor: RayExecutor) -> None:
    executor.submit(job("exit"))
    (result,) = gather(executor, 1)
    assert result.predictions is None
    assert "died" in result.error
    assert not result.lost
    executor.submit(job("good"))
    assert not gather(executor, 1)[0].error


def test_a_learner_cannot_write_into_the_shared_data(executor: RayExecutor) -> None:
    executor.submit(job("write"))
    (result,) = gather(executor, 1)
    assert "read-only" in result.error


def test_a_cancelled_job_frees_its_cpu(cluster: Cluster, tmp_path: Path) -> None:
    executor = RayExecutor(ExecutorContext(runner=Runner(tmp_path), n_workers=8, n_threads=1))
    for fold in range(2):
        executor.submit(job("sleep", fold))
    await_files(tmp_path, 2)
    for fold in range(2):
        executor.cancel(job("sleep", fold))
    await_idle(executor, 2)
    for fold in range(2):
        executor.submit(job("good", fold))
    assert sorted(result.job.fold for result in gather(executor, 2)) == [0, 1]
    executor.close()


def test_a_lost_node_costs_only_its_job(cluster: Cluster, third: Any, tmp_path: Path) -> None:
    wide = RayExecutor(ExecutorContext(runner=Runner(tmp_path), n_workers=8, n_threads=1))
    await_idle(wide, 3)
    for fold in range(3):
        wide.submit(job("sleep", fold))
    await_files(tmp_path, 3)
    cluster.remove_node(third, allow_graceful=False)
    (result,) = gather(wide, 1)
    assert result.lost
    assert result.error
    assert wide.idle == 0
    left = [job("sleep", fold) for fold in range(3) if fold != result.job.fold]
    for sleeper in left:
        wide.cancel(sleeper)
    await_idle(wide, 2)
    wide.submit(job("good"))
    assert not gather(wide, 1)[0].error
    wide.close()


def iris() -> TrialData:
    X, y = load_iris(return_X_y=True)
    names = [f"c{k}" for k in range(X.shape[1])]
    columns = tuple(Column(name=name, kind=Kind.NUMERIC, reason="") for name in names)
    return TrialData(
        columns=Columns(columns=columns, values=dict(zip(names, X.T, strict=True)), n_rows=len(y)),
        y=y,
        weight=None,
        folds=make_folds(y, Task.MULTICLASS, 0, folds=3),
        task=Task.MULTICLASS,
        n_classes=3,
        seed=0,
    )


def test_the_same_trials_give_the_same_as_in_this_process(cluster: Cluster, tmp_path: Path) -> None:
    here, home = RunDirectory(tmp_path / "here"), RunDirectory(tmp_path / "home")
    local = FoldRunner(iris(), here, PluginChoice(), 1)
    remote = RemoteFolds(FoldRunner(iris(), home, PluginChoice(learners=LEARNERS), 1))
    executor = RayExecutor(ExecutorContext(runner=local, n_workers=2, n_threads=1, remote=remote))
    specs = discover().learners
    jobs = [
        Job(
            member=f"{name}-0",
            learner=name,
            params=specs[name].portfolio[0].params,
            fold=fold,
            seconds=60.0,
        )
        for name in LEARNERS
        for fold in range(3)
    ]
    for each in jobs:
        executor.submit(each)
    results = {(r.job.member, r.job.fold): r for r in gather(executor, len(jobs))}
    executor.close()
    for each in jobs:
        expected, result = local(each), results[each.member, each.fold]
        assert not result.error
        np.testing.assert_array_equal(result.predictions, expected.predictions)
        assert result.bytes == home.fold_model(each.member, each.fold).stat().st_size
    encoders = [{path.name for path in run.root.glob("encoders/*.pkl")} for run in (here, home)]
    assert encoders[0] == encoders[1]


def test_a_run_gives_the_same_pipeline_as_inline(cluster: Cluster) -> None:
    X, y = load_iris(return_X_y=True)
    options: dict[str, Any] = {"folds": 2, "learners": ("linear",), "max_trials": 1}
    on_ray, inline = (
        automl_fuse.fit(X, y, time_limit=60, settings=Settings(**options, executor=executor))
        for executor in ("ray", "inline")
    )
    assert on_ray.report["seconds"]["workers"] == 2
    assert on_ray.predict_proba(X) == pytest.approx(inline.predict_proba(X), abs=1e-12)


def test_a_node_that_dies_in_mid_search_costs_only_its_trials(
    cluster: Cluster, third: Any, tmp_path: Path
) -> None:
    log = tmp_path / "run" / "log.jsonl"

    def kill_after_the_first_member() -> None:
        for _ in range(600):
            if log.exists() and "trial_finished" in log.read_text():
                cluster.remove_node(third, allow_graceful=False)
                return
            time.sleep(0.1)

    killer = Thread(target=kill_after_the_first_member)
    killer.start()
    X, y = load_iris(return_X_y=True)
    settings = Settings(
        executor="ray",
        learners=LEARNERS,
        compressors=(),
        max_trials=12,
        stop_after_no_gain=None,
        output=str(tmp_path / "run"),
    )
    report = automl_fuse.fit(X, y, time_limit=120, settings=settings).report
    killer.join()
    assert third not in cluster.list_all_nodes()
    errors = [failure["error"] for failure in report["failures"]]
    assert len(errors) <= 1
    assert all("NodeDiedError" in error for error in errors)
    events = Counter(json.loads(line)["event"] for line in log.read_text().splitlines())
    assert events["trial_started"] == 12
    ended = events["trial_finished"] + events["trial_stopped"] + events["trial_failed"]
    assert ended == 12


def test_a_gpu_that_is_not_there_keeps_its_job_waiting(cluster: Cluster) -> None:
    options = {"gpus": {"good": 0.5}}
    context = ExecutorContext(runner=Runner(), n_workers=2, n_threads=1, options=options)
    executor = RayExecutor(context)
    executor.submit(job("good"))
    assert not executor.collect(2.0)
    executor.close()
