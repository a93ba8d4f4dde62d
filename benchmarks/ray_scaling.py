"""What a Ray cluster carries: bytes of each message of a trial, jobs a second against nodes.

::

    python benchmarks/ray_scaling.py --tables adult california letter --nodes 1 2 3

Nodes are Ray nodes of one CPU each, all on this machine. So jobs that compute cannot go faster
than its cores; jobs that wait show what the executor and Ray themselves allow.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.metrics import loss_of, resolve
from automl_fuse.remote import RemoteFolds
from automl_fuse.run import RunDirectory
from automl_fuse.schema import infer
from automl_fuse.search.incumbent import Incumbent
from automl_fuse.specs import ExecutorContext, Job, JobResult
from automl_fuse.table import prepare
from automl_fuse.trial import FoldRunner, PluginChoice, TrialData

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automl_fuse.specs import Loss

DATA = Path(__file__).parents[2] / "shared" / "data"
LEARNERS = ("lightgbm", "linear", "extra_trees", "mlp")
STORE_BYTES = 200 * 2**20
FIT_SECONDS = 20.0
"""Seconds that one fold may take: sizes of models stop growing there, as in a short run."""


class Waits:
    """A runner that does nothing for as long as ``job.params["seconds"]`` says."""

    def __call__(self, job: Job) -> JobResult:
        """Wait; predict 10,000 rows of two classes."""
        time.sleep(job.params["seconds"])
        return JobResult(
            job=job,
            predictions=np.zeros((10_000, 2)),
            fit_seconds=job.params["seconds"],
            predict_seconds=0.0,
            bytes=0,
        )


# --------------------------------------------------------------------------- message sizes


def trial_data(folder: Path) -> tuple[TrialData, Loss]:
    """Return a table as the workers of a run get it, and its objective."""
    meta = json.loads((folder / "meta.json").read_text())
    dataset = prepare(pd.read_csv(folder / "train.csv"), target=meta["target"], task=meta["task"])
    data = TrialData(
        columns=infer(dataset.table, {}).convert(dataset.table),
        y=dataset.y,
        weight=None,
        folds=make_folds(dataset.y, dataset.task, 0),
        task=dataset.task,
        n_classes=1 if dataset.classes is None else len(dataset.classes),
        seed=0,
    )
    return data, loss_of(resolve(meta["metric"], data.task, discover().metrics), data.task)


def message_sizes(folder: Path, learners: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the bytes that travel for one fold of each learner's first configuration."""
    (data, loss), known = trial_data(folder), discover().learners
    incumbent = Incumbent(data.y, data.weight, loss, np.arange(len(data.y)))
    incumbent.absorb(np.full((len(data.y), data.n_classes), 1 / data.n_classes))
    with tempfile.TemporaryDirectory() as home:
        runner = RemoteFolds(FoldRunner(data, RunDirectory(Path(home)), PluginChoice(), 1))
        content = pickle.dumps(runner, protocol=pickle.HIGHEST_PROTOCOL)
        worker: RemoteFolds = pickle.loads(content)
        for learner in learners:
            params = known[learner].portfolio[0].params
            job = Job(
                member=f"{learner}-0", learner=learner, params=params, fold=0, seconds=FIT_SECONDS
            )
            errand = runner.errand(job)
            result, files = worker.run(errand, runner.content)
            runner.keep(files)
            if result.error or result.predictions is None:
                sys.exit(f"{learner} on {folder.name}: {result.error}")
            begun = time.perf_counter()
            incumbent.gain(result.predictions, data.folds[0].valid)
            search_seconds = time.perf_counter() - begun
            yield {
                "table": folder.name,
                "rows": len(data.y),
                "folds": len(data.folds),
                "learner": learner,
                "data_bytes": len(content),
                "job_bytes": len(pickle.dumps(errand)),
                "result_bytes": len(pickle.dumps(result)),
                "model_bytes": _sum(files, "members"),
                "encoder_bytes": _sum(files, "encoders"),
                "search_seconds": round(search_seconds, 5),
                "seconds": round(result.fit_seconds + result.predict_seconds, 3),
            }


def _sum(files: Any, folder: str) -> int:
    return sum(len(content) for name, content in files.items() if name.startswith(folder))


# --------------------------------------------------------------------------- throughput


def throughput(nodes: int, seconds: float, jobs_a_node: int) -> dict[str, Any]:
    """Return how many jobs a second go through a cluster of so many nodes of one CPU."""
    import ray
    from ray.cluster_utils import Cluster

    from automl_fuse_ray.executor import RayExecutor

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    node = {
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "include_log_monitor": False,
    }
    head = {"num_cpus": 0, "no_monitor": True, **node}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, **node)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        context = ExecutorContext(runner=Waits(), n_workers=nodes, n_threads=1)
        executor = RayExecutor(context)
        _carry_out(executor, 2 * nodes, 1.0)  # every worker process is up after that
        started = time.perf_counter()
        n_jobs = jobs_a_node * nodes
        driver = _carry_out(executor, n_jobs, seconds)
        took = time.perf_counter() - started
        executor.close()
    finally:
        ray.shutdown()
        cluster.shutdown()
    return {
        "nodes": nodes,
        "job_seconds": seconds,
        "jobs": n_jobs,
        "jobs_a_second": round(n_jobs / took, 3),
        "share_of_ideal": round(n_jobs * seconds / took / nodes, 3) if seconds else None,
        "driver_seconds_a_job": round(driver / n_jobs, 5),
    }


def _carry_out(executor: Any, n_jobs: int, seconds: float) -> float:
    """Run jobs, and return the processor seconds that this process took for them."""
    begun = time.process_time()
    waiting, done = n_jobs, 0
    while done < n_jobs:
        while waiting and executor.idle:
            waiting -= 1
            job = Job(
                member=f"m{waiting}",
                learner="waits",
                params={"seconds": seconds},
                fold=0,
                seconds=60.0,
            )
            executor.submit(job)
        for result in executor.collect(0.25):
            if result.error:
                sys.exit(result.error)
            done += 1
    return time.process_time() - begun


def main() -> None:
    """Measure, and print lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--tables", nargs="*", default=["adult", "california", "letter"])
    parser.add_argument("--learners", nargs="*", default=list(LEARNERS))
    parser.add_argument("--nodes", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--job-seconds", nargs="*", type=float, default=[0.5, 0.0])
    parser.add_argument("--jobs", type=int, default=40, help="jobs for each node")
    parser.add_argument("--output", type=Path, help="file that lines are added to")
    options = parser.parse_args()

    def tell(line: dict[str, Any]) -> None:
        text = json.dumps(line)
        print(text, flush=True)
        if options.output:
            with options.output.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")

    for table in options.tables:
        for line in message_sizes(options.data / table, options.learners):
            tell(line)
    for seconds in options.job_seconds:
        for nodes in options.nodes:
            tell(throughput(nodes, seconds, options.jobs))


if __name__ == "__main__":
    main()
