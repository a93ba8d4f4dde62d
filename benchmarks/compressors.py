"""What every compressor makes of one teacher: scores, bytes and time, before and after.

    python benchmarks/compressors.py --tables adult california letter

fits automl_fuse once a table, carries out what each compressor proposes first, and prints a table
of all that was made. It appends one line of JSON for each table to the output; ``--print-only``
prints what is there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compare
import report

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLES = ("adult", "california", "letter")
SYSTEM = compare.System(
    name="automl_fuse",
    environment="automl_fuse",
    runner="run_compressors.py",
    patience=600.0,
)


def summary(line: dict[str, Any]) -> str:
    """Describe a finished run."""
    return f"{len(line['made'])} made, {len(line['failures'])} failed, {line['fit_seconds']:.0f} s"


def section(line: dict[str, Any]) -> str:
    """Return the Markdown of one table.

    Parameters
    ----------
    line : dict
        As ``run_compressors.py`` wrote it.

    Returns
    -------
    str
        The teacher, all that was made of it, and the pipelines of the front.
    """
    if line["failure"]:
        return f"### {line['table']}\n\nFailed: {line['failure']}"
    teacher = line["teacher"]
    arrow = "↑" if line["metric"] == "roc_auc" else "↓"
    head = (
        f"### {line['table']} ({line['metric']} {arrow}), {line['time_limit']:g} s, seed "
        f"{line['seed']}\n\nCommit {line['commit']}, {report.describe_machine(line)}, "
        f"{line['date'][:10]}. Teacher: {teacher['members']} members, {teacher['models']} fold "
        f"models, cross-validated {number(teacher['cv'])}, test {number(teacher['test'])}, "
        f"{kilobytes(teacher['bytes'])} kB, {microseconds(teacher['us'])} µs."
    )
    parts = [head, made_table(line["made"]), "The engine's front:", front_table(line["front"])]
    if line["failures"]:
        failures = sorted(set(line["failures"]))
        listed = "\n".join(f"- {text[:200]}" for text in failures[:12])
        parts.append(f"Could not be made or written ({len(failures)}):\n\n{listed}")
    return "\n\n".join(parts)


def made_table(made: Iterable[dict[str, Any]]) -> str:
    """Return all that was made, by compressor, each figure before → after."""
    header = ["compressor", "made", "from", "models", "CV", "test", "kB", "µs, one row"]
    rows = []
    for each in sorted(made, key=lambda each: str(each["compressor"])):
        before, after = each["before"], each["after"]
        forms = {"cv": number, "test": number, "bytes": kilobytes, "us": microseconds}
        changes = [f"{form(before[key])} → {form(after[key])}" for key, form in forms.items()]
        models = f"{before['models']} → {after['models']}"
        rows.append([each["compressor"], each["name"], each["source"], models, *changes])
    return report.markdown_table(header, rows)


def front_table(front: Iterable[dict[str, Any]]) -> str:
    """Return the pipelines of the front; costs that were only estimated are marked."""
    header = ["pipeline", "members", "models", "CV", "test", "kB", "µs, one row"]
    rows = []
    for row in front:
        about = "" if row.get("measured", True) else "about "
        size, latency = row["size_mb"], row["latency_ms"]
        costs = [
            kilobytes(None if size is None else 1e6 * size),
            microseconds(None if latency is None else 1e3 * latency),
        ]
        named = [str(row[key]) for key in ("pipeline", "members", "models")]
        scores = [number(row[key]) for key in ("score", "test")]
        rows.append([*named, *scores, *(f"{about}{cost}" for cost in costs)])
    return report.markdown_table(header, rows)


def number(value: float | None) -> str:
    """Return a score with five significant digits."""
    return report.ABSENT if value is None else f"{value:.5g}"


def kilobytes(value: float | None) -> str:
    """Return bytes as kilobytes of 1000."""
    return report.ABSENT if value is None else f"{value / 1e3:,.1f}"


def microseconds(value: float | None) -> str:
    """Return microseconds."""
    return report.ABSENT if value is None else f"{value:,.1f}"


def main() -> None:
    """Run what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    compare.add_arguments(parser, TABLES)
    parser.add_argument(
        "--print-only", type=Path, metavar="FILE", help="print this file's tables, run nothing"
    )
    known, _ = parser.parse_known_args()
    output = known.print_only
    if output is None:
        arguments = compare.read_arguments(parser, "compressors")
        compare.run_all([SYSTEM], arguments, summary)
        output = arguments.output
    lines = [json.loads(text) for text in output.read_text().splitlines()]
    latest = {(line["table"], line["seed"], line["time_limit"]): line for line in lines}
    print("\n\n".join(section(line) for line in latest.values()))


if __name__ == "__main__":
    main()
