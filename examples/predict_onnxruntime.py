"""Predict with a portable file and nothing but NumPy and onnxruntime.

Usage: ``python predict_onnxruntime.py model.onnx rows.json``

``rows.json`` holds a list of objects, one a row, with the raw columns by name: numbers, texts,
true or false, dates as ISO 8601 texts; null where a value is missing. Prints one JSON object with
the outputs of the graph by name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def graph_input(each: dict, rows: list[dict]) -> np.ndarray:
    """Return one raw column, (n_rows, 1), as the manifest says that the graph reads it."""
    cells = [row.get(each["column"]) for row in rows]
    if each["type"] == "double":
        return np.array([np.nan if c is None else float(c) for c in cells])[:, None]
    if each["type"] == "int64":
        # Microseconds since 1970 in UTC; NumPy's NaT is the integer that stands for missing.
        moments = np.array(["NaT" if c is None else c.removesuffix("Z") for c in cells])
        return moments.astype("datetime64[us]").astype(np.int64)[:, None]
    texts = [each["missing"] if c is None else word(c) for c in cells]
    return np.array(texts, dtype=object)[:, None]


def word(cell: object) -> str:
    """Return a cell as the text that stands for it: 1.0 is "1"."""
    return str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


def main(model: str, table: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["automl_fuse"])
    if manifest["prepared"]:
        names = ", ".join(manifest["prepared"])
        sys.exit(f"the inputs {names} must be prepared as docs/artefact.md says")
    rows = json.loads(Path(table).read_text(encoding="utf-8"))
    feeds = {each["name"]: graph_input(each, rows) for each in manifest["inputs"]}
    outputs = [output.name for output in session.get_outputs()]
    results = session.run(outputs, feeds)
    print(json.dumps({name: r.tolist() for name, r in zip(outputs, results, strict=True)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
