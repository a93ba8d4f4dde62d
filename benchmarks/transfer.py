"""What an earlier run is worth to a later one: a task split in two.

    python benchmarks/transfer.py --data ../shared/data --tables letter adult --seeds 0 1
        [--split rows] [--earlier-limit 60] [--later-limit 20] [--later-share 0.1] [--workers 1]

Of each table's training rows nine tenths make the earlier task and one tenth the later; with
``--split classes`` the earlier task has half of the classes, and the later one a tenth of the rows
of the other half. The later run is fitted from scratch and from the earlier one, with all
learners and with networks alone, and scored on the table's test rows, as is the earlier pipeline
where it knows the classes. Prints a row of Markdown a fit; scores are those of the table's metric.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import automl_fuse
from automl_fuse import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.pipeline import Pipeline

NETWORKS = ("realmlp", "tabm", "ft_transformer")
LEARNERS: dict[str, tuple[str, ...] | None] = {"all": None, "networks": NETWORKS}


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """The two halves of a task, and the rows that judge the later one."""

    earlier: pd.DataFrame
    later: pd.DataFrame
    test: pd.DataFrame
    target: str
    metric: str


def split(folder: Path, kind: str, share: float, seed: int) -> Tasks:
    """Return the halves of a table's training rows, and its test rows."""
    meta = json.loads((folder / "meta.json").read_text())
    train, test = (pd.read_csv(folder / f"{name}.csv") for name in ("train", "test"))
    train = train.sample(frac=1.0, random_state=seed)
    n_later = round(share * len(train))
    later, earlier = train[:n_later], train[n_later:]
    if kind == "classes":
        labels = np.random.default_rng(seed).permutation(train[meta["target"]].unique())
        known = set(labels[: len(labels) // 2])
        earlier = earlier[earlier[meta["target"]].isin(known)]
        later, test = (rows[~rows[meta["target"]].isin(known)] for rows in (later, test))
    return Tasks(
        earlier=earlier, later=later, test=test, target=meta["target"], metric=meta["metric"]
    )


def fitted(
    rows: pd.DataFrame,
    tasks: Tasks,
    seconds: float,
    settings: Settings,
    source: Pipeline | None = None,
) -> Pipeline:
    """Fit on rows, from an earlier pipeline if there is one."""
    return automl_fuse.fit(
        rows,
        target=tasks.target,
        time_limit=seconds,
        metric=tasks.metric,
        prefer="quality",
        transfer_from=source,
        settings=settings,
    )


def results(arguments: argparse.Namespace, table: str, seed: int) -> Iterator[tuple[str, ...]]:
    """Fit and score one table with one seed; yield a row for each fit."""
    tasks = split(arguments.data / table, arguments.split, arguments.later_share, seed)
    for name in arguments.learners:
        settings = Settings(
            learners=LEARNERS[name],
            seed=seed,
            workers=arguments.workers,
            executor=arguments.executor,
            compressors=(),
            progress=False,
        )
        earlier = fitted(tasks.earlier, tasks, arguments.earlier_limit, settings)
        scratch = fitted(tasks.later, tasks, arguments.later_limit, settings)
        transfer = fitted(tasks.later, tasks, arguments.later_limit, settings, earlier)
        shown = {"scratch": scratch, "transfer": transfer}
        if arguments.split == "rows":
            shown["earlier itself"] = earlier
        for label, model in shown.items():
            score = model.evaluate(tasks.test)[tasks.metric]
            own = float(model.report["score"])
            yield table, str(seed), name, label, tasks.metric, f"{score:.4f}", f"{own:.4f}"


def main() -> None:
    """Run the tables of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of tables")
    add("--tables", nargs="+", default=["letter", "adult"])
    add("--seeds", nargs="+", type=int, default=[0])
    add("--split", choices=("rows", "classes"), default="rows")
    add("--learners", nargs="+", choices=list(LEARNERS), default=list(LEARNERS))
    add("--earlier-limit", type=float, default=60.0, help="seconds of the earlier run")
    add("--later-limit", type=float, default=20.0, help="seconds of each later run")
    add("--later-share", type=float, default=0.1, help="rows of the later task")
    add("--workers", type=int, default=1)
    add("--executor", default="processes", help="inline on a machine that is busy")
    arguments = parser.parse_args()
    print("| table | seed | learners | fit | metric | test rows | out of fold |")
    print("|---|---|---|---|---|---|---|")
    for table in arguments.tables:
        for seed in arguments.seeds:
            for row in results(arguments, table, seed):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
