"""Networks joined against each of them alone and their equal mean, on training rows split again.

    python benchmarks/joining.py [--only spoken-digits] [--repeats 2] [--data ../shared/data]

Of the training rows of each table, stratified quarters take turns: two are trained on, one ends
the training of the members early, one is scored, and nothing was chosen on it. Members are the
first configurations of the networks; joints are made of them, fold by fold, as in a run. Test
files are not read. One line of JSON for each way is appended to
``benchmarks/results/joining.jsonl``: the mean over quarters and repeats of log-loss and accuracy,
the standard error of the difference of the log-loss to that of the equal mean, and the seconds of a
fold. Needs the extra ``torch``.
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
WAYS: dict[str, Any] = {
    **{
        f"joint_networks, {epochs} epochs, rate x {rate:g}": TrainTogether(epochs=epochs, rate=rate)
        for epochs, rate in ((0, 0.1), (8, 0.1), (16, 0.1), (8, 0.3), (16, 0.3))
    },
    **{f"frozen_branches, {copies} copies": FitHead(copies=copies) for copies in (0, 3)},
}
"""With no epochs: what the gate starts from, which is the equal mean."""


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


def predictions(
    table: Quarters, networks: Sequence[str], seconds: float
) -> Iterator[tuple[str, int, Array, float]]:
    """Yield what each way predicts for the scored quarter of each fold, and its seconds."""
    prepared = table.prepared
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        runner = FoldRunner(prepared.data, run, PluginChoice(), 1)
        encoder = FoldEncoder(prepared.data, run, prepared.plugins.encoders, 1)

        def made(job: Job, rows: Array) -> tuple[Array, float]:
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
            return model.predict(features), took

        for fold, rows in enumerate(table.scored):
            each = []
            for name in networks:
                params = prepared.plugins.learners[name].portfolio[0].params
                job = Job(member=name, learner=name, params=params, fold=fold, seconds=seconds)
                found, took = made(job, rows)
                each.append(found)
                yield name, fold, found, took
            yield "equal mean", fold, np.mean(each, axis=0), 0.0
            for way, join in WAYS.items():
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
    name: str, prepared: Prepared, repeats: int, seconds: float
) -> Iterator[Mapping[str, Any]]:
    """Yield the line of each way for a table."""
    losses, right, spent = defaultdict(list), defaultdict(list), defaultdict(list)
    for seed in range(repeats):
        table = quarters(prepared, seed)
        y, classes = prepared.data.y, range(prepared.data.n_classes)
        for way, fold, found, took in predictions(table, MODALITIES[name].networks, seconds):
            truth = y[table.scored[fold]]
            losses[way].append(log_loss(truth, found, labels=classes))
            right[way].append(accuracy_score(truth, found.argmax(axis=1)))
            spent[way].append(took)
            shown = f"{losses[way][-1]:.4f} {right[way][-1]:.3f} {took:.1f} s"
            print(seed, fold, way, shown, flush=True)
    for way, values in losses.items():
        difference = np.subtract(values, losses["equal mean"])
        yield {
            "table": name,
            "way": way,
            "log_loss": float(np.mean(values)),
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
    told = parser.parse_args(arguments)
    path = ROOT / "benchmarks" / "results" / "joining.jsonl"
    path.parent.mkdir(exist_ok=True)
    for name in told.only:
        prepared = prepared_table(name, told.data)
        for line in figures(name, prepared, told.repeats, told.seconds):
            print(json.dumps(line))
            with path.open("a") as file:
                file.write(json.dumps(line) + os.linesep)


if __name__ == "__main__":
    main()
