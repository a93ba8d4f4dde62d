"""Turns the lines of ``deployment.py``, and of the peers, into Markdown tables.

    python benchmarks/report_deployment.py DEPLOYMENT.jsonl PEERS.jsonl

prints them: ``PEERS.jsonl`` is what ``compare.py --systems flaml autogluon_best`` wrote. With
``--readme`` they also go between the markers ``deployment`` of a Markdown file.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import report
from deployment_results import BALANCED, BEST_PEER, ENSEMBLE, FORMS, PEERS, SPEED, bars, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from deployment_results import Figure, Line, Table

MOST_SPEED_US = 50.0
MOST_SPEED_BYTES = 1e6
MOST_SPEED_LOSS = 0.03
MOST_PARITY = 1e-6


# --------------------------------------------------------------------------- tables


def figures(
    tables: Sequence[Table], measure: str, columns: Sequence[str], form: Callable[[float], str]
) -> str:
    """Return a measure of several forms and peers, a row for each table."""
    rows = []
    for table in tables:
        values = [table.of(column, measure) for column in columns]
        cells = [
            table.state(column) if value is None else form(value)
            for column, value in zip(columns, values, strict=True)
        ]
        rows.append([table.name, *cells])
    return report.markdown_table(["table", *columns], rows)


def score_table(tables: Sequence[Table]) -> str:
    """Return the scores on the test rows."""
    columns = (*FORMS, *PEERS)
    rows = []
    for table in tables:
        arrow = "↑" if table.metric == "roc_auc" else "↓"
        values = [(column, table.of(column, "score")) for column in columns]
        cells = [table.state(c) if value is None else score(value) for c, value in values]
        rows.append([f"{table.name} ({table.metric} {arrow})", *cells])
    return report.markdown_table(["table", *columns], rows)


def score(value: float) -> str:
    """Return a score as text."""
    return format(value, ".5f" if value < 10 else ".3f" if value < 1000 else ",.1f")


def artefact_table(tables: Sequence[Table]) -> str:
    """Return what only artefacts have: parity, time inside onnxruntime, seconds to load."""
    header = [
        "table", "parity", "unlike labels", "loss of balanced", "loss of speed",
        "balanced, one row, session µs", "inside µs", "speed, one row, session µs", "inside µs",
        "balanced, 10,000 rows inside, s", "load, s",
    ]  # fmt: skip
    rows = []
    for table in tables:
        cells: list[tuple[Figure, Callable[[float], str]]] = [
            (table.worst("parity_relative"), "{:.1e}".format),
            (table.worst("unlike_labels"), "{:.0f}".format),
            (table.loss(BALANCED), "{:+.2%}".format),
            (table.loss(SPEED), "{:+.2%}".format),
            (table.ours(BALANCED, "one_row_session_us"), "{:,.1f}".format),
            (table.ours(BALANCED, "one_row_inside_us"), "{:,.1f}".format),
            (table.ours(SPEED, "one_row_session_us"), "{:,.1f}".format),
            (table.ours(SPEED, "one_row_inside_us"), "{:,.1f}".format),
            (table.ours(BALANCED, "batch_inside_seconds"), "{:,.3f}".format),
            (table.ours(BALANCED, "load_seconds"), "{:,.3f}".format),
        ]
        rows.append([table.name, *(report.ABSENT if v is None else form(v) for v, form in cells)])
    return report.markdown_table(header, rows)


def pipeline_table(tables: Sequence[Table]) -> str:
    """Return which pipelines were chosen, of the first seed."""
    rows = []
    for table in tables:
        line = table.lines[0]
        forms = {} if line["failure"] else line["forms"]
        cells = [
            f"{forms[name]['pipeline']} ({forms[name]['models']})" if name in forms else "-"
            for name in FORMS
        ]
        rows.append([table.name, *cells])
    return report.markdown_table(["table", *FORMS], rows)


def summary_table(tables: Sequence[Table]) -> str:
    """Return medians over tables of AutoGluon best by balanced, and of the loss, with bars."""
    header = ["figure", "median", "bar", "", "tables that meet it", "worst table"]
    return report.markdown_table(header, [bar.row() for bar in bars(tables)])


def speed_summary(tables: Sequence[Table]) -> str:
    """Say on how many tables ``speed`` is fast, small and good enough, and all at once."""
    limits: list[tuple[str, Callable[[Table], Figure], float]] = [
        (f"one row ≤ {MOST_SPEED_US:g} µs inside onnxruntime",
         lambda t: t.ours(SPEED, "one_row_inside_us"), MOST_SPEED_US),
        ("≤ 1 MB", lambda t: t.ours(SPEED, "bytes"), MOST_SPEED_BYTES),
        (f"loss ≤ {MOST_SPEED_LOSS:.0%} against our ensemble, test rows",
         lambda t: t.loss(SPEED), MOST_SPEED_LOSS),
    ]  # fmt: skip
    met = [
        [(value := of(table)) is not None and value <= limit for _, of, limit in limits]
        for table in tables
    ]
    rows = [
        [name, f"{sum(each[position] for each in met)} of {len(met)}"]
        for position, (name, _, _) in enumerate(limits)
    ]
    rows.append(["all three", f"**{sum(all(each) for each in met)} of {len(met)}**"])
    return report.markdown_table(["`speed`", "tables"], rows)


def parity_sentence(tables: Sequence[Table]) -> str:
    """Say how far artefacts are from the pipelines that they were saved from, at worst."""
    worst = [w for t in tables if (w := t.worst("parity_relative")) is not None]
    unlike = [w for t in tables if (w := t.worst("unlike_labels")) is not None]
    largest = max(worst, default=math.nan)
    verdict = "met" if largest <= MOST_PARITY and not any(unlike) else "**missed**"
    return (
        f"Parity over all artefacts and test rows: {largest:.1e} at most (bar {MOST_PARITY:g}), "
        f"{sum(unlike):.0f} unlike labels (bar 0): {verdict}."
    )


def section(tables: Sequence[Table]) -> str:
    """Return the whole report."""
    lines = [line for table in tables for line in table.lines]
    peers = [line for table in tables for group in table.peers.values() for line in group]
    columns = (ENSEMBLE, BALANCED, SPEED, *PEERS)
    parts = [
        f"### Deployment, {lines[0]['time_limit']:g} s",
        conditions(lines, peers),
        f"{BEST_PEER} by `balanced`, median over tables:",
        summary_table(tables),
        speed_summary(tables),
        parity_sentence(tables),
        "Score on the test rows:",
        score_table(tables),
        "One row from a frame, ms:",
        figures(tables, "one_row_ms", columns, "{:,.3f}".format),
        "10,000 rows from a frame, s:",
        figures(tables, "batch_seconds", columns, "{:,.3f}".format),
        "Bytes to predict, kB:",
        figures(tables, "bytes", columns, lambda value: f"{value / 1e3:,.1f}"),
        "The artefacts:",
        artefact_table(tables),
        "Pipelines chosen (number of models):",
        pipeline_table(tables),
    ]
    return "\n\n".join([*parts, *failures(lines, peers)])


def conditions(lines: Sequence[Line], peers: Sequence[Line]) -> str:
    """Say when and on what the runs were made, and where ours and the peers' differ in that."""
    parts = []
    for name, group in (("automl_fuse", lines), ("peers", peers)):
        if group:
            machines = "; ".join(sorted({report.describe_machine(line) for line in group}))
            dates = sorted({line["date"][:10] for line in group})
            parts.append(f"{name}: {machines}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}")
    commits = ", ".join(sorted({line["commit"] for line in lines}))
    seeds = ", ".join(map(str, sorted({line["seed"] for line in lines})))
    return f"{'. '.join(parts)}. Seed {seeds}, commit {commits}."


def failures(lines: Sequence[Line], peers: Sequence[Line]) -> list[str]:
    """List what failed."""
    notes = [
        f"- {line['system']} on {line['table']}, seed {line['seed']}: {_last(line['failure'])}"
        for line in (*lines, *peers)
        if line["failure"]
    ]
    notes += [
        f"- {name} on {line['table']}, seed {line['seed']}: {_last(form['failure'])}"
        for line in lines
        if not line["failure"]
        for name, form in line["forms"].items()
        if form.get("failure")
    ]
    return ["Failures:\n\n" + "\n".join(notes)] if notes else []


def _last(text: str) -> str:
    return str(text).strip().splitlines()[-1][:200]


def read(paths: Iterable[Path]) -> list[Line]:
    """Read lines of JSON."""
    return [json.loads(text) for path in paths for text in path.read_text().splitlines()]


def main() -> None:
    """Print the report of the files named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("deployment", type=Path, help="file that deployment.py wrote")
    parser.add_argument("peers", nargs="*", type=Path, help="files that compare.py wrote")
    parser.add_argument("--readme", type=Path, help="also write into this file's markers")
    arguments = parser.parse_args()
    peers = [line for line in read(arguments.peers) if line["system"] in PEERS]
    text = section(gather(read([arguments.deployment]), peers))
    print(text)
    if arguments.readme:
        report.write_between(arguments.readme, "deployment", text)


if __name__ == "__main__":
    main()
