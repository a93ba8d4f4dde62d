"""What happens when a run has ended: a command, a message to a web address.

Both are given on the command line only: what a configuration says is never executed, and a run
that is repeated from one tells nobody of itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from automl_fuse.cli.console import finite, warn
from automl_fuse.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Ended", "add_finishing", "tell"]

_WEBHOOK_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes
    ----------
    run : str
        Absolute path of the run directory, empty if there is none.
    status : {"finished", "interrupted", "failed"}
        Interrupted runs have a pipeline too, unless ``score`` is None.
    metric : str
        What the score is, empty if there is none.
    score : float or None
        Of the pipeline, on rows that did not train it.
    error : str
        Why it failed.
    """

    run: str
    status: str
    metric: str = ""
    score: float | None = None
    error: str = ""


def add_finishing(parser: Any) -> None:
    """Add the options that say whom to tell."""
    add = parser.add_argument
    text = "run a command, without a shell, when the run has ended, whether well or not"
    add("--on-finish", type=_command, metavar="COMMAND", help=text)
    add("--webhook", type=_web_address, metavar="URL", help="and post what became of it, as JSON")


def tell(options: argparse.Namespace, ended: Ended) -> None:
    """Tell whom the options name; what goes wrong is a warning, and noted in the report."""
    failures = []
    if options.webhook is not None:
        failures += _post(options.webhook, ended)
    if options.on_finish is not None:
        failures += _run(options.on_finish, ended)
    for failure in failures:
        warn(f"automl-fuse: {failure}")
    if failures:
        _note(ended.run, failures)


def _post(address: str, ended: Ended) -> list[str]:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    content = json.dumps(finite(asdict(ended)), allow_nan=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "automl-fuse"}
    request = Request(address, data=content, headers=headers, method="POST")  # noqa: S310 - checked
    try:
        with urlopen(request, timeout=_WEBHOOK_SECONDS):  # noqa: S310 - see _web_address
            return []
    except (OSError, HTTPException, ValueError) as error:
        # Only the host: the rest of an address is often its password.
        return [f"the webhook at {urlsplit(address).hostname} failed: {error}"]


def _run(command: list[str], ended: Ended) -> list[str]:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own, split into words, no shell
            command,
            env={**os.environ, **_variables(ended)},
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output is for the results
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the command on finish failed: {error}"]
    if done.returncode:
        return [f"the command on finish, {command[0]}, ended with exit code {done.returncode}"]
    return []


def _variables(ended: Ended) -> Mapping[str, str]:
    return {
        "AUTOML_FUSE_RUN": ended.run,
        "AUTOML_FUSE_STATUS": ended.status,
        "AUTOML_FUSE_METRIC": ended.metric,
        "AUTOML_FUSE_SCORE": "" if ended.score is None else repr(ended.score),
        "AUTOML_FUSE_ERROR": ended.error,
    }


def _note(run: str, failures: list[str]) -> None:
    """Write failures into the report of a run, if it has one."""
    from automl_fuse.run import RunDirectory, write_json

    report = RunDirectory(Path(run)).report
    if not run or not report.is_file():
        return
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        write_json(report, {**content, "finish_failures": failures})
    except (OSError, ValueError, RunError) as error:
        warn(f"automl-fuse: {report} could not be completed: {error}")


def _command(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if not words:
        raise argparse.ArgumentTypeError("the command is empty")
    return words


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https address")
    return text
