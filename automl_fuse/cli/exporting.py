"""``automl-fuse export`` and ``compress``: another pipeline of a run, as a portable file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_fuse.cli.console import say, say_json, say_table, size
from automl_fuse.cli.options import add_command, add_limits, limits, not_negative

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from automl_fuse.pipeline import Pipeline

_FRONT: Mapping[str, Callable[[Any], str]] = {
    "members": str,
    "models": str,
    "score": "{:.6g}".format,
    "relative_loss": "{:.2%}".format,
    "latency_ms": "{:.4f}".format,
    "size_mb": "{:.3f}".format,
}


def add_to(commands: Any) -> None:
    """Add the commands."""
    text = "write the pipeline of a run, or another of its front, into a portable file"
    parser = add_command(commands, "export", _export, text)
    _add_options(parser)
    text = "choose the pipeline of a run that fits limits, and write it into a portable file"
    parser = add_command(commands, "compress", _compress, text)
    _add_options(parser)


def _add_options(parser: Any) -> None:
    parser.add_argument("run", help="run directory")
    parser.add_argument("--output", required=True, help="portable file to write, ending in .onnx")
    add_limits(parser)
    parser.add_argument("--max-loss", type=not_negative, metavar="SHARE",
                        help="loss against the best: 0.01 for one per cent")  # fmt: skip


def _export(options: argparse.Namespace) -> None:
    from automl_fuse.run import load_run

    wanted = limits(options)
    pipeline = load_run(options.run)
    _write(pipeline.pick(**wanted) if wanted else pipeline, options)


def _compress(options: argparse.Namespace) -> None:
    from automl_fuse.run import load_run

    pipeline = load_run(options.run).pick(**limits(options))
    if not options.json:
        columns = ["pipeline", *_FRONT, "chosen"]
        rows = [{name: row.get(name) for name in columns} for row in pipeline.report["front"]]
        say_table([{**row, "chosen": "<" if row["chosen"] else None} for row in rows], _FRONT)
        say()
    _write(pipeline, options)


def _write(pipeline: Pipeline, options: argparse.Namespace) -> None:
    pipeline.save(options.output)
    written = Path(options.output).stat().st_size
    front = pipeline.report.get("front", [])
    chosen = next((row for row in front if row.get("chosen")), None)
    if options.json:
        say_json({"artefact": options.output, "bytes": written, "pipeline": chosen})
        return
    name = f"{chosen['pipeline']}, " if chosen else ""
    say(f"Saved in {options.output}: {name}{size(written)}")
