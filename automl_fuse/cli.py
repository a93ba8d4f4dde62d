"""The command line: ``automl-fuse fit``, ``predict``, ``evaluate``, ``leaderboard``, ``plugins``.

Results go to standard output, everything else to standard error. Exit codes are those of
``EXIT_CODES``. Heavy imports happen inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse import errors
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from automl_fuse.pipeline import Pipeline

OK, UNEXPECTED, USAGE, DATA, NOTHING_FITTED, FILES, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

INDENT = " " * 9
TASKS = ("binary", "multiclass", "classification", "regression")

EXIT_CODES = {
    OK: "success",
    UNEXPECTED: "an unexpected error: please report it",
    USAGE: "wrong options, settings or plugins",
    DATA: "a table that cannot be used",
    NOTHING_FITTED: "no member could be fitted",
    FILES: "a run directory or saved pipeline that cannot be used",
    INTERRUPTED: "interrupted",
}

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.DataError, DATA),
    (errors.NothingFittedError, NOTHING_FITTED),
    (errors.RunError, FILES),
    (errors.ArtefactError, FILES),
    (errors.AutoFuseError, USAGE),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except errors.AutoFuseError as error:
        print(f"automl-fuse: {error}", file=sys.stderr)
        return next(code for kind, code in _CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        print("automl-fuse: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `automl-fuse leaderboard run | head`.
        sys.stderr.close()
        return OK
    return OK


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="automl-fuse",
        description="Search for models, fuse them, and keep one pipeline that predicts.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"automl-fuse {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_fit, _add_predict, _add_evaluate, _add_leaderboard, _add_plugins):
        add(commands)
    return parser


def _add_command(commands: Any, name: str, command: Callable[..., None], text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


def _add_fit(commands: Any) -> None:
    parser = _add_command(commands, "fit", _fit, "fit a pipeline on a CSV or Parquet file")
    add = parser.add_argument
    add("table", help="CSV or Parquet file with the training rows")
    add("--target", required=True, help="column to predict")
    add("--output", required=True, help="run directory to write: new or empty")
    add("--time-limit", type=float, default=60.0, metavar="SECONDS", help="default: 60")
    add("--metric", help="objective: a metric, or a scikit-learn scorer by name")
    add("--task", choices=TASKS, help="default: by the target")
    add("--weights", metavar="COLUMN", help="column of sample weights")
    add("--groups", metavar="COLUMN", help="column whose groups stay on one side of a fold")
    add("--time-column", metavar="COLUMN", help="validate on rows later than the training rows")
    add("--folds", type=int, help="number of folds; default: by the size of the table")
    add("--kind", action="append", default=[], metavar="COLUMN=KIND", help="kind of a column")
    add("--learners", type=_names, metavar="A,B", help="only these learners")
    add("--fusions", type=_names, metavar="A,B", help="only these fusions")
    add("--plugins", type=_names, default=(), metavar="A,B", help="plugin modules to import")
    add("--block-plugins", type=_names, default=(), metavar="A,B", help="plugins to leave out")
    add("--require-plugins", type=_names, default=(), metavar="A,B", help="end if one fails")
    add("--max-trials", type=int, help="members to try, at most")
    add("--seed", type=int, default=0, help="default: 0")
    add("--executor", default="processes", help="where trials run; default: processes")
    add("--workers", type=int, help="worker processes; default: one a core")
    add("--quiet", action="store_true", help="no progress line")


def _add_predict(commands: Any) -> None:
    parser = _add_command(commands, "predict", _predict, "predict the rows of a file")
    parser.add_argument("model", help="run directory or saved pipeline")
    parser.add_argument("table", help="CSV or Parquet file")
    parser.add_argument("--output", help="CSV file to write instead of standard output")
    parser.add_argument("--proba", action="store_true", help="class probabilities, not labels")


def _add_evaluate(commands: Any) -> None:
    parser = _add_command(commands, "evaluate", _evaluate, "score a pipeline on labelled rows")
    parser.add_argument("model", help="run directory or saved pipeline")
    parser.add_argument("table", help="CSV or Parquet file with the target column")


def _add_leaderboard(commands: Any) -> None:
    parser = _add_command(commands, "leaderboard", _leaderboard, "list a run's members")
    parser.add_argument("model", help="run directory or saved pipeline")


def _add_plugins(commands: Any) -> None:
    text = "list plugins: found, failed, missing a dependency"
    parser = _add_command(commands, "plugins", _plugins, text)
    actions = parser.add_subparsers(metavar="ACTION")
    new = actions.add_parser("new", help="write a plugin package to start from")
    new.set_defaults(command=_new_plugin)
    new.add_argument("name", help="name of the plugin, such as my_learners")
    new.add_argument("--folder", default=".", help="where to put it; default: here")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _fit(options: argparse.Namespace) -> None:
    from automl_fuse.engine import fit
    from automl_fuse.specs import Settings

    settings = Settings(
        task=options.task,
        kinds=_kinds(options.kind),
        folds=options.folds,
        time_column=options.time_column,
        learners=options.learners,
        fusions=options.fusions,
        plugins=options.plugins,
        block_plugins=options.block_plugins,
        require_plugins=options.require_plugins,
        max_trials=options.max_trials,
        seed=options.seed,
        output=options.output,
        executor=options.executor,
        workers=options.workers,
        progress=False if options.quiet else None,
    )
    model = fit(
        options.table,
        target=options.target,
        time_limit=options.time_limit,
        metric=options.metric,
        sample_weight=options.weights,
        groups=options.groups,
        settings=settings,
    )
    saved = str(Path(options.output) / "pipeline")
    if options.json:
        _print_json({"pipeline": saved, **model.report})
        return
    print_summary(model)
    print(f"\nSaved in {saved}")


def _kinds(pairs: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for pair in pairs:
        name, separator, kind = pair.rpartition("=")
        if not separator:
            raise errors.SettingsError(f"--kind {pair!r} is not of the form COLUMN=KIND.")
        kinds[name] = kind
    return kinds


def _predict(options: argparse.Namespace) -> None:
    import pandas as pd

    model = _load(options.model)
    if options.proba:
        probabilities = model.predict_proba(options.table)
        labels = [] if model.classes_ is None else [str(label) for label in model.classes_]
        table = pd.DataFrame(probabilities, columns=labels)
    else:
        table = pd.DataFrame({model.target: model.predict(options.table)})
    if options.output:
        try:
            table.to_csv(options.output, index=False)
        except OSError as error:
            raise errors.RunError(
                f"Cannot write {options.output}: {error.strerror or error}."
            ) from error
        print(f"{len(table)} rows written to {options.output}", file=sys.stderr)
    elif options.json:
        print(table.to_json(orient="records"))
    else:
        table.to_csv(sys.stdout, index=False)


def _evaluate(options: argparse.Namespace) -> None:
    scores = _load(options.model).evaluate(options.table)
    if options.json:
        _print_json(scores)
        return
    for name, value in scores.items():
        print(f"{name:<18} {value:.6g}")


def _leaderboard(options: argparse.Namespace) -> None:
    model = _load(options.model)
    if options.json:
        _print_json(model.report["leaderboard"])
        return
    print_summary(model)


def _plugins(options: argparse.Namespace) -> None:
    from automl_fuse.host import discover

    plugins = discover()
    if options.json:
        _print_json(plugins.as_dict())
        return
    width = shutil.get_terminal_size().columns
    for row in plugins.as_rows():
        origin = " ".join(part for part in (row["distribution"], row["version"]) if part)
        print(f"{row['status']:<8} {row['plugin']:<16} {origin or '-'}")
        print(textwrap.fill(row["note"], width, initial_indent=INDENT, subsequent_indent=INDENT))


def _new_plugin(options: argparse.Namespace) -> None:
    from automl_fuse.scaffold import write_plugin

    written = [str(path) for path in write_plugin(options.name, Path(options.folder))]
    if options.json:
        _print_json(written)
        return
    print("\n".join(written))


def _load(path: str) -> Pipeline:
    """Load a saved pipeline, or the one inside a run directory."""
    from automl_fuse.artefact import MANIFEST, load

    inside = Path(path) / "pipeline"
    return load(inside if (inside / MANIFEST).is_file() else path)


def print_summary(model: Pipeline) -> None:
    """Print the leaderboard, the fusion and its cross-fitted score."""
    report = model.report
    print(_table(model.leaderboard()))
    fusion = report["fusion"]
    print(
        f"\nFused by {fusion['method']} of {fusion['members']} members: "
        f"{report['metric']} {report['score']:.6g} (cross-fitted)"
    )
    trials = report["trials"]
    print(
        f"{trials['finished']} members finished, {trials['stopped']} stopped early, "
        f"{trials['failed']} failed, in {report['seconds']['wall']:.1f} s"
    )
    for failure in report["failures"]:
        reason = failure["error"].strip().rsplit("\n", 1)[-1]
        print(f"  {failure['member']} failed: {reason}")


def _table(board: pd.DataFrame) -> str:
    formats: dict[str, Callable[[Any], str]] = {
        "score": "{:.6g}".format,
        "std": "{:.2g}".format,
        "fit_s": "{:.1f}".format,
        "predict_s": "{:.2f}".format,
        "bytes": "{:,.0f}".format,
        "weight": "{:.3f}".format,
    }
    return board.to_string(index=False, formatters=formats)


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=1, default=str))


if __name__ == "__main__":
    sys.exit(main())
