"""Images, sounds, texts, sequences, users and items: test scores of networks and of whole runs.

    python benchmarks/modalities.py --time-limit 300 [--only digits sms] [--parts networks run]

For each table two parts. ``networks``: the first configuration of each network for its kind of
column, trained on all folds, alone and averaged with equal weights. ``run``: a whole run of all
learners that are installed; its fused pipeline, and its best member by the out-of-fold score.
Training rows are split by the engine alone, and test rows scored once at the end. One line of JSON
for each score is appended to ``benchmarks/results/modalities.jsonl``. Needs the extra ``torch``.

Tables are looked for in ``../shared/data``; ``digits`` comes with scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

import automl_fuse
from automl_fuse import Settings
from automl_fuse.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automl_fuse.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Modality:
    """A table: where it comes from, what is scored, and the networks for it.

    Attributes
    ----------
    target, metric : str
        What is predicted; ``"accuracy"``, ``"f1"``, ``"roc_auc"`` or ``"rmse"``.
    bar : float
        What the fused pipeline is to reach.
    networks : tuple of str
        Learners for its kind of column.
    settings : Settings
        What the table needs.
    """

    target: str
    metric: str
    bar: float
    networks: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)


MODALITIES = {
    "digits": Modality(
        target="digit",
        metric="accuracy",
        bar=0.985,
        networks=("image_cnn",),
        settings=Settings(kinds={"image": "image"}, task="multiclass"),
    ),
    "spoken-digits": Modality(
        target="digit", metric="accuracy", bar=0.95, networks=("audio_cnn", "audio_lstm")
    ),
    "sms": Modality(
        target="label", metric="f1", bar=0.96, networks=("text_rnn", "text_transformer")
    ),
    "indoor-movement": Modality(
        target="crossed",
        metric="roc_auc",
        bar=0.95,
        networks=("sequence_cnn", "sequence_rnn", "sequence_transformer"),
    ),
    "movielens": Modality(
        target="rating",
        metric="rmse",
        bar=0.92,
        networks=("bayesian_factorisation", "factorisation"),
        settings=Settings(task="regression"),
    ),
}


@dataclass(frozen=True)
class One:
    """The fusion of one member."""

    weights: tuple[float, ...] = (1.0,)

    def combine(self, predictions: Any) -> Any:
        """Return what the member predicts."""
        return predictions[0]


def tables(name: str, data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows."""
    if name == "digits":
        pixels, digit = load_digits(return_X_y=True)
        images = [row.reshape(8, 8).astype(np.uint8) for row in pixels]
        frame = pd.DataFrame({"image": images, "digit": digit})
        parts = train_test_split(frame, test_size=450, random_state=0, stratify=digit)
        return tuple(part.reset_index(drop=True) for part in parts)
    folder = data / name
    if (folder / "train.parquet").exists():
        return tuple(pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
    frames = [pd.read_csv(folder / f"{part}.csv") for part in ("train", "test")]
    for frame in frames:
        if "audio" in frame:
            frame["audio"] = [str(folder / path) for path in frame["audio"]]
    return tuple(frames)


def score(metric: str, classes: Any, truth: Any, predictions: Any) -> float:
    """Return a score of probabilities (n_rows, n_classes), or of values (n_rows,)."""
    if metric == "rmse":
        return float(root_mean_squared_error(truth, predictions))
    labels = np.asarray(classes)[predictions.argmax(axis=1)]
    if metric == "accuracy":
        return float(accuracy_score(truth, labels))
    if metric == "f1":
        return float(f1_score(truth, labels, pos_label=classes[1]))
    return float(roc_auc_score(np.asarray(truth) == classes[1], predictions[:, 1]))


def predicted(pipeline: Pipeline, rows: pd.DataFrame) -> Any:
    """Return probabilities, or values."""
    return pipeline.predict(rows) if pipeline.classes_ is None else pipeline.predict_proba(rows)


def alone(pipeline: Pipeline, name: str) -> Pipeline:
    """Return the pipeline of one member."""
    member = next(member for member in pipeline.members if member.name == name)
    return replace(pipeline, members=(member,), fusion=One(), calibration=Calibration())


def networks(
    modality: Modality, train: pd.DataFrame, test: pd.DataFrame, limit: float
) -> Iterator[dict[str, Any]]:
    """Yield the score of each network, and of all with equal weights."""
    made = []
    for learner in modality.networks:
        settings = replace(modality.settings, learners=(learner,), max_trials=1, compressors=())
        start = time.perf_counter()
        pipeline = automl_fuse.fit(
            train, target=modality.target, time_limit=limit, settings=settings
        )
        seconds = time.perf_counter() - start
        made.append(predicted(pipeline, test))
        truth = test[modality.target]
        reached = score(modality.metric, pipeline.classes_, truth, made[-1])
        oof = pipeline.leaderboard().iloc[0]["score"]
        yield {"what": learner, "score": reached, "seconds": seconds, "oof": oof}
    if len(made) > 1:
        reached = score(modality.metric, pipeline.classes_, truth, np.mean(made, axis=0))
        yield {"what": " + ".join(modality.networks), "score": reached}


def run(
    modality: Modality, train: pd.DataFrame, test: pd.DataFrame, limit: float
) -> Iterator[dict[str, Any]]:
    """Yield the scores of a whole run's fused pipeline, and of its best member."""
    start = time.perf_counter()
    pipeline = automl_fuse.fit(
        train,
        target=modality.target,
        time_limit=limit,
        prefer="quality",
        settings=modality.settings,
    )
    seconds, truth = time.perf_counter() - start, test[modality.target]
    reached = score(modality.metric, pipeline.classes_, truth, predicted(pipeline, test))
    members = {
        m.name: float(w) for m, w in zip(pipeline.members, pipeline.fusion.weights, strict=True)
    }
    yield {"what": "fused", "score": reached, "seconds": seconds, "members": members}
    board = pipeline.leaderboard()
    kept = board[board["member"].isin(members)]
    best = kept.iloc[0]["member"]
    reached = score(
        modality.metric, pipeline.classes_, truth, predicted(alone(pipeline, best), test)
    )
    yield {"what": f"best member: {best}", "score": reached}


PARTS = {"networks": networks, "run": run}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and keep scores."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--time-limit", type=float, default=300.0)
    parser.add_argument("--only", nargs="+", choices=MODALITIES, default=list(MODALITIES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks" / "results" / "modalities.jsonl"
    )
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        modality = MODALITIES[name]
        train, test = tables(name, given.data)
        for part in given.parts:
            for line in PARTS[part](modality, train, test, given.time_limit):
                known = {"table": name, "metric": modality.metric, "bar": modality.bar}
                known |= {"limit": given.time_limit, "cores": os.cpu_count()}
                with given.output.open("a") as file:
                    file.write(json.dumps(known | line) + "\n")
                print(f"{name:16} {modality.metric:9} {line['score']:.4f}  {line['what']}")


if __name__ == "__main__":
    main()
