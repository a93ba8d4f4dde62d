"""What each part of the search contributes: one switched off at a time.

    python benchmarks/ablation.py --time-limit 60 --seeds 0

Test rows are not read: each table's training rows are split once more, seven tenths to fit on and
the rest to judge. It prints the geometric mean, over tables, of each variant's error relative to
that of the whole engine; above 1 the part is worth having.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compare
import numpy as np
import pandas as pd
import report

if TYPE_CHECKING:
    from collections.abc import Iterable

TRAIN_SHARE = 0.7
FULL = "full"
EXTRA = '["arithmetic","scaled_arithmetic","pca","clusters","isolation","crosses","counts"]'
VARIANTS: dict[str, tuple[str, ...]] = {
    FULL: (),
    "no extra features": (f"block_encoders={EXTRA}",),
    "no target transform": ("target_transforms=false",),
    "no search after the portfolio": ("stop_after_no_gain=0.0",),
    "uniform fusion": ('fusions=["average"]',),
    "greedy fusion only": ('fusions=["greedy"]',),
    "five folds": ("folds=5",),
}


def split_again(data: Path, names: Iterable[str], folder: Path) -> None:
    """Write tables of the same layout from the training rows alone."""
    for name in names:
        frame = pd.read_csv(data / name / "train.csv")
        rows = np.random.default_rng(1).permutation(len(frame))
        n_train = round(TRAIN_SHARE * len(frame))
        place = folder / name
        place.mkdir()
        frame.iloc[rows[:n_train]].to_csv(place / "train.csv", index=False)
        frame.iloc[rows[n_train:]].to_csv(place / "test.csv", index=False)
        (place / "meta.json").write_text((data / name / "meta.json").read_text())


def summary(lines: list[dict[str, Any]]) -> str:
    """Return one row of Markdown a variant: tables, and the mean ratio to the whole engine."""
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        if line["failure"] is None:
            score = line["score"]
            error = 1 - score if line["metric"] == "roc_auc" else score
            errors[line["system"], line["table"]].append(error)
    tables = sorted({table for _, table in errors})
    rows = []
    for system in dict.fromkeys(system for system, _ in errors):
        ratios = [
            np.mean(errors[system, t]) / np.mean(errors[FULL, t])
            for t in tables
            if (system, t) in errors and (FULL, t) in errors
        ]
        cells = [f"{ratio:.3f}" for ratio in ratios]
        rows.append([system, f"**{np.exp(np.mean(np.log(ratios))):.4f}**", *cells])
    return report.markdown_table(["switched off", "mean", *tables], rows)


def main() -> None:
    """Run the variants of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    compare.add_arguments(parser, compare.TABLES)
    arguments = compare.read_arguments(parser, "ablation")
    systems = [
        compare.System(
            name=name,
            environment="automl_fuse",
            runner="run_automl_fuse.py",
            options=("prefer=quality", *VARIANTS[name]),
        )
        for name in arguments.variants
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split_again(arguments.data, arguments.tables, folder)
        arguments.data = folder
        compare.run_all(systems, arguments, lambda line: f"{line['metric']} {line['score']:.5f}")
    lines = [json.loads(line) for line in arguments.output.read_text().splitlines()]
    print(summary(lines))


if __name__ == "__main__":
    main()
