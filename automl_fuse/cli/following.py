"""``automl-fuse status`` and ``watch``: how far a run is, from another shell."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.cli.console import finite, printable, say, say_json
from automl_fuse.cli.options import add_command
from automl_fuse.units import in_words

if TYPE_CHECKING:
    import argparse

    from automl_fuse.progress import Progress

REFRESH_SECONDS: Final = 1.0
NO_PIPELINE: Final = 5
"""Exit code of ``watch`` if the run has ended and left no pipeline: that of unusable files."""

_STATES: Final = {
    "finished": "finished",
    "interrupted": "ended early, on request, with the best so far",
    "failed": "failed",
    "died": "died: its process is gone and has told no end",
}
_CLEAR: Final = "\x1b[H\x1b[J"


def add_to(commands: Any) -> None:
    """Add the commands."""
    text = "say how far a run is, while it goes on or afterwards"
    parser = add_command(commands, "status", _status, text)
    parser.add_argument("run", help="run directory")
    text = "show how far a run is until it ends"
    parser = add_command(commands, "watch", _watch, text)
    parser.add_argument("run", help="run directory")


def _status(options: argparse.Namespace) -> None:
    from automl_fuse.progress import Log

    progress = Log(options.run).progress()
    if options.json:
        say_json({"run": options.run, **progress.as_dict()})
        return
    say(described(options.run, progress))


def _watch(options: argparse.Namespace) -> int:
    """Show the status again and again: over itself on a terminal, else a line at each change."""
    from automl_fuse.progress import Log

    log, shown = Log(options.run), ""
    in_place = sys.stdout.isatty() and not options.json
    while True:
        progress = log.progress()
        told = " | ".join(_news(progress))
        if in_place:
            sys.stdout.write(_CLEAR)
            say(described(options.run, progress))
        elif told != shown:
            say(_as_line(options.run, progress) if options.json else told)
        sys.stdout.flush()
        if progress.has_ended:
            return 0 if progress.state in {"finished", "interrupted"} else NO_PIPELINE
        shown = told
        time.sleep(REFRESH_SECONDS)


def described(run: str, progress: Progress) -> str:
    """Return in several lines how far a run is."""
    size = f"{progress.rows:,} rows, {progress.columns:,} columns"
    lines = [run, f"{progress.task}, {size}, by {progress.metric}", *_news(progress)]
    if progress.state == "running":
        times = f"{in_words(progress.elapsed)} of {in_words(progress.limit)}"
        process = f"process {progress.process.get('pid')}"
        if progress.alive is None:
            process += f" on {progress.process.get('host')}, of which nothing is known here"
        lines.insert(2, f"{times}, {in_words(progress.remaining)} left; {process}")
    else:
        lines.insert(2, f"after {in_words(progress.elapsed)} of {in_words(progress.limit)}")
    return "\n".join(map(printable, lines))


def _news(progress: Progress) -> list[str]:
    """Return what is told of a run, but for its times."""
    members = progress.members
    news = [f"at {progress.stage or 'its start'}"]
    if progress.state != "running":
        news = [_STATES[progress.state]]
    news.append(
        f"members: {members.finished} finished, {members.stopped} stopped early, "
        f"{members.failed} failed"
    )
    if members.running and not progress.has_ended:
        news[-1] += f"; at work: {', '.join(members.running)}"
    if progress.best_score is not None:
        news.append(f"best: {progress.best} {progress.best_score:.6g}")
    if progress.ensemble_score is not None:
        news.append(f"ensemble: {progress.ensemble_score:.6g}")
    if progress.score is not None:
        news.append(f"pipeline: {progress.score:.6g}")
    if progress.failure:
        news.append(f"last failure: {progress.failure}")
    if progress.error:
        news.append(f"reason: {progress.error}")
    return [printable(text) for text in news]


def _as_line(run: str, progress: Progress) -> str:
    return json.dumps(finite({"run": run, **progress.as_dict()}), allow_nan=False)
