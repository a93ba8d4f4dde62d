"""``automl-fuse fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse import errors
from automl_fuse.cli.console import say, say_json
from automl_fuse.cli.options import TABLE, add_command, add_limits, limits, names
from automl_fuse.cli.predicting import say_summary

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

TASKS = ("binary", "multiclass", "classification", "regression")


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "fit a pipeline on a CSV or Parquet file"
    parser = add_command(commands, "fit", _fit, text)
    add = parser.add_argument
    add("table", help=f"{TABLE} with the training rows")
    add("--target", required=True, help="column to predict")
    add("--output", required=True, help="run directory to write: new or empty")
    add("--time-limit", type=float, default=60.0, metavar="SECONDS", help="default: 60")
    add("--metric", help="objective: a metric, or a scikit-learn scorer by name")
    add_limits(parser)
    add("--task", choices=TASKS, help="default: by the target")
    add("--weights", metavar="COLUMN", help="column of sample weights")
    add("--groups", metavar="COLUMN", help="column whose groups stay on one side of a fold")
    add("--time-column", metavar="COLUMN", help="validate on rows later than the training rows")
    add("--folds", type=int, help="number of folds; default: by the size of the table")
    add("--kind", action="append", default=[], metavar="COLUMN=KIND", help="kind of a column")
    add("--learners", type=names, metavar="A,B", help="only these learners")
    add("--fusions", type=names, metavar="A,B", help="only these fusions")
    add("--compressors", type=names, metavar="A,B", help="only these compressors")
    add("--plugins", type=names, default=(), metavar="A,B", help="plugin modules to import")
    add("--block-plugins", type=names, default=(), metavar="A,B", help="plugins to leave out")
    add("--require-plugins", type=names, default=(), metavar="A,B", help="end if one fails")
    add("--max-trials", type=int, help="members to try, at most")
    add("--seed", type=int, default=0, help="default: 0")
    add("--executor", default="processes", help="where trials run; default: processes")
    add("--workers", type=int, help="worker processes; default: one a core")
    add("--quiet", action="store_true", help="no progress line")


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
        compressors=options.compressors,
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
        **limits(options),
    )
    file = Path(options.output) / "model.onnx"
    saved = str(file) if file.is_file() else None
    if options.json:
        say_json({"artefact": saved, **model.report})
        return
    say_summary(model.report)
    say(f"\nSaved in {saved or options.output}")


def _kinds(pairs: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for pair in pairs:
        name, separator, kind = pair.rpartition("=")
        if not separator:
            raise errors.SettingsError(f"--kind {pair!r} is not of the form COLUMN=KIND.")
        kinds[name] = kind
    return kinds
