"""Where the time of a prediction goes: one row and many, by step and by operator.

    python benchmarks/profile_predict.py model.onnx ../shared/data/adult/test.csv

reads a portable file and rows to predict, and prints how much of a call of ``predict_proba`` (in
regression ``predict``) goes into reading the frame, into making onnxruntime's values of NumPy
arrays, and into the graph; by operator, from onnxruntime's own profiler, what the graph does; and
how long one row takes by the form that it comes in. It needs an environment with automl_fuse,
pandas, onnx and onnxruntime; polars is timed where it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pandas as pd
import report

import automl_fuse
from automl_fuse.artefact.portable import CHUNK_ROWS
from automl_fuse.runtime import bound
from automl_fuse.specs import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse.artefact import PortablePipeline

PROFILED_RUNS = 200
PROFILED_ROWS = 20_000
"""Rows that the profiler sees, at most: it keeps a record of every node that runs."""
LEAST_ROUNDS = 5
ENOUGH_SECONDS = 3.0


def read_rows(path: Path, model: PortablePipeline) -> pd.DataFrame:
    """Read rows, those columns as timestamps that were so at fit."""
    rows = pd.read_csv(path)
    for column in model.schema.columns:
        if column.kind is Kind.DATETIME and not pd.api.types.is_numeric_dtype(rows[column.name]):
            rows[column.name] = pd.to_datetime(rows[column.name])
    return rows


def medians_us(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median microseconds of calls, made in turn: whatever slows one slows all."""
    for call in calls.values():
        call()
    durations: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - begin < ENOUGH_SECONDS:
        rounds += 1
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            durations[name].append(time.perf_counter() - start)
    return {name: 1e6 * float(np.median(each)) for name, each in durations.items()}


def steps(model: PortablePipeline, rows: pd.DataFrame) -> str:
    """Return how long each step of a prediction of these rows takes, as Markdown."""
    predict = model.predict if model.classes_ is None else model.predict_proba
    parts = [rows.iloc[at : at + CHUNK_ROWS] for at in range(0, len(rows), CHUNK_ROWS)]
    feeds = [model.graph_inputs(part) for part in parts]
    bindings = [bound(model.session, feed) for feed in feeds]
    names = [output.name for output in model.session.get_outputs()]
    us = medians_us(
        {
            "whole": lambda: predict(rows),
            "reading": lambda: model.graph_inputs(rows),
            "running": lambda: [model.session.run(names, feed) for feed in feeds],
            "inside": lambda: [run() for run in bindings],
        }
    )
    lines = [
        ("frame to the graph's inputs", us["reading"]),
        ("NumPy arrays to and from onnxruntime's values", us["running"] - us["inside"]),
        ("the graph", us["inside"]),
        ("all else", us["whole"] - us["reading"] - us["running"]),
    ]
    table = [[name, f"{spent:,.1f}", f"{spent / us['whole']:.1%}"] for name, spent in lines]
    table.append(["**a call of predict**", f"**{us['whole']:,.1f}**", ""])
    return report.markdown_table(["step", "µs", "share"], table)


def forms(model: PortablePipeline, row: pd.DataFrame) -> str:
    """Return how long a prediction of one row takes by the form of the row, as Markdown."""
    predict = model.predict if model.classes_ is None else model.predict_proba
    (cells,) = row.to_dict("records")
    given: dict[str, Any] = {
        "dict of cells": cells,
        "list of one dict": [cells],
        "frame of pandas": row,
        "frame of pandas, of objects": row.astype(object),
    }
    if importlib.util.find_spec("polars") is not None:
        given["frame of polars"] = importlib.import_module("polars").from_dicts([cells])
    given["dict of columns"] = {name: [cell] for name, cell in cells.items()}
    us = medians_us({name: partial(predict, data) for name, data in given.items()})
    return report.markdown_table(
        ["one row as a", "µs"], [[name, f"{spent:,.1f}"] for name, spent in us.items()]
    )


def operators(path: Path, model: PortablePipeline, rows: pd.DataFrame, top: int) -> str:
    """Return how much time each operator takes, by onnxruntime's profiler, as Markdown.

    It cuts every node's time to whole microseconds, and takes some itself: for one row the
    shares are rough, and the number of nodes says as much.
    """
    runs = max(1, min(PROFILED_RUNS, PROFILED_ROWS // len(rows)))
    events = profiled(path, model.graph_inputs(rows), runs)
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        operator = event["args"]["op_name"]
        spent[operator] += event["dur"]
        calls[operator] += 1
    total = max(1, sum(spent.values()))
    table = [
        [operator, f"{calls[operator] / runs:,.0f}", f"{us / runs:,.1f}", f"{us / total:.1%}"]
        for operator, us in spent.most_common(top)
    ]
    nodes = sum(calls.values()) / runs
    table.append(["**all**", f"**{nodes:,.0f}**", f"**{total / runs:,.1f}**", ""])
    return report.markdown_table(["operator", "nodes", "µs", "share"], table)


def profiled(path: Path, feed: dict[str, Any], runs: int) -> list[dict[str, Any]]:
    """Return what onnxruntime recorded of the nodes that ran, after one run of warm-up."""
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        for _ in range(runs + 1):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = [event for event in events if event["name"].endswith("_kernel_time")]
    return ran[len(ran) // (runs + 1) :]


def main() -> None:
    """Profile the predictions of one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("artefact", type=Path, help="a file that Pipeline.save wrote")
    parser.add_argument("table", type=Path, help="CSV file of rows to predict")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 10_000])
    parser.add_argument("--top", type=int, default=15, help="operators to list")
    arguments = parser.parse_args()
    model = automl_fuse.load(arguments.artefact)
    rows = read_rows(arguments.table, model)
    size = arguments.artefact.stat().st_size
    print(f"{arguments.artefact.name}: {size / 1e3:,.1f} kB, {len(model.manifest.members)} members")
    for count in arguments.rows:
        drawn = rows.sample(count, replace=count > len(rows), random_state=0)
        drawn = drawn.reset_index(drop=True)
        print(f"\n{count:,} rows\n\n{steps(model, drawn)}\n")
        print(operators(arguments.artefact, model, drawn, arguments.top))
    print(f"\n{forms(model, rows.iloc[:1].reset_index(drop=True))}")


if __name__ == "__main__":
    main()
