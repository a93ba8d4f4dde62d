"""``automl-fuse benchmark``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from automl_fuse.cli.console import say, say_json, say_table
from automl_fuse.cli.options import MODEL, TABLE, add_command, counts

if TYPE_CHECKING:
    import argparse

_FORMATS = {
    "rows": "{:,}".format,
    "p50 µs": "{:,.1f}".format,
    "p99 µs": "{:,.1f}".format,
    "rows/s": "{:,.0f}".format,
}


def add_to(commands: Any) -> None:
    """Add the command."""
    text = "time a portable file, by rows at a time"
    parser = add_command(commands, "benchmark", _benchmark, text)
    parser.add_argument("model", help=MODEL)
    parser.add_argument("--table", help=f"{TABLE} with rows; default: those that the file carries")
    parser.add_argument("--rows", type=counts, metavar="N,N", help="rows at a time; default: "
                        "1,10,100,1000,10000")  # fmt: skip
    parser.add_argument("--threads", type=int, help="of predict; default: one a processor")


def _benchmark(options: argparse.Namespace) -> None:
    from automl_fuse.artefact import load
    from automl_fuse.artefact.timing import BATCHES, time_graph, time_predict
    from automl_fuse.table import read_table

    pipeline = load(options.model, threads=options.threads)
    source = options.table or pipeline.manifest.golden.columns
    data = read_table(source, only=frozenset(pipeline.columns_read_)).columns
    batches = options.rows or BATCHES
    timed = {
        "graph": [time_graph(pipeline, data, batch) for batch in batches],
        "predict": [time_predict(pipeline, data, batch) for batch in batches],
    }
    if options.json:
        say_json({name: [asdict(speed) for speed in speeds] for name, speeds in timed.items()})
        return
    titles = {
        "graph": "Inside onnxruntime, one thread:",
        "predict": "\nThrough predict, columns in memory:",
    }
    for name, speeds in timed.items():
        say(f"{titles[name]}\n")
        say_table(
            [
                {
                    "rows": speed.rows,
                    "p50 µs": speed.p50_us,
                    "p99 µs": speed.p99_us,
                    "rows/s": speed.rows_per_second,
                }
                for speed in speeds
            ],
            _FORMATS,
        )
