"""Where the time of one run of automl_fuse goes.

    python benchmarks/profile_run.py --table adult --time-limit 60

reads the run's own record (``model.report["seconds"]``): the seconds that its workers spent
inside member fits and predictions, and those of each stage. It prints both and writes them into
``benchmarks/README.md`` between its markers.
"""

from __future__ import annotations

import argparse
import io
import pstats
from pathlib import Path
from typing import Any

import compare
import environments
import report

GOAL = 0.85
"""Least share of the workers' time that should go into fits and predictions."""


def share(seconds: dict[str, Any]) -> float:
    """Return the share of wall time times workers that member fits and predictions took."""
    return float(seconds["fitting"]) / (float(seconds["wall"]) * float(seconds["workers"]))


def tables(line: dict[str, Any]) -> str:
    """Return the profile of one run as Markdown.

    Parameters
    ----------
    line : dict
        The run's line of results; ``extra.seconds`` holds ``wall``, ``fitting``, ``workers``
        and ``stages`` (seconds by name).

    Returns
    -------
    str
        What was run, the share of the workers' time, and a table of the stages.
    """
    seconds = line["extra"]["seconds"]
    wall = float(seconds["wall"])
    verdict = "reached" if share(seconds) >= GOAL else "missed"
    summary = report.markdown_table(
        ["measure", "value"],
        [
            ["limit", f"{line['time_limit']:g} s"],
            ["wall, by the run's own clock", f"{wall:.2f} s"],
            ["wall, from outside", f"{line['fit_seconds']:.2f} s"],
            ["workers", f"{seconds['workers']}"],
            ["inside member fits and predictions", f"{seconds['fitting']:.2f} worker seconds"],
            [
                "**share of the workers' time**",
                f"**{share(seconds):.1%}** (goal {GOAL:.0%}, {verdict})",
            ],
        ],
    )
    stages = report.markdown_table(
        ["stage", "seconds", "share of wall"],
        [
            [name, f"{float(spent):.2f}", f"{float(spent) / wall:.1%}"]
            for name, spent in seconds["stages"].items()
        ],
    )
    head = (
        f"Table {line['table']}, seed {line['seed']}, {line['date'][:10]}, commit "
        f"{line['commit']}; {report.describe_machine(line)}."
    )
    return f"{head}\n\n{summary}\n\n{stages}"


def hottest(path: Path, count: int) -> str:
    """Return the functions of a profile in which, callees included, most time went."""
    text = io.StringIO()
    pstats.Stats(str(path), stream=text).sort_stats("cumulative").print_stats(count)
    return text.getvalue()


def main() -> None:
    """Profile one run."""
    parser = argparse.ArgumentParser(description="profile one run of automl_fuse")
    parser.add_argument("--table", default="adult")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--data", type=Path, default=compare.DATA)
    parser.add_argument("--readme", type=Path, default=report.README, help="file to write into")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    parser.add_argument(
        "--cprofile", type=Path, help="also profile the parent process into this file"
    )
    arguments = parser.parse_args()
    environments.prepare(environments.ALL["automl_fuse"])
    run = compare.Run(
        table=arguments.table,
        system="automl_fuse",
        seed=arguments.seed,
        time_limit=arguments.time_limit,
        cores=arguments.cores,
    )
    extra = ["--cprofile", str(arguments.cprofile.resolve())] if arguments.cprofile else []
    line = compare.execute(run, arguments.data.resolve(), extra)
    if line["failure"] is not None:
        raise SystemExit(f"the run failed: {line['failure']}")
    text = tables(line)
    print(text)
    if arguments.cprofile:
        print(hottest(arguments.cprofile, 30))
    if not arguments.print_only:
        report.write_between(arguments.readme, "profile", text)


if __name__ == "__main__":
    main()
