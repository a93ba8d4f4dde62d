"""``automl-fuse fit``."""

from __future__ import annotations

import argparse
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse import errors
from automl_fuse.cli.console import say, say_json, warn
from automl_fuse.cli.finishing import Ended, add_finishing, tell
from automl_fuse.cli.options import (
    TABLE,
    add_command,
    add_limits,
    names,
    share_or_none,
    size,
    time,
)
from automl_fuse.cli.predicting import say_summary
from automl_fuse.cli.signals import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.configuration import Configuration
    from automl_fuse.pipeline import Pipeline

TASKS = ("binary", "multiclass", "classification", "regression")

NEEDED = {"data": "a table", "target": "--target", "output": "--output"}
"""What a run on the command line cannot do without, and how it is given there."""


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "fit a pipeline on a CSV or Parquet file"
    parser = add_command(commands, "fit", _fit, text)
    # What is not given leaves no trace, so that it does not override the configuration.
    given = parser.add_argument_group("options of the run", argument_default=argparse.SUPPRESS)
    add = given.add_argument
    add("data", nargs="?", metavar="TABLE", help=f"{TABLE} with the training rows")
    add("--target", help="column to predict")
    add("--output", help="run directory to write: new or empty")
    add("--time-limit", type=time, metavar="TIME", help="60, 90m, 8h, 1h30m; default: 60 seconds")
    text = "earlier run directory or portable file to start from"
    add("--transfer-from", metavar="RUN", help=text)
    add("--memory-limit", type=size, metavar="SIZE", help="12GB, of all processes together")
    add("--disk-limit", type=size, metavar="SIZE", help="20GB, of the run directory, about")
    add("--storage", metavar="URL", help="database of the studies, such as sqlite:///studies.db")
    add("--metric", help="objective: a metric, or a scikit-learn scorer by name")
    add_limits(given)
    add("--task", choices=TASKS, help="default: by the target")
    add("--weights", dest="sample_weight", metavar="COLUMN", help="column of sample weights")
    add("--groups", metavar="COLUMN", help="column whose groups stay on one side of a fold")
    add("--time-column", metavar="COLUMN", help="validate on rows later than the training rows")
    add("--folds", type=int, help="number of folds; default: by the size of the table")
    add("--kind", action="append", dest="kinds", metavar="COLUMN=KIND", help="kind of a column")
    add("--learners", type=names, metavar="A,B", help="only these learners")
    add("--fusions", type=names, metavar="A,B", help="only these fusions")
    add("--compressors", type=names, metavar="A,B", help="only these compressors")
    add("--block-encoders", type=names, metavar="A,B", help="encoders to leave out")
    text = "do not try learners on the logarithm of a target with a long tail"
    add("--no-target-transforms", action="store_const", const=False, dest="target_transforms",
        help=text)  # fmt: skip
    add("--plugins", type=names, metavar="A,B", help="plugin modules to import")
    add("--block-plugins", type=names, metavar="A,B", help="plugins to leave out")
    add("--require-plugins", type=names, metavar="A,B", help="end if one fails")
    add("--max-trials", type=int, help="members to try, at most")
    text = "of the search's time without a gain after which to end, or none; default: 0.25"
    add("--stop-after-no-gain", type=share_or_none, metavar="SHARE", help=text)
    add("--seed", type=int, help="default: 0")
    add("--executor", help="where trials run; default: processes")
    text = "option of an executor plugin, such as address=HOST:PORT"
    add("--executor-option", action="append", dest="executor_options", metavar="NAME=VALUE",
        help=text)  # fmt: skip
    add("--address", action="append", dest="executor_options", type="address={}".format,
        metavar="HOST:PORT", help="of the executor's cluster: its option of this name")  # fmt: skip
    add("--workers", type=int, help="worker processes; default: one a core")
    add("--quiet", action="store_const", const=False, dest="progress", help="no progress line")
    text = "TOML file with any of these and more; options override it"
    parser.add_argument("--config", metavar="FILE", help=text)
    add_finishing(parser)
    parser.set_defaults(command=partial(_fit, parser))


def _fit(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int | None:
    def said() -> Configuration:
        configuration = _configuration(options)
        _check_complete(parser, configuration)
        return configuration

    return carry_out(options, said)


def carry_out(
    options: argparse.Namespace,
    said: Callable[[], Configuration],
    *,
    resume: str | None = None,
    accept_changes: bool = False,
) -> int | None:
    """Carry out a run, show what came of it, and tell whom the options name.

    Parameters
    ----------
    options : Namespace
        Those of ``add_finishing``, and ``json``.
    said : callable
        Returns the configuration, or raises what is wrong with it.
    resume : str, optional
        Run directory to go on with.
    accept_changes : bool
        Whether to go on though what it was begun with has changed.

    Returns
    -------
    int or None
        Exit code of a signal that ended the run early.
    """
    with listening() as ending:
        run = ""
        try:
            configuration = said()
            run = str(Path(configuration.values["output"]).absolute())
            model = _model(configuration, resume, accept_changes=accept_changes)
        except BaseException as error:
            status = "failed" if ending.code is None else "interrupted"
            tell(options, Ended(run=run, status=status, error=_reason(error)))
            if ending.code is not None and isinstance(error, errors.NothingFittedError):
                warn(f"automl-fuse: {error}")
                return ending.code
            raise
        status = "finished" if ending.code is None else "interrupted"
        ended = Ended(
            run=run, status=status, metric=model.report["metric"], score=model.report["score"]
        )
        try:
            _show(model, configuration.values["output"], as_json=options.json)
        finally:
            # Also where the reader of our output has gone.
            tell(options, ended)
    return ending.code


def _reason(error: BaseException) -> str:
    """Return why a run failed; exit codes of usage errors and signals are no reason."""
    if isinstance(error, SystemExit):
        return "it did not begin"
    return str(error) or repr(error)


def _configuration(options: argparse.Namespace) -> Configuration:
    """Return what the file says, overridden by the options that were given."""
    from automl_fuse.configuration import Configuration, keys, read_configuration

    given = {key: value for key, value in vars(options).items() if key in keys()}
    if "kinds" in given:
        given["kinds"] = _kinds(given["kinds"])
    if "executor_options" in given:
        given["executor_options"] = dict(map(_executor_option, given["executor_options"]))
    said = Configuration() if options.config is None else read_configuration(options.config)
    return said.overridden(given)


def _check_complete(parser: argparse.ArgumentParser, configuration: Configuration) -> None:
    missing = [how for key, how in NEEDED.items() if configuration.values.get(key) is None]
    if missing:
        parser.error(
            f"{', '.join(missing)} must be given, here or in the file of --config "
            f"(keys {', '.join(NEEDED)})"
        )


def _model(configuration: Configuration, resume: str | None, *, accept_changes: bool) -> Pipeline:
    from automl_fuse.engine import fit

    arguments = configuration.arguments
    return fit(
        arguments.pop("data"),
        settings=configuration.settings,
        resume=resume,
        accept_changes=accept_changes,
        **arguments,
    )


def _show(model: Pipeline, output: str, *, as_json: bool) -> None:
    file = Path(output) / "model.onnx"
    saved = str(file) if file.is_file() else None
    if as_json:
        say_json({"artefact": saved, **model.report})
        return
    say_summary(model.report)
    say(f"\nSaved in {saved or output}")


def _kinds(pairs: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for pair in pairs:
        name, separator, kind = pair.rpartition("=")
        if not separator:
            raise errors.SettingsError(f"--kind {pair!r} is not of the form COLUMN=KIND.")
        kinds[name] = kind
    return kinds


def _executor_option(pair: str) -> tuple[str, Any]:
    """Read an option whose value is written as in TOML, or is a text without quotes."""
    name, separator, value = pair.partition("=")
    if not separator:
        raise errors.SettingsError(f"--executor-option {pair!r} is not of the form NAME=VALUE.")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value
