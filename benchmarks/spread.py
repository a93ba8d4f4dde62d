"""One LightGBM model over several Ray nodes of one CPU: seconds, memory, bytes, loss.

::

    python benchmarks/spread.py --rows 200000 --features 20 --trees 60 --nodes 1 2

All nodes are on this machine, which should have a core for each: this shows what a fit over nodes
costs and gives, not what a network does to it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import sys
import time
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from automl_fuse.budget import Deadline
from automl_fuse.specs import FitContext, Matrix, Rows, Task
from automl_fuse_boosting import lightgbm_distributed
from automl_fuse_boosting.lightgbm_distributed import Rank
from automl_fuse_boosting.lightgbm_learner import POINTS

STORE_BYTES = 500 * 2**20


class Watched(Rank):
    """A rank that tells how much memory its process took at most."""

    def peak(self) -> int:
        """Return bytes."""
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Watching:
    """A cluster whose crews are asked for their memory when they are done."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.peaks: list[int] = []
        self.muster_seconds = 0.0

    def muster(self, _make: Any, seconds: float) -> Any:
        """Start a crew that is watched."""
        begun = time.perf_counter()
        crew = self._inner.muster(Watched, seconds)
        self.muster_seconds = time.perf_counter() - begun
        if crew is None:
            sys.exit(self._inner.notes[-1])
        end = crew.close

        def close() -> None:
            self.peaks = crew.call("peak")
            end()

        crew.close = close
        return crew


def table(n_rows: int, n_features: int) -> tuple[Any, Any]:
    """Return made rows of two classes, most of what tells them in a few features."""
    random = np.random.default_rng(0)
    X = random.normal(size=(n_rows, n_features))
    score = X[:, 0] + np.sin(2 * X[:, 1]) + X[:, 2] * X[:, 3] + random.normal(size=n_rows)
    return X, (score > 0).astype(int)


def measured(cluster: Any, rows: tuple[Rows, Rows, Rows], trees: int) -> dict[str, Any]:
    """Return what a fit took, and its loss on rows that it has not seen."""
    train, valid, rest = rows
    params = {**POINTS[0][1], "features": "plain", "learning_rate": 0.1, "trees": trees}
    context = FitContext(
        task=Task.BINARY,
        n_classes=2,
        seed=0,
        n_threads=1,
        deadline=Deadline(3_600.0),
        cluster=cluster,
    )
    learner = lightgbm_distributed.SPEC.build(params, context)
    begun = time.perf_counter()
    learner.fit(train, valid)
    seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 2),
        "loss": round(log_loss(rest.y, learner.predict(rest.X)), 5),
    }


def started(nodes: int) -> Any:
    """Start a Ray cluster of nodes with one CPU, and connect to it."""
    import ray
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    node = {
        "num_cpus": 1,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "include_log_monitor": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args={**node, "no_monitor": True})
    for _ in range(nodes - 1):
        cluster.add_node(**node)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    return cluster


def main() -> None:
    """Measure, and print lines of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--trees", type=int, default=60)
    parser.add_argument("--nodes", nargs="*", type=int, default=[1, 2])
    options = parser.parse_args()
    import ray

    from automl_fuse_ray.crews import Post, RayCluster

    X, y = table(options.rows, options.features)
    names = tuple(f"f{k}" for k in range(options.features))
    ends = [int(share * options.rows) for share in (0.0, 0.8, 0.9, 1.0)]
    rows = tuple(
        Rows(
            X=Matrix(values=X[start:end], names=names, cardinalities=(0,) * len(names)),
            y=y[start:end],
            weight=None,
        )
        for start, end in itertools.pairwise(ends)
    )
    alone = measured(None, rows, options.trees)
    print(json.dumps({"where": "this process", **alone}), flush=True)
    for nodes in options.nodes:
        cluster = started(nodes)
        try:
            posts = [Post(node=each["NodeID"], n_cpus=1) for each in ray.nodes()]
            watching = Watching(RayCluster(posts))
            found = measured(watching, rows, options.trees)
            told = {
                "where": f"{nodes} nodes",
                **found,
                "muster_seconds": round(watching.muster_seconds, 2),
                "rows_bytes_a_node": 8 * ends[1] * (options.features + 1) // nodes,
                "peak_bytes": watching.peaks,
            }
            print(json.dumps(told), flush=True)
        finally:
            ray.shutdown()
            cluster.shutdown()


if __name__ == "__main__":
    main()
