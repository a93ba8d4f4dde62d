"""What optional encoders are worth to one boosted learner, by cross-validation on training rows.

    python benchmarks/features.py --tables adult letter

needs an environment with ``automl-fuse[all]``. The first configuration of LightGBM's portfolio is
fitted in five folds of each table, with its own encoders and with others beside them; test rows
are not read. It prints one line of Markdown a table, and the geometric mean.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import compare
import numpy as np
import pandas as pd
import report

from automl_fuse.budget import Deadline
from automl_fuse.folds import make_folds
from automl_fuse.host import discover
from automl_fuse.members import merge_features
from automl_fuse.metrics import loss_of, resolve
from automl_fuse.schema import infer
from automl_fuse.specs import FitContext, Rows, Task
from automl_fuse.table import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.folds import Fold

FOLDS = 5
SEED = 0
FIT_SECONDS = 120.0
DATES = {"bikeshare": ["datetime"]}
EXTRAS: dict[str, tuple[str, ...]] = {
    "crosses": ("crosses",),
    "arithmetic": ("arithmetic",),
    "both": ("crosses", "arithmetic"),
    "counts": ("counts",),
    "unsupervised": ("pca", "clusters", "isolation"),
}


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Loss of each way, as a ratio to that without extras, and seconds of encoding."""

    table: str
    ratios: dict[str, float]
    seconds: dict[str, float]


class Trial:
    """One table, and a learner that is fitted to it with different encoders.

    Parameters
    ----------
    name : str
        Of the table.
    """

    def __init__(self, name: str) -> None:
        folder = compare.DATA / name
        meta = json.loads((folder / "meta.json").read_text())
        frame = pd.read_csv(folder / "train.csv", parse_dates=DATES.get(name))
        dataset = prepare(frame, target=meta["target"], task=meta["task"])
        self.plugins = discover()
        self.task = dataset.task
        self.columns = infer(dataset.table, {}).convert(dataset.table)
        self.y = dataset.y
        self.n_classes = 1 if dataset.classes is None else len(dataset.classes)
        self.folds = make_folds(self.y, self.task, SEED, folds=FOLDS)
        self.loss = loss_of(resolve(meta["metric"], self.task, self.plugins.metrics), self.task)

    def mean_loss(self, extras: Sequence[str]) -> tuple[float, float]:
        """Return the loss over all rows, and the seconds that the extra encoders took."""
        predictions = np.zeros((len(self.y), self.n_classes))
        seconds = 0.0
        for fold in self.folds:
            predictions[fold.valid], took = self._predicted(fold, extras)
            seconds += took
        return float(self.loss(self.y, predictions, None)), seconds

    def _predicted(self, fold: Fold, extras: Sequence[str]) -> tuple[Any, float]:
        spec = self.plugins.learners["lightgbm"]
        params = spec.portfolio[0].params
        parts, seconds = [], 0.0
        for name in (*spec.encoders_for(params), *extras):
            start = time.perf_counter()
            encoder_spec = self.plugins.encoders[name]
            columns = self.columns.select(encoder_spec.kinds)
            if not columns.columns:
                continue
            encoder = encoder_spec.build(self._context())
            train = encoder.fit_transform(columns.take(fold.train), self.y[fold.train], None)
            parts.append((name, train, encoder.transform(columns.take(fold.valid))))
            seconds += (time.perf_counter() - start) * (name in extras)
        train = merge_features([(n, first) for n, first, _ in parts], len(fold.train))
        valid = merge_features([(n, second) for n, _, second in parts], len(fold.valid))
        y = self.y.astype(float)
        center, scale = 0.0, 1.0
        if self.task is Task.REGRESSION:
            center, scale = float(y[fold.train].mean()), float(y[fold.train].std())
            y = (y - center) / scale
        else:
            y = self.y
        learner = spec.build(params, self._context())
        held_out = Rows(X=valid, y=y[fold.valid], weight=None)
        learner.fit(Rows(X=train, y=y[fold.train], weight=None), held_out)
        return learner.predict(valid) * scale + center, seconds

    def _context(self) -> FitContext:
        return FitContext(
            task=self.task,
            n_classes=self.n_classes,
            seed=SEED,
            n_threads=1,
            deadline=Deadline(FIT_SECONDS),
        )


def measured(name: str) -> Losses:
    """Return what the extras do to the loss on one table."""
    trial = Trial(name)
    plain, _ = trial.mean_loss(())
    found = {label: trial.mean_loss(extras) for label, extras in EXTRAS.items()}
    return Losses(
        table=name,
        # Of a score that is better the greater it is, the distance from 1 is compared.
        ratios={label: _error(loss) / _error(plain) for label, (loss, _) in found.items()},
        seconds={label: seconds for label, (_, seconds) in found.items()},
    )


def _error(loss: float) -> float:
    return 1.0 + loss if loss < 0 else loss


def main() -> None:
    """Measure the tables of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", nargs="+", default=compare.TABLES)
    rows = []
    for name in parser.parse_args().tables:
        found = measured(name)
        cells = [f"{found.ratios[e]:.4f} ({found.seconds[e]:.1f} s)" for e in EXTRAS]
        print(name, *cells, flush=True)
        rows.append((found, [name, *cells]))
    means = [np.exp(np.mean([np.log(f.ratios[e]) for f, _ in rows])) for e in EXTRAS]
    cells = [cells for _, cells in rows] + [["geometric mean", *(f"{m:.4f}" for m in means)]]
    print(report.markdown_table(["table", *EXTRAS], cells))


if __name__ == "__main__":
    main()
