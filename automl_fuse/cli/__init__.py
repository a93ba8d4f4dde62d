"""The command line: ``automl-fuse fit``, ``predict``, ``inspect``, ``export`` and others.

Results go to standard output, everything else to standard error. Exit codes are those of
``EXIT_CODES``. Heavy imports happen inside the commands, so that ``--help`` is instant, and that
commands which only predict run where only NumPy and onnxruntime are installed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from automl_fuse import errors
from automl_fuse.cli import (
    benchmarking,
    exporting,
    fitting,
    following,
    inspecting,
    plugins,
    predicting,
    resuming,
)
from automl_fuse.cli.console import warn
from automl_fuse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK, UNEXPECTED, USAGE, DATA, NOTHING_FITTED, FILES = 0, 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143

EXIT_CODES = {
    OK: "success",
    UNEXPECTED: "an unexpected error: please report it",
    USAGE: "wrong options, settings or plugins",
    DATA: "a table that cannot be used",
    NOTHING_FITTED: "no member could be fitted",
    FILES: "a run directory or portable file that cannot be used",
    INTERRUPTED: "interrupted (SIGINT): fit has saved the best so far, if there was any",
    TERMINATED: "terminated (SIGTERM): the same",
}

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.DataError, DATA),
    (errors.NothingFittedError, NOTHING_FITTED),
    (errors.RunError, FILES),
    (errors.ArtefactError, FILES),
    (errors.ExportError, FILES),
    (errors.AutoFuseError, USAGE),
)

_GROUPS = (fitting, resuming, following, predicting, inspecting, benchmarking, exporting, plugins)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or OK
    except errors.AutoFuseError as error:
        warn(f"automl-fuse: {error}")
        return next(code for kind, code in _CODES if isinstance(error, kind))
    except ModuleNotFoundError as error:
        if (error.name or "automl_fuse").startswith("automl_fuse"):
            raise
        warn(
            f"automl-fuse: this command needs more than predicting does, and {error.name} is not "
            "installed: pip install automl-fuse"
        )
        return USAGE
    except KeyboardInterrupt:
        warn("automl-fuse: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `automl-fuse leaderboard run | head`.
        sys.stderr.close()
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
    for group in _GROUPS:
        group.add_to(commands)
    return parser
