"""Kills a small run again and again at random moments, resumes it, and checks what is left.

::

    python benchmarks/kills.py --kills 200 --executor inline

After each ``kill -9`` every file of the run directory is read, and every member that the ledger
calls finished must have its predictions and models. Each run that at last completes must have the
members, scores and weights of an uninterrupted one, and a portable file that predicts as it does.
Linux alone: processes are forked.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_friedman1

import automl_fuse
from automl_fuse import Settings
from automl_fuse.errors import RunError
from automl_fuse.run import RunDirectory, load_run
from automl_fuse.search.ledger import FINISHED, OPENED, read_ledger
from automl_fuse.search.replay import kept_members

ROWS, FEATURES, TRIALS = 200, 6, 24
LEARNERS = ("linear",)
"""One alone: which of several a search draws from depends on their gains per second."""
COMPRESSORS = ("refit",)
MOST = 10
"""Kills of one run: it is then carried to its end, and another begun."""
PATIENCE = 120.0
"""Seconds that a process is given to take the run directory."""

Start = multiprocessing.get_context("fork").Process


@dataclass
class Tally:
    """What was seen."""

    kills: int = 0
    runs: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    same: int = 0
    resumed: list[float] = field(default_factory=list)


def table() -> Any:
    """Return the training table, whose target is its column ``target``."""
    X, y = make_friedman1(ROWS, FEATURES, noise=2.0, random_state=1)
    return pd.DataFrame(X, columns=[f"x{number}" for number in range(FEATURES)]).assign(target=y)


def attempt(run: Path, executor: str) -> None:
    """Begin the run, or go on with it, until it is complete."""
    settings = Settings(
        output=str(run),
        learners=LEARNERS,
        compressors=COMPRESSORS,
        fusions=("average",),
        folds=3,
        max_trials=TRIALS,
        executor=executor,
        workers=1,
        progress=False,
    )
    has_begun = RunDirectory(run).configuration.is_file()
    automl_fuse.fit(
        table(),
        target="target",
        time_limit="1h",
        prefer="quality",
        settings=settings,
        resume=run if has_begun else None,
    )


def started(run: Path, executor: str) -> Any:
    """Start an attempt in a process of its own, and return it once it holds the run."""
    process = Start(target=attempt, args=(run, executor))
    process.start()
    holder, until = RunDirectory(run).holder, time.monotonic() + PATIENCE
    while process.is_alive() and time.monotonic() < until:
        try:
            if json.loads(holder.read_text())["pid"] == process.pid:
                return process
        except (OSError, ValueError):
            pass
        time.sleep(0.002)
    return process


def check(run: Path, before: list[Any], seen: Tally) -> list[Any]:
    """Check what a killed process has left; return the ledger."""
    directory = RunDirectory(run)
    place = f"kill {seen.kills}"
    for path in run.rglob("*"):
        reason = damage(path, directory)
        if reason:
            seen.corrupt.append(f"{place}: {path.relative_to(run)}: {reason}")
    if not directory.identity.is_file():
        return []
    lines = read_ledger(directory)
    if lines[: len(before)] != before:
        seen.lost.append(f"{place}: {len(before)} lines were there, {len(lines)} are left")
    for member, folds in kept_members(lines).items():
        files = [directory.oof(member), *(directory.fold_model(member, fold) for fold in folds)]
        seen.lost += [f"{place}: {path.name} is missing" for path in files if not path.is_file()]
    seen.finished += sum(line["event"] == FINISHED for line in lines)
    return lines


def damage(path: Path, run: RunDirectory) -> str:
    """Return why a file cannot be read; what was being written has a name with a dot."""
    if not path.is_file() or path.name.startswith("."):
        return ""
    try:
        if path.suffix == ".pkl":
            run.seals.load(path)
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".onnx":
            automl_fuse.load(path)
    except (RunError, ValueError, OSError, EOFError, AttributeError, ImportError) as error:
        return str(error)
    return ""


def stage(run: Path) -> str:
    """Return at which stage a run was, by its log."""
    reached = "start"
    log = RunDirectory(run).log
    for text in log.read_bytes().split(b"\n") if log.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line.get("event") == "run_started":
            reached = "start"
        reached = line.get("stage", reached)
    return reached


def board(pipeline: Any) -> list[tuple[str, float, float]]:
    """Return each member with its score and its weight in the fusion."""
    return [(row["member"], row["score"], row["weight"]) for row in pipeline.report["leaderboard"]]


def complete(run: Path, expected: Any, seen: Tally) -> None:
    """Check a run that was carried to its end."""
    seen.runs += 1
    directory = RunDirectory(run)
    X = table().drop(columns="target")
    pipeline = load_run(run)
    found = pipeline.predict(X)
    if board(pipeline) != board(expected):
        seen.different.append(f"run {seen.runs}: other members, scores or weights")
    seen.same += np.array_equal(found, expected.predict(X))
    portable = automl_fuse.load(directory.artefact).predict(X)
    if not np.allclose(portable, found, rtol=1e-6):
        seen.different.append(f"run {seen.runs}: the portable file predicts otherwise")
    lines = read_ledger(directory)
    opened = [line["member"] for line in lines if line["event"] == OPENED]
    if len(opened) != TRIALS or len(set(opened)) != TRIALS:
        seen.lost.append(f"run {seen.runs}: {len(opened)} members were begun, not {TRIALS}")
    left = [path.name for path in run.rglob(".*") if path.is_file()]
    seen.corrupt += [f"run {seen.runs}: {name} is left" for name in left]


def one_run(
    run: Path, expected: Any, seconds: float, chance: np.random.Generator, seen: Tally, how: Any
) -> None:
    """Kill a run at random moments, until it has completed, or been killed often enough."""
    before: list[Any] = []
    last = min(how.kills, seen.kills + MOST)
    while True:
        begin = time.perf_counter()
        process = started(run, how.executor)
        is_last = seen.kills >= last
        # Half of the kills are soon, for else most would fall into the stages after the search.
        delay = seconds * chance.uniform() * chance.choice([0.1, 0.7])
        process.join(None if is_last else delay)
        if not process.is_alive():
            process.join()
            if process.exitcode:
                sys.exit(f"An attempt ended with exit code {process.exitcode}: {run} is left.")
            seen.resumed.append(time.perf_counter() - begin)
            complete(run, expected, seen)
            return
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        seen.kills += 1
        seen.stages[stage(run)] += 1
        before = check(run, before, seen)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", choices=("inline", "processes"), default="inline")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after")
    how = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    begin = time.perf_counter()
    attempt(folder / "whole", how.executor)
    seconds = time.perf_counter() - begin
    expected = load_run(folder / "whole")
    print(f"An uninterrupted run takes {seconds:.1f} s.", flush=True)
    chance, seen = np.random.default_rng(how.seed), Tally()
    while seen.kills < how.kills and time.perf_counter() - begin < how.seconds:
        run = folder / f"run-{seen.runs}"
        one_run(run, expected, seconds, chance, seen, how)
        if seen.different:
            sys.exit(f"{seen.different[-1]}: {run} and {folder / 'whole'} are left.")
        shutil.rmtree(run)
        print(f"{seen.kills} kills, {seen.runs} runs", flush=True)
    show(seen, how.executor, time.perf_counter() - begin)
    shutil.rmtree(folder)
    if seen.lost or seen.corrupt or seen.different:
        sys.exit(1)


def show(seen: Tally, executor: str, seconds: float) -> None:
    """Print what was seen as a table."""
    where = ", ".join(f"{count} at {name}" for name, count in seen.stages.most_common())
    rows = [
        ("executor", executor),
        ("kills", f"{seen.kills} ({where})"),
        ("runs carried to their end", seen.runs),
        ("finished members, summed over kills", seen.finished),
        ("finished members lost", len(seen.lost)),
        ("corrupt files", len(seen.corrupt)),
        (
            "runs with other members, scores or weights than an uninterrupted one",
            len(seen.different),
        ),
        ("runs that chose the same pipeline, for which latency counts", seen.same),
        ("seconds", f"{seconds:.0f}"),
    ]
    print("\n| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    for problem in (*seen.lost, *seen.corrupt, *seen.different):
        print(problem)


if __name__ == "__main__":
    main()
