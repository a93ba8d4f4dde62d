"""What each fusion makes of the same members, on rows that no fold saw.

    python benchmarks/portfolio/fusions.py --sizes 8 16 32

reads what ``collect.py`` kept. Members are drawn at random, several times a table; each fusion of
the installed plugins is fitted to their OOF predictions with each of its portfolio's settings, and
the engine's own choice among them is made as in a run. Printed is the geometric mean, over tables
and draws, of the error relative to that of the uniform average of the five best members.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from learn import RESULTS, Recorded, read

from automl_fuse.budget import Deadline
from automl_fuse.folds import cross_fitting
from automl_fuse.fusion import cross_fitted, fit_final
from automl_fuse.host import discover
from automl_fuse.metrics import METRICS, loss_of
from automl_fuse.specs import FusionContext, Task

if TYPE_CHECKING:
    from automl_fuse.specs import FusionSpec, Params

SPLITS = 3
DRAWS = 3


class Case:
    """Members drawn from one table.

    Parameters
    ----------
    table : Recorded
        The table.
    size : int
        Members to draw.
    rng : numpy.random.Generator
        Draws them.
    """

    def __init__(self, table: Recorded, size: int, rng: np.random.Generator) -> None:
        chosen = np.sort(rng.choice(len(table.keys), min(size, len(table.keys)), replace=False))
        self.table = table
        self.oof, self.test = table.oof[chosen], table.test[chosen]
        task = Task.REGRESSION
        if table.metric != "rmse":
            task = Task.BINARY if table.metric == "roc_auc" else Task.MULTICLASS
        self.task = task
        self.loss = loss_of(METRICS[table.metric], task)
        self.splits = cross_fitting(table.y, SPLITS, 0)

    def context(self) -> FusionContext:
        """Return what fusions are told."""
        n_classes = 1 if self.task is Task.REGRESSION else self.oof.shape[2]
        return FusionContext(
            task=self.task, n_classes=n_classes, loss=self.loss, seed=0, deadline=Deadline(60.0)
        )

    def few_best(self, count: int) -> float:
        """Return the test error of the uniform average of the best members."""
        losses = [self.loss(self.table.y, oof, None) for oof in self.oof]
        best = np.argsort(losses)[:count]
        return self.table.error(self.test[best].mean(axis=0), test=True)

    def fused(self, spec: FusionSpec, params: Params) -> tuple[float, float]:
        """Return the cross-fitted loss, and the error on test rows."""
        y, context = self.table.y, self.context()
        crossed = cross_fitted(spec, params, self.oof, y, None, self.splits, context)
        fitted = fit_final(spec, params, self.oof, y, None, context)
        prediction = fitted.fusion.combine(self.test[list(fitted.members)])
        return crossed.loss, self.table.error(prediction, test=True)


def measured(case: Case) -> dict[str, float]:
    """Return the error of every fusion on one case, relative to the five best's average."""
    base = case.few_best(5)
    found: dict[str, float] = {"best member": case.few_best(1), "best 3": case.few_best(3)}
    losses: dict[str, float] = {}
    for name, spec in discover().fusions.items():
        if case.task not in spec.tasks or len(case.table.y) < spec.min_rows:
            continue
        for entry in spec.portfolio:
            label = f"{name} {_text(entry.params)}"
            losses[label], found[label] = case.fused(spec, entry.params)
    found["chosen by cross-fitting"] = found[min(losses, key=lambda label: losses[label])]
    return {label: np.log(max(error, 1e-9) / max(base, 1e-9)) for label, error in found.items()}


def _text(params: Params) -> str:
    parts = (f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
    return " ".join(parts)


def main() -> None:
    """Measure the sizes of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--tables", nargs="+")
    options = parser.parse_args()
    folders = sorted(p for p in RESULTS.iterdir() if len(list(p.glob("*.npz"))) > 40)
    tables = [read(f) for f in folders if options.tables is None or f.name in options.tables]
    print(len(tables), "tables")
    for size in options.sizes:
        rng = np.random.default_rng(size)
        found: dict[str, list[float]] = defaultdict(list)
        for table in tables:
            for _ in range(DRAWS):
                for label, value in measured(Case(table, size, rng)).items():
                    found[label].append(value)
        print(f"\n{size} members")
        for label, values in sorted(found.items(), key=lambda item: np.mean(item[1])):
            print(f"  {np.exp(np.mean(values)):.4f}  ({len(values)})  {label}")


if __name__ == "__main__":
    main()
