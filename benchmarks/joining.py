"""Networks joined against each of them alone and their equal mean, on training rows split again.

    python benchmarks/joining.py [--only spoken-digits] [--repeats 2] [--all-ways]

Of the training rows of each table, stratified quarters take turns: two are trained on, one ends
the training of the members early and chooses a temperature for each way, one is scored, and nothing
was chosen on it. Members are the first configurations of the networks; joints are made of them,
fold by fold, as in a run. Test files are not read. One line of JSON for each way is appended to
``benchmarks/results/joining.jsonl``: means over quarters and repeats of the log-loss, with and
without the temperature, and of the accuracy; the mean difference of the log-loss (with it) to that
of the equal mean, and its standard error; and the seconds of a fold. Needs the extra ``torch``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from modalities import MODALITIES, ROOT, tables
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold

from automl_fuse.budget import Deadline
from automl_fuse.encoding import FoldEncoder
from automl_fuse.folds import Fold
from automl_fuse.preparation import prepare_run
from automl_fuse.run import RunDirectory
from automl_fuse.specs import Job, Joint
from automl_fuse.trial import FoldRunner, PluginChoice
from automl_fuse_torch.frozen_branches import FitHead
from automl_fuse_torch.joint_networks import TrainTogether

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automl_fuse.preparation import Prepared
    from automl_fuse.specs import Array

QUARTERS = 4
TEMPERATURES = np.geomspace(0.2, 3.0, 60)
WAYS: dict[str, Any] = {
    "joint_networks, 8 epochs, rate x 0.1": TrainTogether(epochs=8, rate=0.1),
    "frozen_branches, 3 copies": FitHead(copies=3),
}
"""The first configurations of both compressors."""
MORE_WAYS: dict[str, Any] = {
    **{
        f"joint_networks, {epochs} epochs, rate x {rate:g}": TrainTogether(epochs=epochs, rate=rate)
        for epochs, rate in ((16, 0.1), (8, 0.3), (16, 0.3))
    },
    "frozen_branches, 0 copies": FitHead(copies=0),
}


@dataclass(frozen=True, kw_only=True)
class Quarters:
    """One way to turn quarters of a table into rows to train on, to stop by, and to score."""

    prepared: Prepared
    splits: tuple[Fold, ...]
    scored: tuple[Array, ...]


def quarters(prepared: Prepared, seed: int) -> Quarters:
    """Split the rows of a table; each quarter is scored once."""
    y = prepared.data.y
    cut = StratifiedKFold(QUARTERS, shuffle=True, random_state=seed)
    parts = [rows for _, rows in cut.split(np.zeros(len(y)), y)]
    splits = []
    for place in range(QUARTERS):
        stopping = parts[(place + 1) % QUARTERS]
        train = np.setdiff1d(np.arange(len(y)), np.concatenate([parts[place], stopping]))
        splits.append(Fold(train=train, valid=stopping))
    data = replace(prepared.data, folds=tuple(splits), seed=seed)
    return Quarters(
        prepared=replace(prepared, data=data), splits=tuple(splits), scored=tuple(parts)
    )


def temperature_of(y: Array, found: Array) -> float:
    """Return the temperature of least log-loss."""
    classes = range(found.shape[1])
    losses = [log_loss(y, tempered(found, each), labels=classes) for each in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def tempered(found: Array, temperature: float) -> Array:
    """Return probabilities to the power of one over the temperature, normalised."""
    raised = np.maximum(found, 1e-12) ** (1.0 / temperature)
    return raised / raised.sum(axis=1, keepdims=True)


def predictions(
    table: Quarters, networks: Sequence[str], ways: Mapping[str, Any], seconds: float
) -> Iterator[tuple[str, int, tuple[Array, Array], float]]:
    """Yield what each way predicts for the stopping and the scored quarter, and its seconds."""
    prepared = table.prepared
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        runner = FoldRunner(prepared.data, run, PluginChoice(), 1)
        encoder = FoldEncoder(prepared.data, run, prepared.plugins.encoders, 1)

        def made(job: Job, rows: Array) -> tuple[tuple[Array, Array], float]:
            start = time.perf_counter()
            result = runner(job)
            if result.error:
                raise RuntimeError(result.error)
            took = time.perf_counter() - start
            model = run.seals.load(run.fold_model(job.member, job.fold))
            columns = prepared.data.columns.take(rows)
            source = ("scored",)
            features = encoder.of_others(
                columns, job.fold, model.encoders, source, Deadline(seconds)
            )
            return (result.predictions, model.predict(features)), took

        for fold, rows in enumerate(table.scored):
            each = []
            for name in networks:
                params = prepared.plugins.learners[name].portfolio[0].params
                job = Job(member=name, learner=name, params=params, fold=fold, seconds=seconds)
                found, took = made(job, rows)
                each.append(found)
                yield name, fold, found, took
            stopping, scored = (np.mean(parts, axis=0) for parts in zip(*each, strict=True))
            yield "equal mean", fold, (stopping, scored), 0.0
            for way, join in ways.items():
                joint = Joint(name=way, members=tuple(range(len(networks))), join=join)
                job = Job(
                    member="joint",
                    learner=networks[0],
                    params={},
                    fold=fold,
                    seconds=seconds,
                    edit=joint,
                    source=networks[0],
                    others=tuple(networks[1:]),
                )
                yield way, fold, *made(job, rows)


def prepared_table(name: str, data: Path) -> Prepared:
    """Return the training rows of a table as a run begins with them."""
    modality = MODALITIES[name]
    said = {
        "data": tables(name, data)[0],
        "target": modality.target,
        "metric": "log_loss",
        "sample_weight": None,
        "groups": None,
    }
    settings = replace(modality.settings, learners=modality.networks, compressors=())
    return prepare_run(said, None, settings, 3600.0)


def figures(
    name: str, prepared: Prepared, ways: Mapping[str, Any], repeats: int, seconds: float
) -> Iterator[Mapping[str, Any]]:
    """Yield the line of each way for a table."""
    losses, raw = defaultdict(list), defaultdict(list)
    right, spent = defaultdict(list), defaultdict(list)
    networks = MODALITIES[name].networks
    for seed in range(repeats):
        table = quarters(prepared, seed)
        y, classes = prepared.data.y, range(prepared.data.n_classes)
        for way, fold, (stopping, found), took in predictions(table, networks, ways, seconds):
            truth = y[table.scored[fold]]
            temperature = temperature_of(y[table.splits[fold].valid], stopping)
            raw[way].append(log_loss(truth, found, labels=classes))
            losses[way].append(log_loss(truth, tempered(found, temperature), labels=classes))
            right[way].append(accuracy_score(truth, found.argmax(axis=1)))
            spent[way].append(took)
            shown = f"{raw[way][-1]:.4f} {losses[way][-1]:.4f} {right[way][-1]:.3f} {took:.1f} s"
            print(seed, fold, way, shown, flush=True)
    for way, values in losses.items():
        difference = np.subtract(values, losses["equal mean"])
        yield {
            "table": name,
            "way": way,
            "log_loss": float(np.mean(raw[way])),
            "calibrated": float(np.mean(values)),
            "against_mean": float(difference.mean()),
            "error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
            "accuracy": float(np.mean(right[way])),
            "seconds": float(np.mean(spent[way])),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and keep figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["spoken-digits"], choices=list(MODALITIES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0, help="of one fit, at most")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--all-ways", action="store_true", help="other configurations, too")
    told = parser.parse_args(arguments)
    ways = WAYS | (MORE_WAYS if told.all_ways else {})
    path = ROOT / "benchmarks" / "results" / "joining.jsonl"
    path.parent.mkdir(exist_ok=True)
    for name in told.only:
        prepared = prepared_table(name, told.data)
        for line in figures(name, prepared, ways, told.repeats, told.seconds):
            print(json.dumps(line))
            with path.open("a") as file:
                file.write(json.dumps(line) + os.linesep)


if __name__ == "__main__":
    main()
