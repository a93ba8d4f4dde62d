"""Order configurations so that each adds most to the ensemble of those before it.

    python benchmarks/portfolio/learn.py --size 30

reads what ``collect.py`` kept. Forward selection (Wistuba et al. 2015, "Sequential model-free
hyperparameter tuning", on ensembles as in Salinas and Erickson 2024, "TabRepo"): the next
configuration is the one whose best blend with the ensemble so far lowers the error most, in the
mean over tables, per second to a power. Blends are chosen on OOF rows and judged on rows that no
fold saw. Tables are left out a fifth at a time to see what an order is worth on tables that did
not choose it, beside the order of merits that the plugins have now, and random orders.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from automl_fuse.host import discover

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).resolve().parents[1] / "results" / "portfolio"
SHARES = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0])
GROUPS = 5
COUNTS = (3, 5, 8, 12, 16, 20, 25)
ROUNDS = 25
MOST_GAIN = 0.03
"""Bound on the log gain that one table may lend to a configuration: on a table of few errors, a
handful of rows would else decide for all."""
PATIENCE_POWER = 0.25
"""Power of a configuration's relative seconds by which its gain is divided."""


@dataclass(kw_only=True)
class Recorded:
    """What the configurations predicted on one table."""

    name: str
    metric: str
    y: np.ndarray
    y_test: np.ndarray
    keys: list[str]
    oof: np.ndarray
    test: np.ndarray
    seconds: np.ndarray
    position: dict[str, int] = field(default_factory=dict)

    def error(self, prediction: np.ndarray, *, test: bool) -> float:
        """Return the table's error: 1 - ROC AUC, log-loss or RMSE."""
        y = self.y_test if test else self.y
        if self.metric == "rmse":
            return float(np.sqrt(np.mean((y - prediction[:, 0]) ** 2)))
        if self.metric == "log_loss":
            return _log_loss(y, prediction)
        ranks = rankdata(prediction[:, 1])
        positive = y == 1
        n = positive.sum()
        return float(1 - (ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))

    def choosing_error(self, prediction: np.ndarray) -> float:
        """Return the error that blends are chosen by, on OOF rows: quick to compute."""
        if self.metric == "rmse":
            return self.error(prediction, test=False)
        return _log_loss(self.y, prediction)


def _log_loss(y: np.ndarray, prediction: np.ndarray) -> float:
    truth = prediction[np.arange(len(y)), y.astype(int)] / prediction.sum(axis=1)
    return float(-np.mean(np.log(np.maximum(truth, 1e-9))))


def read(folder: Path) -> Recorded:
    """Read one table's configurations."""
    target = np.load(folder / "target.npz")
    files = sorted(p for p in folder.glob("*.npz") if p.stem != "target")
    loaded = [np.load(path) for path in files]
    found = Recorded(
        name=folder.name,
        metric=str(target["metric"]),
        y=target["y"],
        y_test=target["y_test"],
        keys=[path.stem for path in files],
        oof=np.stack([each["oof"] for each in loaded]).astype(float),
        test=np.stack([each["test"] for each in loaded]).astype(float),
        seconds=np.array(
            [np.sum(each["fit_seconds"]) + np.sum(each["predict_seconds"]) for each in loaded]
        ),
    )
    found.position = {key: k for k, key in enumerate(found.keys)}
    return found


class Ensemble:
    """A blend on one table that grows by one configuration at a time."""

    def __init__(self, table: Recorded) -> None:
        self.table = table
        self._oof: np.ndarray | None = None
        self._test: np.ndarray | None = None
        self.loss = np.inf

    @property
    def error(self) -> float:
        """Return the error on rows that no fold saw."""
        return np.inf if self._test is None else self.table.error(self._test, test=True)

    @property
    def judged(self) -> float:
        """Return the geometric mean of that and of the error of OOF predictions.

        Both are noisy, and only one number, the share, was chosen on OOF rows.
        """
        if self._oof is None or self._test is None:
            return np.inf
        return self._judged(self._oof, self._test)

    def _judged(self, oof: np.ndarray, test: np.ndarray) -> float:
        errors = self.table.error(oof, test=False) * self.table.error(test, test=True)
        return float(np.sqrt(max(errors, 1e-12)))

    def blended(self, key: str) -> tuple[float, float]:
        """Return the best share of a configuration, and the judged error of that blend."""
        k = self.table.position[key]
        oof, test = self.table.oof[k], self.table.test[k]
        if self._oof is None or self._test is None:
            return 1.0, self._judged(oof, test)
        losses = [self.loss] + [
            self.table.choosing_error((1 - s) * self._oof + s * oof) for s in SHARES[1:]
        ]
        share = float(SHARES[int(np.argmin(losses))])
        blend = (1 - share) * self._oof + share * oof, (1 - share) * self._test + share * test
        return share, self._judged(*blend)

    def add(self, key: str) -> None:
        """Blend a configuration in."""
        share, _ = self.blended(key)
        k = self.table.position[key]
        before = (0.0, 0.0) if self._oof is None or self._test is None else (self._oof, self._test)
        self._oof = (1 - share) * before[0] + share * self.table.oof[k]
        self._test = (1 - share) * before[1] + share * self.table.test[k]
        self.loss = self.table.choosing_error(self._oof)


def learned(tables: Sequence[Recorded], size: int, power: float) -> list[tuple[str, float]]:
    """Return configurations in the order of their worth, with the mean log error after each."""
    keys = sorted(set().union(*(table.keys for table in tables)))
    pace = {
        key: float(
            np.mean(
                [
                    np.log(t.seconds[t.position[key]] / np.median(t.seconds) + 0.05)
                    for t in tables
                    if key in t.position
                ]
            )
        )
        for key in keys
    }
    ensembles = [Ensemble(table) for table in tables]
    worst = {t.name: max(t.error(p, test=True) for p in t.test) for t in tables}
    order: list[tuple[str, float]] = []
    while len(order) < size:
        gains = {}
        most = MOST_GAIN if order else np.inf
        for key in keys:
            if key in [chosen for chosen, _ in order]:
                continue
            logs = []
            for ensemble in ensembles:
                table = ensemble.table
                before = ensemble.judged if order else worst[table.name]
                if key in table.position:
                    gain = np.log(max(before, 1e-9) / max(ensemble.blended(key)[1], 1e-9))
                    logs.append(float(np.clip(gain, -most, most)))
                else:
                    logs.append(0.0)
            gains[key] = float(np.mean(logs)) / np.exp(power * pace[key])
        best = max(gains, key=lambda key: gains[key])
        for ensemble in ensembles:
            if best in ensemble.table.position:
                ensemble.add(best)
        order.append((best, mean_log_error(ensembles)))
    return order


def mean_log_error(ensembles: Sequence[Ensemble]) -> float:
    """Return the mean over tables of the logarithm of the error on rows that no fold saw."""
    return float(np.mean(log_errors(ensembles)))


def log_errors(ensembles: Sequence[Ensemble]) -> np.ndarray:
    """Return the logarithm of the error of each table."""
    return np.array([np.log(max(each.error, 1e-9)) for each in ensembles])


def followed(tables: Sequence[Recorded], order: Sequence[str], counts: Sequence[int]) -> np.ndarray:
    """Return log errors (n_counts, n_tables) of greedy selection from the first of an order."""
    found = [[_selected(table, order[:count]) for table in tables] for count in counts]
    return np.array(found)


def _selected(table: Recorded, order: Sequence[str]) -> float:
    """Return the log error of 25 rounds of greedy selection with replacement (Caruana 2004)."""
    chosen = [table.position[key] for key in order if key in table.position]
    oof, test = table.oof[chosen], table.test[chosen]
    total, total_test = np.zeros_like(oof[0]), np.zeros_like(test[0])
    best, best_test = np.inf, test[0]
    for turn in range(ROUNDS):
        losses = [table.choosing_error((total + one) / (turn + 1)) for one in oof]
        member = int(np.argmin(losses))
        total, total_test = total + oof[member], total_test + test[member]
        if losses[member] < best:
            best, best_test = losses[member], total_test / (turn + 1)
    return float(np.log(max(table.error(best_test, test=True), 1e-9)))


def merits_order() -> list[str]:
    """Return the plugins' portfolios in falling order of merit."""
    from collect import key_of

    entries = [
        (-entry.merit, name, key_of(name, entry.params))
        for name, spec in discover().learners.items()
        for entry in spec.portfolio
    ]
    return [key for _, _, key in sorted(entries)]


def params_of(key: str) -> dict[str, Any]:
    """Return the params of a configuration from any table that has it."""
    path = next(RESULTS.glob(f"*/{key}.npz"))
    found: dict[str, Any] = json.loads(str(np.load(path)["params"]))
    return found


def write_figures(tables: Sequence[Recorded], folder: Path) -> None:
    """Write what the order is chosen from: errors and seconds, and what the keys stand for."""
    with (folder / "figures.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "metric", "configuration", "oof_error", "test_error", "seconds"])
        for table in tables:
            for key, k in table.position.items():
                errors = (
                    table.error(table.oof[k], test=False),
                    table.error(table.test[k], test=True),
                )
                row = [f"{value:.5g}" for value in (*errors, table.seconds[k])]
                writer.writerow([table.name, table.metric, key, *row])
    keys = sorted(set().union(*(table.keys for table in tables)))
    lines = [f"  {json.dumps(key)}: {json.dumps(params_of(key), sort_keys=True)}" for key in keys]
    (folder / "configurations.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _validate(tables: Sequence[Recorded], size: int, power: float) -> None:
    """Print what learned, present and random orders are worth on tables that did not choose."""
    counts = [count for count in COUNTS if count <= size]
    curves: dict[str, list[np.ndarray]] = {"merits": [], "learned": [], "random": []}
    rng = np.random.default_rng(0)
    everything = sorted(set().union(*(table.keys for table in tables)))
    for group in range(GROUPS):
        inside = [t for k, t in enumerate(tables) if k % GROUPS != group]
        outside = [t for k, t in enumerate(tables) if k % GROUPS == group]
        order = [key for key, _ in learned(inside, size, power)]
        curves["learned"].append(followed(outside, order, counts))
        curves["merits"].append(followed(outside, merits_order(), counts))
        drawn = [str(key) for key in rng.permutation(everything)]
        curves["random"].append(followed(outside, drawn, counts))
    errors = {name: np.concatenate(parts, axis=1) for name, parts in curves.items()}
    print("error relative to the present order: mean, and mean without the extreme tables")
    for name, found in errors.items():
        ratios = found - errors["merits"]
        cells = [
            f"{count}: {np.exp(row.mean()):.4f} {np.exp(np.sort(row)[2:-2].mean()):.4f}"
            for count, row in zip(counts, ratios, strict=True)
        ]
        print(f"  {name:8}", "  ".join(cells))


def main() -> None:
    """Learn an order from all tables; report what such an order is worth on tables left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=30)
    parser.add_argument("--power", type=float, default=PATIENCE_POWER)
    parser.add_argument("--no-validation", action="store_true")
    parser.add_argument("--figures", type=Path, help="folder to write the figures to")
    options = parser.parse_args()
    folders = sorted(p for p in RESULTS.iterdir() if len(list(p.glob("*.npz"))) > 20)
    tables = [read(folder) for folder in folders]
    print(f"{len(tables)} tables: {', '.join(table.name for table in tables)}")
    if options.figures is not None:
        write_figures(tables, options.figures)
    if not options.no_validation:
        _validate(tables, options.size, options.power)
    size = options.size
    for rank, (key, error) in enumerate(learned(tables, size, options.power)):
        seconds = np.median([t.seconds[t.position[key]] for t in tables if key in t.position])
        print(f"{rank + 1:3d} {np.exp(error):.5f} {seconds:6.2f} s {key} {params_of(key)}")


if __name__ == "__main__":
    main()
