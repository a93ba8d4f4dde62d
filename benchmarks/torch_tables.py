"""How fast networks for tables train, alone and many at the same time.

    python benchmarks/torch_tables.py [--rows 10000] [--features 20] [--epochs 8]
        [--folds 5] [--configurations 8] [--batched-epochs 2] [--device auto] [--threads 1]

First RealMLP and TabM, the first configuration of each, for a fixed number of epochs without
validation rows. Then RealMLP on several folds and with several configurations, as one batched
network and one after another. ``share`` is that of the arithmetic which one large matrix product
does per second on the same device, in the precision of the training. Needs torch.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from automl_fuse.specs import FitContext, Matrix, Rows, Task
from automl_fuse_torch import realmlp, tabm
from automl_fuse_torch.devices import Device
from automl_fuse_torch.fitting import FitTask, fit_many
from automl_fuse_torch.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from automl_fuse_torch.learner import Family

FAMILIES: dict[str, tuple[Family, dict[str, object]]] = {
    "realmlp": (realmlp.FAMILY, dict(realmlp.REALMLP.portfolio[0].params)),
    "tabm": (tabm.FAMILY, dict(tabm.TABM.portfolio[0].params)),
}
RATES = np.geomspace(0.01, 0.1, 8)


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        """Return a long time."""
        return 1e9

    def expired(self) -> bool:
        """Return that it has not passed."""
        return False


def table(n_rows: int, n_features: int, seed: int) -> Rows:
    """Return rows of two classes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_features))
    signal = values[:, 0] + values[:, 1] * values[:, 2] + 0.5 * rng.normal(size=n_rows)
    names = [f"x{i}" for i in range(n_features)]
    return Rows(X=Matrix.numbers(values, names), y=(signal > 0).astype(np.int64))


def tasks_of(
    learner: str, rows: list[Rows], epochs: int, threads: int, configurations: int = 1
) -> list[FitTask]:
    """Return a task for each table and configuration; these differ in rate, dropout and seed."""
    context = FitContext(task=Task.BINARY, n_classes=2, seed=0, n_threads=threads, deadline=Far())
    plain = {**FAMILIES[learner][1], "epochs": epochs}
    return [
        FitTask(
            learner=learner,
            params=plain
            if configurations == 1
            else {**plain, "learning_rate": RATES[i % len(RATES)], "dropout": 0.05 * (i % 4)},
            context=replace(context, seed=i),
            train=each,
            valid=None,
        )
        for each in rows
        for i in range(configurations)
    ]


def seconds_of(work: Callable[[], object], device: Device) -> float:
    """Return the wall time of some work, what it started on a card included."""
    device.settle()
    start = time.perf_counter()
    work()
    device.settle()
    return time.perf_counter() - start


def products_per_second(device: Device) -> float:
    """Return multiplications and additions per second in one large matrix product."""
    size = 8192 if device.is_cuda else 1024
    kind = torch.bfloat16 if device.bfloat16 else torch.float32
    matrix = torch.randn(size, size, device=device.name).to(kind)
    repeats = 20 if device.is_cuda else 3

    def work() -> None:
        for _ in range(repeats):
            torch.mm(matrix, matrix)

    work()
    return 2.0 * size**3 * repeats / min(seconds_of(work, device) for _ in range(3))


def arithmetic(learner: str, rows: Rows) -> float:
    """Return multiplications and additions in matrix products of one row's training step.

    Twice the weights of the dense layers for the forward pass, and twice that for the backward.
    """
    family, params = FAMILIES[learner]
    shape = Inputs.fitted(rows.X, family.flagged_levels).shape
    context = FitContext(task=Task.BINARY, n_classes=2, seed=0, n_threads=1, deadline=Far())
    network = family.design(params, context, shape, len(rows.y)).network
    shared = [p.size for name, p in network.parameters().items() if name.endswith(".weight")]
    heads = getattr(network, "heads", 1)
    own = network.parameters().get("last.weight")
    return 6.0 * (heads * sum(shared) - (0 if own is None else (heads - 1) * own.size))


def main() -> None:
    """Print what was measured."""
    given = options()
    device = Device.chosen(given.device)
    torch.set_num_threads(given.threads)
    name = torch.cuda.get_device_name() if device.is_cuda else f"{given.threads} thread(s)"
    most = products_per_second(device)
    kind = "bfloat16" if device.bfloat16 else "float32"
    print(f"{device.name} ({name}), torch {torch.__version__}: {most / 1e12:.3f} TFLOP/s {kind}")
    rows = table(given.rows, given.features, 0)
    print(f"\n{given.rows:,} rows x {given.features} features, {given.epochs} epochs")
    for learner in FAMILIES:
        alone(learner, rows, given, device, most)
    together(rows, given, device, most)


def alone(learner: str, rows: Rows, given: argparse.Namespace, device: Device, most: float) -> None:
    """Measure one network."""
    fit_many(tasks_of(learner, [rows], 1, given.threads), device.name)
    tasks = tasks_of(learner, [rows], given.epochs, given.threads)
    seconds = seconds_of(lambda: fit_many(tasks, device.name), device)
    speed = len(rows.y) * given.epochs / seconds
    share = speed * arithmetic(learner, rows) / most
    print(f"{learner:10s} {seconds:8.2f} s  {speed:12,.0f} rows/s  share {share:.1%}")


def together(rows: Rows, given: argparse.Namespace, device: Device, most: float) -> None:
    """Measure folds and configurations at the same time, and one after another."""
    n_members = given.folds * given.configurations
    size = len(rows.y) * (given.folds - 1) // given.folds
    tables = [table(size, given.features, seed) for seed in range(given.folds)]
    arguments = ("realmlp", tables, given.batched_epochs, given.threads, given.configurations)
    tasks = tasks_of(*arguments)
    batched = seconds_of(lambda: fit_many(tasks, device.name), device)
    single = seconds_of(lambda: fit_many(tasks[:1], device.name), device)
    each = seconds_of(lambda: [fit_many([task], device.name) for task in tasks], device)
    print(
        f"\nrealmlp, {given.folds} folds x {given.configurations} configurations of {size:,} rows, "
        f"{given.batched_epochs} epochs"
    )
    work = n_members * size * given.batched_epochs
    for label, seconds, done in (
        ("one network", single, work / n_members),
        ("as one batched network", batched, work),
        ("one after another", each, work),
    ):
        speed = done / seconds
        share = speed * arithmetic("realmlp", tables[0]) / most
        print(f"{label:24s} {seconds:8.2f} s  {speed:12,.0f} rows/s  share {share:.1%}")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for flag, value in (
        ("--rows", 10_000),
        ("--features", 20),
        ("--epochs", 8),
        ("--folds", 5),
        ("--configurations", 8),
        ("--batched-epochs", 2),
        ("--threads", 1),
    ):
        parser.add_argument(flag, type=int, default=value)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
