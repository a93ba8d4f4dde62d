"""``automl-fuse predict``, ``evaluate`` and ``leaderboard``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse import errors
from automl_fuse.cli.console import fused_by, say, say_json, say_table, warn
from automl_fuse.cli.options import MODEL, TABLE, add_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from typing import TextIO

    from automl_fuse.artefact import PortablePipeline
    from automl_fuse.pipeline import Pipeline

BOARD: Mapping[str, Callable[[Any], str]] = {
    "score": "{:.6g}".format,
    "std": "{:.2g}".format,
    "fit_s": "{:.1f}".format,
    "predict_s": "{:.2f}".format,
    "bytes": "{:,.0f}".format,
    "weight": "{:.3f}".format,
}
"""How the numbers of a leaderboard are written."""


def add_to(commands: Any) -> None:
    """Add the commands."""
    parser = add_command(commands, "predict", _predict, "predict the rows of a file")
    parser.add_argument("model", help=MODEL)
    parser.add_argument("table", help=TABLE)
    parser.add_argument("--output", help="CSV file to write instead of standard output")
    parser.add_argument("--proba", action="store_true", help="class probabilities, not labels")
    text = "score a pipeline on labelled rows"
    parser = add_command(commands, "evaluate", _evaluate, text)
    parser.add_argument("model", help=MODEL)
    parser.add_argument("table", help=f"{TABLE} with the target column")
    parser = add_command(commands, "leaderboard", _leaderboard, "list a run's members")
    parser.add_argument("model", help=MODEL)


def open_model(path: str) -> PortablePipeline | Pipeline:
    """Load a portable file, the one of a run directory, or the Python objects of a run."""
    from automl_fuse.artefact import FILE, load

    folder = Path(path)
    if folder.is_dir() and not (folder / FILE).is_file():
        from automl_fuse.run import load_run

        return load_run(path)
    return load(path)


def _predict(options: argparse.Namespace) -> None:
    model = open_model(options.model)
    if options.proba:
        probabilities = model.predict_proba(options.table)
        header = [] if model.classes_ is None else [str(label) for label in model.classes_]
        rows = probabilities.tolist()
    else:
        header = [model.target]
        rows = [[label] for label in model.predict(options.table).tolist()]
    if options.output:
        _write(options.output, header, rows)
        warn(f"{len(rows)} rows written to {options.output}")
    elif options.json:
        say_json([dict(zip(header, row, strict=True)) for row in rows])
    else:
        _write_rows(sys.stdout, header, rows)


def _write(path: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            _write_rows(stream, header, rows)
    except OSError as error:
        raise errors.RunError(f"Cannot write {path}: {error.strerror or error}.") from error


def _write_rows(stream: TextIO, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _evaluate(options: argparse.Namespace) -> None:
    scores = open_model(options.model).evaluate(options.table)
    if options.json:
        say_json(scores)
        return
    for name, value in scores.items():
        say(f"{name:<18} {value:.6g}")


def _leaderboard(options: argparse.Namespace) -> None:
    report = open_model(options.model).report
    if options.json:
        say_json(report.get("leaderboard", []))
        return
    say_summary(report)


def say_summary(report: Mapping[str, Any]) -> None:
    """Print the leaderboard, what was made of it, and its score."""
    say_table(report.get("leaderboard", []), BOARD)
    fusion, score = report.get("fusion"), report.get("score")
    how = f"{fused_by(fusion)}: " if fusion else ""
    value = "undefined" if score is None else format(score, ".6g")
    say(f"\n{how}{report['metric']} {value}, on rows that did not train it")
    trials = report["trials"]
    say(
        f"{trials['finished']} members finished, {trials['stopped']} stopped early, "
        f"{trials['failed']} failed, in {report['seconds']['wall']:.1f} s"
    )
    if trials.get("gainless_seconds") is not None:
        say(
            f"The search ended by itself: for {trials['gainless_seconds']:.0f} s nothing had "
            "raised the ensemble (--stop-after-no-gain none goes on)"
        )
    for failure in report["failures"]:
        reason = failure["error"].strip().rsplit("\n", 1)[-1]
        say(f"  {failure['member']} failed: {reason}")
