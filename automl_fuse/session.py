"""What the stages of one run share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.budget import Deadline, Stopwatch, now, usable_cores
from automl_fuse.folds import cross_fitting, seed_of
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.search.ledger import FAILED, FINISHED, STOPPED
from automl_fuse.specs import FusionContext, Settings
from automl_fuse.targets import has_tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.budget import Plan
    from automl_fuse.folds import Indices
    from automl_fuse.fronts import Limits
    from automl_fuse.fusion import Splits
    from automl_fuse.inventory import Plugins
    from automl_fuse.observers import Observers
    from automl_fuse.run import RunDirectory
    from automl_fuse.search import SearchOutcome, Way
    from automl_fuse.search.ledger import Ledger
    from automl_fuse.search.studies import Storage
    from automl_fuse.specs import Array, CompressorSpec, FusionSpec, LearnerSpec, Loss, MetricSpec
    from automl_fuse.trial import TrialData


CROSS_FITTING_SPLITS = 3
ONE_WORKER_ROWS = 200_000
"""Rows above which one worker has all threads: several would hold a large table's features several
times. Below, fits side by side are faster: 1.0 to 1.7 times in benchmarks/threads.py."""


def workers_of(settings: Settings, plugins: Plugins, n_rows: int) -> tuple[int, int]:
    """Return the number of workers for a table of so many rows, and of threads of each."""
    spec = plugins.executors.get(settings.executor)
    reached = None if spec is None else spec.cores
    cores = usable_cores() if reached is None else reached(settings.executor_options)
    few = n_rows <= ONE_WORKER_ROWS
    if settings.executor == "inline":
        return 1, 1 if few else cores
    n_workers = settings.workers or (cores if few else max(1, cores // 2))
    # A fold of a cluster runs on one of its machines, none of which may have all the cores.
    shared = min(usable_cores(), cores // n_workers)
    return n_workers, 1 if few else max(1, shared)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the stages of one run share."""

    settings: Settings
    plugins: Plugins
    fusions: tuple[FusionSpec, ...]
    compressors: tuple[CompressorSpec, ...]
    data: TrialData
    objective: MetricSpec
    run: RunDirectory
    ledger: Ledger
    storage: Storage
    watch: Stopwatch
    times: Plan
    observers: Observers
    prefer: str
    limits: Limits
    ways: tuple[Way, ...] = ()
    notes: list[str] = field(default_factory=list)
    """What jobs had to say, added to while they run; the report shows it."""

    @property
    def guide(self) -> MetricSpec:
        """The metric that members and weights are chosen by.

        Labels are too coarse to choose weights by: log-loss is used in their place, and the
        threshold is tuned to the objective last.
        """
        return METRICS["log_loss"] if self.objective.needs == "label" else self.objective

    @property
    def loss(self) -> Loss:
        """The same, lower is better, on (n_rows, n_outputs) predictions."""
        return loss_of(self.guide, self.data.task)

    @cached_property
    def workers(self) -> tuple[int, int]:
        """Number of workers, and threads of each."""
        return workers_of(self.settings, self.plugins, len(self.data.y))

    @property
    def patience(self) -> float:
        """Seconds without gain after which the search ends."""
        share = self.settings.stop_after_no_gain
        return math.inf if share is None else share * self.times.search

    @property
    def members_bytes(self) -> float:
        """Bytes that fold models and predictions of finished members may come to.

        It is half of the disk limit: features that workers share have a quarter, and the rest is
        for the table, the encoders, and the pipelines, which hold their members once more.
        """
        limit = self.settings.disk_bytes
        return math.inf if limit is None else limit / 2

    @property
    def log_targets(self) -> bool:
        """Whether the target has a tail whose logarithm is worth learning."""
        return (
            self.settings.target_transforms
            and not self.data.task.is_classification
            and has_tail(self.data.y)
        )

    def fusion_context(self, until: float) -> FusionContext:
        """Return what fusions and compressors are told; ``until`` is seconds into the run."""
        return FusionContext(
            task=self.data.task,
            n_classes=self.data.n_classes,
            loss=self.loss,
            seed=seed_of(self.data.seed, "fusion"),
            deadline=Deadline(until - self.watch.seconds()),
        )

    def splits(self, y: Array) -> Splits:
        """Return rows that choose weights, and rows that score them, in turn."""
        return cross_fitting(y, CROSS_FITTING_SPLITS, seed_of(self.data.seed, "fusion"))

    def sampled(self, y: Array, most: int) -> tuple[Indices, Splits]:
        """Return at most about so many rows of a target, and their splits."""
        parts = max(1, -(-len(y) // most))
        seed = seed_of(self.data.seed, "fusion")
        few = np.arange(len(y)) if parts == 1 else cross_fitting(y, parts, seed)[0][1]
        return few, self.splits(y[few])

    def started(self, learners: Sequence[LearnerSpec]) -> None:
        """Tell the observers what begins."""
        details: dict[str, Any] = {
            "started": now(),
            "time_limit": self.times.limit,
            "task": str(self.data.task),
            "metric": self.guide.name,
            "greater_is_better": self.guide.greater_is_better,
            "rows": len(self.data.y),
            "columns": len(self.data.columns.columns),
            "folds": len(self.data.folds),
            "learners": [spec.name for spec in learners],
        }
        if self.ledger.lines:
            events = [line["event"] for line in self.ledger.lines]
            details["resumed"] = {end: events.count(end) for end in (FINISHED, STOPPED, FAILED)}
        self.observers("run_started", details)

    def enters(self, stage: str) -> None:
        """Tell the observers which stage begins."""
        self.observers("stage_started", {"stage": stage})

    def seconds(self, outcome: SearchOutcome, ends: Mapping[str, float]) -> dict[str, Any]:
        """Return where the time went; ``ends`` says when each stage ended, in their order."""
        wall = self.watch.seconds()
        n_workers, n_threads = self.workers
        moments = {"start": outcome.started, **ends, "save": wall}
        begins = [0.0, *moments.values()]
        return {
            "limit": self.times.limit,
            "wall": wall,
            "fitting": outcome.busy_seconds,
            "workers": n_workers,
            "threads": n_threads,
            "stages": {
                name: end - begin
                for (name, end), begin in zip(moments.items(), begins, strict=False)
            },
        }
