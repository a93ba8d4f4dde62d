"""``automl-fuse plugins``."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse.cli.console import say, say_json
from automl_fuse.cli.options import add_command

if TYPE_CHECKING:
    import argparse

_INDENT = " " * 9


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "list plugins: found, failed, missing a dependency"
    parser = add_command(commands, "plugins", _plugins, text)
    actions = parser.add_subparsers(metavar="ACTION")
    new = actions.add_parser("new", help="write a plugin package to start from")
    new.set_defaults(command=_new_plugin)
    new.add_argument("name", help="name of the plugin, such as my_learners")
    new.add_argument("--folder", default=".", help="where to put it; default: here")


def _plugins(options: argparse.Namespace) -> None:
    from automl_fuse.host import discover

    plugins = discover()
    if options.json:
        say_json(plugins.as_dict())
        return
    width = shutil.get_terminal_size().columns
    for row in plugins.as_rows():
        origin = " ".join(part for part in (row["distribution"], row["version"]) if part)
        say(f"{row['status']:<8} {row['plugin']:<16} {origin or '-'}")
        say(textwrap.fill(row["note"], width, initial_indent=_INDENT, subsequent_indent=_INDENT))


def _new_plugin(options: argparse.Namespace) -> None:
    from automl_fuse.scaffold import write_plugin

    written = [str(path) for path in write_plugin(options.name, Path(options.folder))]
    if options.json:
        say_json(written)
        return
    say("\n".join(written))
