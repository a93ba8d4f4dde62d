"""What the pipelines of one run weigh and take once deployed, on each table.

    python benchmarks/deployment.py --time-limit 60

fits automl_fuse once a table, in a process of its own, and measures from that run the fused
ensemble as Python object and the artefacts that ``quality``, ``balanced`` and ``speed`` choose.
It appends one line of JSON for each run to the output. ``report_deployment.py`` turns these
lines, and those that ``compare.py`` wrote of the peers, into tables.
"""

from __future__ import annotations

import argparse
from typing import Any

import compare

TABLES = (*compare.TABLES, "sms", "movielens")
SYSTEM = compare.System(
    name="automl_fuse",
    environment="automl_fuse",
    runner="run_deployment.py",
    # An ensemble of many members takes a minute for 10,000 rows, and is asked six times.
    patience=900.0,
)


def summary(line: dict[str, Any]) -> str:
    """Describe a finished run: score, one row and bytes of the ensemble and each artefact."""
    parts = [f"{line['metric']}, fit {line['fit_seconds']:.1f} s"]
    for name, form in line["forms"].items():
        if form.get("failure"):
            parts.append(f"{name} FAILED")
            continue
        parts.append(
            f"{name} {form['scores'][line['metric']]:.5g} in {form['one_row_ms']:.3g} ms, "
            f"{form['bytes'] / 1e6:.3g} MB"
        )
    return "; ".join(parts)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    compare.add_arguments(parser, TABLES)
    compare.run_all([SYSTEM], compare.read_arguments(parser, "deployment"), summary)


if __name__ == "__main__":
    main()
