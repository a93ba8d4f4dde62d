"""Whether limits hold over many runs, and whether anything grows over many searches.

::

    python benchmarks/reliability.py limits --runs 50 --seconds 10 120
    python benchmarks/reliability.py soak --seconds 3600

``limits`` runs the tables in turn, each time in a process of its own, with time limits spread
evenly over the range and memory limits taken in turn. It prints the worst overrun and the largest
share of a memory limit that all processes of a run held, sampled five times a second.

``soak`` searches one small table after the other in a single process, and prints how much more it
holds at the end than in the middle: memory, open files, threads, processes, temporary files.

Each run, or search, is a line of JSON in the output.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import processes

import automl_fuse
from automl_fuse.errors import AutoFuseError
from automl_fuse.processes import proportional
from automl_fuse.units import to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DATA = Path(__file__).parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
TABLES = (
    "adult", "abalone", "bikeshare", "california", "credit-g", "diamonds", "hypothyroid", "letter",
    "phoneme", "telco",
)  # fmt: skip
MEMORY = ("1500MB", "2GB", "3GB")
SAMPLE_SECONDS = 0.2
GRACE = 60.0
"""Seconds beyond its limit after which a run is killed."""
ALLOWED_SHARE, ALLOWED_SECONDS = 0.03, 2.0
"""Overrun that is allowed: the larger of a share of the limit and some seconds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """One run, as ``limits`` plans it."""

    table: str
    seconds: float
    memory: str
    seed: int


def plan(tables: Sequence[str], n_runs: int, seconds: tuple[float, float]) -> Iterator[Limits]:
    """Yield runs: tables and memory limits in turn, time limits from the shortest to the longest.

    Consecutive runs take time limits from all over the range, so that no table has the short
    ones only.
    """
    limits = np.linspace(*seconds, n_runs).round(1)
    stride = next(s for s in (7, 11, 13, 17) if n_runs % s)
    for run in range(n_runs):
        yield Limits(
            table=tables[run % len(tables)],
            seconds=float(limits[run * stride % n_runs]),
            memory=MEMORY[run % len(MEMORY)],
            seed=run,
        )


def run_limits(arguments: argparse.Namespace) -> None:
    """Run all and print the worst."""
    lines = []
    for number, run in enumerate(plan(arguments.tables, arguments.runs, arguments.seconds), 1):
        line = _measured(run, arguments.data, arguments.workers)
        lines.append(line)
        _append(arguments.output, line)
        print(f"{number}/{arguments.runs} {_told(line)}", file=sys.stderr, flush=True)
    good = [line for line in lines if line["failure"] is None]
    late = [line for line in good if line["overrun"] > _allowed(line["seconds"])]
    over = [line for line in good if line["peak_share"] > 1]
    print(f"{len(lines)} runs, {len(lines) - len(good)} without a pipeline")
    for line in lines:
        if line["failure"] is not None:
            print(f"  {line['table']}, {line['seconds']:g} s, {line['memory']}: {line['failure']}")
    if good:
        worst = max(good, key=lambda line: line["overrun"])
        peak = max(good, key=lambda line: line["peak_share"])
        print(f"worst overrun: {worst['overrun']:.2f} s of {worst['seconds']:g} s ({_told(worst)})")
        print(f"{len(late)} beyond the larger of {ALLOWED_SHARE:.0%} and {ALLOWED_SECONDS:g} s")
        print(f"largest share of the memory limit: {peak['peak_share']:.1%} ({_told(peak)})")
        print(f"{len(over)} beyond it")


def _allowed(seconds: float) -> float:
    return max(ALLOWED_SHARE * seconds, ALLOWED_SECONDS)


def _told(line: dict[str, Any]) -> str:
    what = f"{line['table']}, {line['seconds']:g} s, {line['memory']}"
    if line["failure"] is not None:
        return f"{what}: {line['failure']}"
    return f"{what}: {line['wall']:.2f} s, {line['peak_share']:.0%} of the memory"


def _measured(run: Limits, data: Path, workers: int) -> dict[str, Any]:
    """Fit in a process of its own; return a line of results."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        given = {**asdict(run), "data": str(data / run.table), "workers": workers}
        outcome = processes.run(
            [sys.executable, Path(__file__).resolve(), "one", json.dumps(given), told],
            Path(folder) / "log",
            run.seconds + GRACE,
            sample_seconds=SAMPLE_SECONDS,
            memory_of=proportional,
        )
        log = (Path(folder) / "log").read_text(errors="replace")
        line: dict[str, Any] = {"failure": log.strip()[-300:] or f"exit code {outcome.code}"}
        if told.exists():
            line = json.loads(told.read_text())
    peak = outcome.peak_bytes or 0
    share = peak / to_bytes(run.memory)
    return {**asdict(run), **line, "peak_bytes": peak, "peak_share": share}


def run_one(arguments: argparse.Namespace) -> None:
    """Fit once, and write how long that took."""
    given = json.loads(arguments.given)
    folder = Path(given["data"])
    meta = json.loads((folder / "meta.json").read_text())
    settings = automl_fuse.Settings(
        memory_limit=given["memory"],
        output=str(arguments.told.parent / "run"),
        progress=False,
        seed=given["seed"],
        workers=given["workers"],
    )
    start = time.monotonic()
    try:
        model = automl_fuse.fit(
            folder / "train.csv",
            target=meta["target"],
            metric=meta["metric"],
            time_limit=given["seconds"],
            settings=settings,
        )
    except AutoFuseError as error:
        arguments.told.write_text(json.dumps({"failure": f"{type(error).__name__}: {error}"}))
        return
    wall = time.monotonic() - start
    line = {
        "failure": None,
        "wall": wall,
        "overrun": max(0.0, wall - given["seconds"]),
        "score": model.report["score"],
        "stages": dict(model.report["seconds"]["stages"]),
        "trials": dict(model.report["trials"]),
        "failed": [f["error"].strip().splitlines()[-1] for f in model.report["failures"]],
    }
    arguments.told.write_text(json.dumps(line))


# --------------------------------------------------------------------------- soak


def run_soak(arguments: argparse.Namespace) -> None:
    """Search again and again; print what grew."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        start, number = time.monotonic(), 0
        while time.monotonic() - start < arguments.seconds:
            failure = _search(number, arguments.time_limit)
            line = {"search": number, "elapsed": time.monotonic() - start, "failure": failure}
            line |= _held(Path(folder))
            lines.append(line)
            _append(arguments.output, line)
            number += 1
        tempfile.tempdir = None
    failed = sum(line["failure"] is not None for line in lines)
    told = f"{len(lines)} searches in {lines[-1]['elapsed']:.0f} s"
    print(f"{told}, {failed} without a pipeline")
    part = max(1, len(lines) // 4)
    for name in ("memory", "files", "threads", "processes", "disk"):
        middle = float(np.median([line[name] for line in lines[part : 2 * part] or lines]))
        end = float(np.median([line[name] for line in lines[-part:]]))
        unit, scale = ("MB", 1e6) if name in {"memory", "disk"} else ("", 1)
        first = lines[0][name] / scale
        print(f"{name}: {first:.1f} {unit} after the first, {middle / scale:.1f} {unit} in the "
              f"second quarter, {end / scale:.1f} {unit} in the last")  # fmt: skip


def _search(number: int, seconds: float) -> str | None:
    """Search a small table: every third time in this process, and of another task each time.

    Returns why there is no pipeline, or None.
    """
    rng = np.random.default_rng(number)
    table = pd.DataFrame(rng.normal(size=(400, 5)), columns=list("abcde"))
    table["word"] = rng.choice(["x", "y", "z"], 400)
    score = table["a"] - table["b"] + (table["word"] == "x")
    table["target"] = score if number % 2 else np.where(score > 0, "yes", "no")
    settings = automl_fuse.Settings(
        executor="inline" if number % 3 == 2 else "processes",
        learners=("decision_tree", "extra_trees", "lightgbm", "linear"),
        max_trials=6,
        progress=False,
        seed=number,
        workers=1,
    )
    try:
        model = automl_fuse.fit(table, target="target", time_limit=seconds, settings=settings)
    except AutoFuseError as error:
        return f"{type(error).__name__}: {error}"[:300]
    model.predict(table)
    return None


def _held(folder: Path) -> dict[str, int]:
    """Return what this process holds now."""
    gc.collect()
    here = os.getpid()
    running = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    children = {pid for pid in running if _parent(pid) == here}
    return {
        "memory": proportional(here),
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "processes": len(children),
        "disk": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


# --------------------------------------------------------------------------- command line


def _append(output: Path, line: dict[str, Any]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    limits = commands.add_parser("limits", help="time and memory limits over many runs")
    limits.add_argument("--runs", type=int, default=50)
    limits.add_argument("--seconds", type=float, nargs=2, default=(10.0, 120.0))
    limits.add_argument("--tables", nargs="+", default=TABLES, metavar="TABLE")
    limits.add_argument("--workers", type=int, default=2)
    limits.add_argument("--data", type=Path, default=DATA, help="folder of the table folders")
    limits.add_argument("--output", type=Path, default=RESULTS / "limits.jsonl")
    limits.set_defaults(run=run_limits)
    soak = commands.add_parser("soak", help="what grows over many searches")
    soak.add_argument("--seconds", type=float, default=3_600.0)
    soak.add_argument("--time-limit", type=float, default=20.0, help="seconds of each search")
    soak.add_argument("--output", type=Path, default=RESULTS / "soak.jsonl")
    soak.set_defaults(run=run_soak)
    one = commands.add_parser("one", help="one run of limits")
    one.add_argument("given")
    one.add_argument("told", type=Path)
    one.set_defaults(run=run_one)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
