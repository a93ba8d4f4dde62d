"""How time and memory grow with the rows of a table, from 1,000 to 1,000,000.

    python benchmarks/growth.py --rows 1000 10000 100000 1000000 --plot growth.png

makes a table of 30 columns for each size and gives it to automl_fuse, with its defaults, in a
process of its own. It prints one line of Markdown a size, appends one line of JSON each to the
output, and draws both on logarithmic axes.

What comes before the search is given in CPU seconds; it runs in one process. All other seconds
are of the wall clock. Memory is that of all processes of the run together, shared pages divided,
sampled once a second. What the 1,000 rows take is mostly interpreters and libraries: the ratio to
the bytes of the table is shown with and without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import processes
import report
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = NDArray[np.float64]

RUNNER = Path(__file__).parent / "runners" / "run_growth.py"
ROWS = (1_000, 10_000, 100_000, 1_000_000)
TEST_ROWS = 20_000
N_NUMBERS = 20
LEVELS = (3, 6, 12, 30, 80, 200)
"""Categories of each category column."""
FIRST_GOAL = 15.0
"""Seconds within which a first member should be finished."""
MEMORY_GOAL = 4.0
"""Memory, at most, as a multiple of the table."""


def make_table(n_rows: int, seed: int) -> tuple[pd.DataFrame, Floats]:
    """Return a table of 30 columns and a target, and the probability of each row's "yes".

    20 numbers (skewed, rounded, some missing, some correlated), 6 categories of 3 to 200 levels
    of falling frequency, 2 booleans, 1 time, and a target of two classes that depends on some of
    each, on products of two and on the hour.
    """
    rng = np.random.default_rng([seed, n_rows])
    base = rng.normal(size=(n_rows, N_NUMBERS))
    base[:, 5:10] += 0.8 * base[:, :5]
    effects = np.random.default_rng(0)
    score = 0.9 * base[:, 0] - 0.7 * base[:, 1] * base[:, 2] + 0.6 * (base[:, 3] > 0.5)
    score += 0.5 * np.sin(2 * base[:, 4]) + 0.15 * base[:, 10:].sum(axis=1)
    columns: dict[str, Any] = _numbers(base, rng)
    for position, size in enumerate(LEVELS):
        codes, names = _category(n_rows, size, rng)
        score += 0.5 * effects.normal(size=size)[codes] * (1 + 0.5 * (position % 2) * base[:, 0])
        columns[f"category {position}"] = names[codes]
    for position in range(2):
        flag = rng.random(n_rows) < 0.3
        score += 0.4 * flag * base[:, position]
        columns[f"flag {position}"] = flag
    minutes = rng.integers(0, 3 * 365 * 24 * 60, n_rows)
    score += 0.6 * np.cos(2 * np.pi * (minutes / 60 % 24) / 24)
    columns["time"] = np.datetime64("2022-01-01", "us") + minutes.astype("timedelta64[m]")
    probability = 1 / (1 + np.exp(-score))
    columns["target"] = np.where(rng.random(n_rows) < probability, "yes", "no")
    return pd.DataFrame(columns), probability


def _numbers(base: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    columns = {f"number {i}": base[:, i].copy() for i in range(N_NUMBERS)}
    for i in range(0, N_NUMBERS, 4):
        columns[f"number {i}"] = np.round(np.exp(base[:, i]), 2)
    for i in range(2, N_NUMBERS, 6):
        columns[f"number {i}"][rng.random(len(base)) < 0.1] = np.nan
    return columns


def _category(
    n_rows: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    frequency = 1 / np.arange(1, size + 1)
    codes = rng.choice(size, n_rows, p=frequency / frequency.sum())
    return codes, np.array([f"level {i:03d}" for i in range(size)], dtype=object)


def measure(n_rows: int, time_limit: float, seed: int, scratch: Path) -> dict[str, Any]:
    """Return one line of results.

    Parameters
    ----------
    n_rows : int
        Training rows; 20,000 more are tested on.
    time_limit : float
        Seconds of the fit.
    seed : int
        Of the table and of the run.
    scratch : Path
        An empty folder.
    """
    frame, probability = make_table(n_rows + TEST_ROWS, seed)
    frame.iloc[:n_rows].reset_index(drop=True).to_pickle(scratch / "table.pkl")
    test = frame.iloc[n_rows:].reset_index(drop=True)
    test.to_pickle(scratch / "test.pkl")
    likely = probability[n_rows:]
    least = -np.log(np.where(test["target"] == "yes", likely, 1 - likely)).mean()
    del frame
    before, _ = _child("stages", scratch, time_limit, ())
    options = ("--test", str(scratch / "test.pkl"), "--time-limit", f"{time_limit}")
    run, peak = _child("fit", scratch, time_limit, (*options, "--seed", f"{seed}"))
    finished = [e["seconds"] for e in run["events"] if e["event"] == "trial_finished"]
    return {
        "rows": n_rows,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "time_limit": time_limit,
        "table_bytes": run["table_bytes"],
        "peak_bytes": peak,
        "stages": before["stages"],
        "first_member": min(finished, default=None),
        "least_loss": float(least),
        **{key: run[key] for key in ("fit_seconds", "members", "folds", "seconds", "loss")},
    }


def _child(
    what: str, scratch: Path, time_limit: float, options: Sequence[str]
) -> tuple[dict[str, Any], int | None]:
    """Run the runner; return its result and its peak of memory."""
    result, log = scratch / f"{what}.json", scratch / f"{what}.log"
    table = str(scratch / "table.pkl")
    command = [sys.executable, str(RUNNER), what, table, str(result), *options]
    outcome = processes.run(command, log, 4 * time_limit + 120)
    if not result.exists():
        raise SystemExit(f"{what} failed:\n{log.read_text(errors='replace')[-2000:]}")
    return json.loads(result.read_text(encoding="utf-8")), outcome.peak_bytes


def table_of(lines: Sequence[dict[str, Any]]) -> str:
    """Return the results as a table of Markdown, fewest rows first."""
    ordered = sorted(lines, key=lambda line: line["rows"])
    fixed = ordered[0]["peak_bytes"] or 0
    return report.markdown_table(
        [
            "rows", "table", "read to folds, CPU", "first member", "wall", "members x folds",
            "peak", "peak / table", "less that of the first line", "log-loss", "least possible",
        ],
        [
            [
                f"{line['rows']:,}",
                f"{line['table_bytes'] / 1e6:.1f} MB",
                f"{sum(line['stages'].values()):.2f} s",
                "none" if line["first_member"] is None else f"{line['first_member']:.1f} s",
                f"{line['fit_seconds']:.1f} s",
                f"{line['members']} x {line['folds']}",
                f"{(line['peak_bytes'] or 0) / 1e6:,.0f} MB",
                f"{(line['peak_bytes'] or 0) / line['table_bytes']:.1f}",
                f"{((line['peak_bytes'] or 0) - fixed) / line['table_bytes']:.1f}",
                f"{line['loss']:.4f}",
                f"{line['least_loss']:.4f}",
            ]
            for line in ordered
        ],
    )  # fmt: skip


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw seconds and bytes against rows, both axes logarithmic, beside straight lines."""
    from matplotlib.figure import Figure

    ordered = sorted(lines, key=lambda line: line["rows"])
    rows = np.array([line["rows"] for line in ordered], dtype=np.float64)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    times, memory = figure.subplots(1, 2)
    for stage in ordered[0]["stages"]:
        times.plot(rows, [line["stages"][stage] for line in ordered], "o-", ms=4, label=stage)
    first = [line["first_member"] or np.nan for line in ordered]
    times.plot(rows, first, "ks-", ms=5, label="first member")
    times.axhline(FIRST_GOAL, color="grey", ls=":", label=f"{FIRST_GOAL:g} s")
    times.plot(rows, 1e-6 * rows, color="grey", ls="--", lw=0.8, label="linear")
    times.set_ylabel("seconds (of CPU, but for the first member)")
    table = np.array([line["table_bytes"] for line in ordered]) / 1e6
    peak = np.array([line["peak_bytes"] or np.nan for line in ordered]) / 1e6
    memory.plot(rows, table, "o-", ms=4, label="table")
    memory.plot(rows, peak, "ks-", ms=5, label="peak of all processes")
    memory.plot(rows, MEMORY_GOAL * table, color="grey", ls=":", label=f"{MEMORY_GOAL:g} x table")
    memory.set_ylabel("MB")
    for axes in (times, memory):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure each size, print and draw."""
    parser = argparse.ArgumentParser(description="time and memory against rows")
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of each fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="append one line of JSON a size to this file")
    parser.add_argument("--plot", type=Path, help="draw into this PNG, SVG or PDF file")
    arguments = parser.parse_args()
    lines = []
    for n_rows in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            line = measure(n_rows, arguments.time_limit, arguments.seed, Path(folder))
        lines.append(line)
        print(table_of([line]).splitlines()[-1], flush=True)
        if arguments.output:
            with arguments.output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
    print("\n" + table_of(lines))
    if arguments.plot:
        draw(lines, arguments.plot)


if __name__ == "__main__":
    main()
