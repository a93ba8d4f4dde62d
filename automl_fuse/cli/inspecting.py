"""``automl-fuse inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automl_fuse.cli.console import fused_by, say, say_json, say_table, size
from automl_fuse.cli.options import MODEL, add_command

if TYPE_CHECKING:
    import argparse

    from automl_fuse.artefact.inspection import Parts
    from automl_fuse.artefact.manifest import Manifest


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "say what a portable file holds, without running it"
    parser = add_command(commands, "inspect", _inspect, text)
    parser.add_argument("model", help=MODEL)


def _inspect(options: argparse.Namespace) -> None:
    from automl_fuse.artefact.inspection import inspect

    manifest, parts = inspect(options.model)
    if options.json:
        say_json({"parts": _as_dict(parts), "manifest": manifest.content})
        return
    _say_columns(manifest)
    _say_members(manifest)
    _say_parts(parts)


def _as_dict(parts: Parts) -> dict[str, Any]:
    return {
        "total": parts.total,
        "manifest": parts.manifest,
        "constants": parts.constants,
        "operators": {
            name: {"count": count, "bytes": used} for name, (count, used) in parts.operators.items()
        },
    }


def _say_columns(manifest: Manifest) -> None:
    content = manifest.content
    say(f"Predicts {manifest.target!r}: {manifest.task.value}")
    if manifest.classes is not None:
        shown = ", ".join(map(repr, manifest.classes.tolist()[:20]))
        say(f"Classes: {shown}{', …' if len(manifest.classes) > 20 else ''}")
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    say(f"Made {content['created']} of {content['data']['rows']:,} rows, with {versions}\n")
    read = {column.name for column in manifest.columns}
    say_table(
        [
            {
                "column": column.name,
                "kind": column.kind.value,
                "read": "yes" if column.name in read else "no",
                "why": column.reason,
            }
            for column in manifest.schema.columns
        ],
        {},
    )


def _say_members(manifest: Manifest) -> None:
    content = manifest.content
    say(f"\n{fused_by(content['fusion'])}:\n")
    say_table(
        [
            {
                "member": member.name,
                "learner": member.learner,
                "weight": member.weight,
                "models": member.models,
            }
            for member in manifest.members
        ],
        {"weight": "{:.3f}".format, "models": str},
    )
    scores = {content["metric"]: content["score"]}
    scores |= {name: value for name, value in content["metrics"].items() if name not in scores}
    say("\nOn rows that did not train it:\n")
    for name, value in scores.items():
        say(f"{name:<18} {'undefined' if value is None else format(value, '.6g')}")


def _say_parts(parts: Parts) -> None:
    say(f"\n{size(parts.total)}:\n")
    say(f"{'manifest':<24} {size(parts.manifest):>14}")
    say(f"{'constants':<24} {size(parts.constants):>14}")
    for name, (count, used) in parts.operators.items():
        say(f"{f'{count} {name}':<24} {size(used):>14}")
