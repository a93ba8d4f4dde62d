"""``automl-fuse resume``: go on with a run that was interrupted or killed, or ended too early."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse.cli.finishing import add_finishing
from automl_fuse.cli.fitting import carry_out
from automl_fuse.cli.options import TABLE, add_command, size, time
from automl_fuse.errors import RunError

if TYPE_CHECKING:
    from automl_fuse.configuration import Configuration


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "go on with a run that was interrupted or killed, with what is left of its time"
    parser = add_command(commands, "resume", _resume, text)
    parser.add_argument("run", help="run directory")
    text = "options that may be others than before"
    given = parser.add_argument_group(text, argument_default=argparse.SUPPRESS)
    add = given.add_argument
    add("--data", metavar="TABLE", help=f"{TABLE}, if it has moved")
    text = "of the whole run, with what it has taken so far"
    add("--time-limit", type=time, metavar="TIME", help=text)
    add("--max-trials", type=int, help="members to try, with those of before")
    add("--memory-limit", type=size, metavar="SIZE", help="12GB, of all processes together")
    add("--disk-limit", type=size, metavar="SIZE", help="20GB, of the run directory, about")
    add("--storage", metavar="URL", help="database of the studies, such as sqlite:///studies.db")
    add("--workers", type=int, help="worker processes")
    add("--quiet", action="store_const", const=False, dest="progress", help="no progress line")
    text = "go on though data of the same rows and columns, or plugins, have changed"
    parser.add_argument("--accept-changes", action="store_true", help=text)
    add_finishing(parser)


def _resume(options: argparse.Namespace) -> int | None:
    said = partial(_configured, options)
    return carry_out(options, said, resume=options.run, accept_changes=options.accept_changes)


def _configured(options: argparse.Namespace) -> Configuration:
    """Return what the run was told when it began, with the options that were given.

    Raises
    ------
    RunError
        If the directory holds no run, or one whose table is in no file.
    """
    from automl_fuse.configuration import keys, read_configuration
    from automl_fuse.run import RunDirectory

    run = RunDirectory(Path(options.run))
    if not run.configuration.is_file():
        raise RunError(
            f"{run.root} holds no run that has begun: it has no {run.configuration.name}."
        )
    given = {key: value for key, value in vars(options).items() if key in keys()}
    said = read_configuration(run.configuration).overridden({**given, "output": str(run.root)})
    lacking = [key for key in ("data", "target") if said.values.get(key) is None]
    if lacking:
        raise RunError(
            f"{run.configuration} names no {' and no '.join(lacking)}: the table was given in "
            f"memory. Resume the run in Python: fit(X, y, resume={str(run.root)!r})."
        )
    return said
