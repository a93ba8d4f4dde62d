"""Turns the lines that ``compare.py`` wrote into Markdown tables.

    python benchmarks/report.py benchmarks/results/compare-60s.jsonl

prints them and writes them into ``benchmarks/README.md`` between its markers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

README = Path(__file__).resolve().parent / "README.md"
OURS = "automl_fuse"
FAILED = "failed"
ABSENT = "-"
SMALLEST_ERROR = 1e-12
MEBIBYTE = 2**20

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The runs of one system on one table, over its seeds.

    Attributes
    ----------
    lines : tuple of dict
        Lines of the results, one a seed.
    """

    lines: tuple[Line, ...]

    @property
    def failed(self) -> bool:
        """Whether any seed failed."""
        return any(line["failure"] is not None for line in self.lines)

    def mean(self, name: str) -> float:
        """Return the mean of a measure over the seeds."""
        return fmean(float(line[name]) for line in self.lines)

    @property
    def error(self) -> float:
        """Mean of 1 - ROC AUC, log-loss or RMSE: less is better; infinite after a failure."""
        if self.failed:
            return math.inf
        score = self.mean("score")
        return 1.0 - score if self.lines[0]["metric"] == "roc_auc" else score

    @property
    def overrun(self) -> float:
        """Most seconds beyond the limit among the runs that ended by themselves."""
        return max(
            (
                line["fit_seconds"] - line["time_limit"]
                for line in self.lines
                if line["failure"] is None
            ),
            default=math.nan,
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """All runs of one time limit: ``cells[table, system]``."""

    tables: tuple[str, ...]
    systems: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]

    def row(self, table: str) -> dict[str, Cell]:
        """Return the cells of one table by system."""
        return {s: self.cells[table, s] for s in self.systems if (table, s) in self.cells}

    @property
    def complete(self) -> list[str]:
        """Tables on which every system was run."""
        return [table for table in self.tables if len(self.row(table)) == len(self.systems)]


def gather(lines: Iterable[Line]) -> Results:
    """Order lines by table and system; of repeated runs the last counts."""
    latest = {(line["table"], line["system"], line["seed"]): line for line in lines}
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for (table, system, _), line in latest.items():
        groups[table, system].append(line)
    return Results(
        tables=tuple(dict.fromkeys(table for table, _ in groups)),
        systems=tuple(dict.fromkeys(system for _, system in groups)),
        cells={key: Cell(lines=tuple(group)) for key, group in groups.items()},
    )


def ranks(errors: Sequence[float]) -> list[float]:
    """Rank errors from 1, the least; equal ones share the mean of their places."""
    return [
        sum(other < error for other in errors) + (sum(other == error for other in errors) + 1) / 2
        for error in errors
    ]


def best_other(row: dict[str, Cell], system: str) -> float:
    """Return the least error among the other systems on one table."""
    return min((cell.error for name, cell in row.items() if name != system), default=math.inf)


def mean_ranks(results: Results) -> dict[str, float]:
    """Return each system's mean rank over the tables on which all systems were run."""
    places: dict[str, list[float]] = defaultdict(list)
    for table in results.complete:
        row = results.row(table)
        for system, place in zip(row, ranks([c.error for c in row.values()]), strict=True):
            places[system].append(place)
    return {system: fmean(places[system]) for system in results.systems if places[system]}


def wins(results: Results, system: str) -> tuple[int, int]:
    """Return on how many tables a system's error is below all others', and of how many."""
    rows = [results.row(table) for table in results.complete]
    return sum(row[system].error < best_other(row, system) for row in rows), len(rows)


def error_ratio(results: Results, system: str) -> tuple[float, int]:
    """Return the geometric mean of error over the best other system's, and of how many tables.

    Tables on which the system, or every other, failed cannot enter it.
    """
    pairs = [
        (results.row(table)[system].error, best_other(results.row(table), system))
        for table in results.complete
    ]
    logs = [
        math.log(max(own, SMALLEST_ERROR) / max(other, SMALLEST_ERROR))
        for own, other in pairs
        if math.isfinite(own) and math.isfinite(other)
    ]
    return (math.exp(fmean(logs)) if logs else math.nan), len(logs)


# --------------------------------------------------------------------------- Markdown


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    rule = [":--", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def score_table(results: Results) -> str:
    """Return the scores on the test rows, the best of each table in bold."""
    rows = []
    for table in results.tables:
        row = results.row(table)
        least = min(cell.error for cell in row.values())
        metric = next(iter(row.values())).lines[0]["metric"]
        arrow = "↑" if metric == "roc_auc" else "↓"
        rows.append(
            [f"{table} ({metric} {arrow})", *(_score(row.get(s), least) for s in results.systems)]
        )
    return markdown_table(["table", *results.systems], rows)


def _score(cell: Cell | None, least: float) -> str:
    """Format the score of one cell."""
    if cell is None:
        return ABSENT
    if cell.failed:
        return FAILED
    score = cell.mean("score")
    text = format(score, ".5f" if score < 10 else ".3f" if score < 1000 else ",.1f")
    return f"**{text}**" if cell.error == least else text


def measure_table(results: Results, measure: Callable[[Cell], float], form: str) -> str:
    """Return a measure of every cell, formatted by a format specification."""

    def text(cell: Cell | None) -> str:
        if cell is None:
            return ABSENT
        return FAILED if cell.failed else format(measure(cell), form)

    rows = [
        [table, *(text(results.row(table).get(s)) for s in results.systems)]
        for table in results.tables
    ]
    return markdown_table(["table", *results.systems], rows)


def summary_table(results: Results) -> str:
    """Return the figures over all tables, one row a system."""
    header = [
        "system",
        "mean rank",
        "tables won",
        "error ratio to the best other",
        "worst overrun s",
        "failed runs",
    ]
    places = mean_ranks(results)
    rows = []
    for system in sorted(results.systems, key=lambda name: places.get(name, math.inf)):
        cells = [cell for (_, name), cell in results.cells.items() if name == system]
        won, of = wins(results, system)
        ratio, counted = error_ratio(results, system)
        overruns = [cell.overrun for cell in cells if not math.isnan(cell.overrun)]
        rows.append(
            [
                f"**{system}**" if system == OURS else system,
                f"{places[system]:.2f}" if system in places else ABSENT,
                f"{won} of {of}",
                f"{ratio:.3f} ({counted})" if counted else ABSENT,
                f"{max(overruns):+.1f}" if overruns else ABSENT,
                str(sum(line["failure"] is not None for cell in cells for line in cell.lines)),
            ]
        )
    return markdown_table(header, rows)


def _has_extra(results: Results, name: str) -> bool:
    """Whether a system reported a measure that others have no use for."""
    lines = [line for cell in results.cells.values() for line in cell.lines]
    return any(name in line.get("extra", {}) for line in lines)


def _unloaded_ms(cell: Cell) -> float:
    """Return the mean ms of one row with the models still on disk, where that is possible."""
    return fmean(
        line["extra"].get("one_row_unloaded_ms", line["one_row_ms"]) for line in cell.lines
    )


def _full_mebibytes(cell: Cell) -> float:
    """Return the mean MiB of everything a fit left behind, or of the saved model."""
    sizes = [line["extra"].get("full_bytes", line["bytes"]) for line in cell.lines]
    return fmean(sizes) / MEBIBYTE


def section(results: Results) -> str:
    """Return all tables of one time limit."""
    lines = [line for cell in results.cells.values() for line in cell.lines]
    limit = lines[0]["time_limit"]
    seeds = sorted({line["seed"] for line in lines})
    parts = [
        f"### {limit:g} s",
        _conditions(lines, seeds),
        summary_table(results),
        "Score on the test rows:",
        score_table(results),
        "Wall seconds of the fit:",
        measure_table(results, lambda cell: cell.mean("fit_seconds"), ".1f"),
        "One row, ms:",
        measure_table(results, lambda cell: cell.mean("one_row_ms"), ",.2f"),
        "10,000 rows, s:",
        measure_table(results, lambda cell: cell.mean("batch_seconds"), ",.3f"),
        "On disk to predict, MiB:",
        measure_table(results, lambda cell: cell.mean("bytes") / MEBIBYTE, ",.2f"),
    ]
    if _has_extra(results, "one_row_unloaded_ms"):
        parts += [
            "One row by a system that reads its models at each call (its default), ms:",
            measure_table(results, _unloaded_ms, ",.2f"),
        ]
    if _has_extra(results, "full_bytes"):
        parts += ["On disk after the fit, MiB:", measure_table(results, _full_mebibytes, ",.2f")]
    if all(line.get("peak_bytes") for line in lines):
        parts += [
            "Peak memory of all processes, MiB:",
            measure_table(results, lambda cell: cell.mean("peak_bytes") / MEBIBYTE, ",.0f"),
        ]
    return "\n\n".join([*parts, *_notes(results)])


def _conditions(lines: Sequence[Line], seeds: Sequence[int]) -> str:
    """Say when, on what and with which versions the runs were made."""
    machines = sorted({describe_machine(line) for line in lines})
    dates = sorted({line["date"][:10] for line in lines})
    period = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    commits = sorted({line["commit"] for line in lines if line["system"] == OURS})
    commit = f" Commit of {OURS}: {', '.join(commits)}." if commits else ""
    noun = "seed" if len(seeds) == 1 else "seeds"
    return f"{'; '.join(machines)}. {period}, {noun} {', '.join(map(str, seeds))}.{commit}"


def describe_machine(line: Line) -> str:
    """Describe the machine of one run."""
    machine = line["machine"]
    memory = machine["memory_bytes"]
    size = f", {memory / 2**30:.0f} GiB memory" if memory else ""
    return f"{machine['processor']}, {line['cores']} of {machine['cores']} cores used{size}"


def _notes(results: Results) -> list[str]:
    """List the failures, and the tables that not all systems were run on."""
    notes = [
        f"- {system} on {table}, seed {line['seed']}: {_last_line(line['failure'])}"
        for (table, system), cell in results.cells.items()
        for line in cell.lines
        if line["failure"] is not None
    ]
    missing = [table for table in results.tables if table not in results.complete]
    blocks = ["Failures:\n\n" + "\n".join(notes)] if notes else []
    if missing:
        blocks.append(f"Not in the ranks, as some system was not run: {', '.join(missing)}.")
    return blocks


def _last_line(text: str) -> str:
    """Return the last line of a failure's text, at most 200 characters of it."""
    return text.strip().splitlines()[-1][:200]


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between two markers of a file.

    Parameters
    ----------
    path : Path
        A Markdown file that holds ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.
    name : str
        Name of the markers.
    text : str
        What to put between them.

    Raises
    ------
    ValueError
        If the file lacks the markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    content = path.read_text(encoding="utf-8")
    head, found_begin, rest = content.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"{path} lacks the markers {begin} and {end}: add them")
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def main() -> None:
    """Print the report of the files named; write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", nargs="+", type=Path, help="files that compare.py wrote")
    parser.add_argument("--readme", type=Path, default=README, help="file to write into")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    arguments = parser.parse_args()
    by_limit: dict[float, list[Line]] = defaultdict(list)
    for path in arguments.results:
        for text in path.read_text().splitlines():
            line = json.loads(text)
            by_limit[line["time_limit"]].append(line)
    report = "\n\n".join(section(gather(by_limit[limit])) for limit in sorted(by_limit))
    print(report)
    if not arguments.print_only:
        write_between(arguments.readme, "results", report)


if __name__ == "__main__":
    main()
