"""Results of ``deployment.py`` beside those of the peers, and the bars that they must reach."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ENSEMBLE, BALANCED, SPEED = "ensemble", "balanced", "speed"
FORMS = (ENSEMBLE, "quality", BALANCED, SPEED)
BEST_PEER = "autogluon_best"
PEERS = (BEST_PEER, "flaml")

LEAST_ONE_ROW = 300.0
LEAST_BATCH = 10.0
LEAST_BYTES = 10.0
MOST_LOSS = 0.01
RATIOS = (
    ("one row, both from a frame", "one_row_ms", "one_row_ms", 1.0, LEAST_ONE_ROW),
    ("one row, ours inside onnxruntime", "one_row_ms", "one_row_inside_us", 1e-3, LEAST_ONE_ROW),
    ("10,000 rows, both from a frame", "batch_seconds", "batch_seconds", 1.0, LEAST_BATCH),
    (
        "10,000 rows, both from a frame, ours in one thread",
        "batch_seconds",
        "batch_alone_seconds",
        1.0,
        LEAST_BATCH,
    ),
    (
        "10,000 rows, ours inside onnxruntime",
        "batch_seconds",
        "batch_inside_seconds",
        1.0,
        LEAST_BATCH,
    ),
    ("bytes", "bytes", "bytes", 1.0, LEAST_BYTES),
)
"""What is divided: name, the peer's measure, ours, its unit in that of the peer's, the bar."""

Line = dict[str, Any]
Figure = float | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that is known of one table: our forms and the peers, over the seeds.

    Attributes
    ----------
    name, metric : str
        Of the table.
    lines : tuple of dict
        Lines of ``deployment.py``, one a seed.
    peers : mapping of str to tuple of dict
        Lines of ``compare.py`` by system.
    """

    name: str
    metric: str
    lines: tuple[Line, ...]
    peers: dict[str, tuple[Line, ...]]

    def ours(self, form: str, measure: str) -> Figure:
        """Return the mean of a measure of one of our forms; None if a seed failed or lacks it."""
        if any(line["failure"] for line in self.lines):
            return None
        return _mean(self._measured(line["forms"][form], measure) for line in self.lines)

    def peer(self, system: str, measure: str) -> Figure:
        """Return the mean of a measure of a peer; None if a seed failed, or it was not run."""
        lines = self.peers.get(system, ())
        if not lines or any(line["failure"] for line in lines):
            return None
        return _mean(self._measured(line, measure) for line in lines)

    def of(self, column: str, measure: str) -> Figure:
        """Return a measure of a form or a peer, whichever is called so."""
        return self.ours(column, measure) if column in FORMS else self.peer(column, measure)

    def state(self, column: str) -> str:
        """Return what stands in a cell without figure."""
        lines = self.lines if column in FORMS else self.peers.get(column, ())
        return report.FAILED if lines else report.ABSENT

    def _measured(self, holder: Line, measure: str) -> Figure:
        if holder.get("failure"):
            return None
        found = holder["scores"][self.metric] if measure == "score" else holder.get(measure)
        return None if found is None else float(found)

    def loss(self, form: str) -> Figure:
        """Return how much worse a form is than the ensemble on the test rows; None if one failed.

        Of log-loss and RMSE the increase, of ROC AUC the decrease, by the ensemble's value.
        """
        own, whole = self.ours(form, "score"), self.ours(ENSEMBLE, "score")
        if own is None or whole is None:
            return None
        sign = -1.0 if self.metric == "roc_auc" else 1.0
        return sign * (own - whole) / max(abs(whole), 1e-12)

    def ratio(self, theirs: str, ours: str, unit: float = 1.0) -> Figure:
        """Return a measure of AutoGluon's best divided by one of balanced; 0 if ours failed.

        Parameters
        ----------
        theirs, ours : str
            The measures.
        unit : float
            What one unit of ours is in the peer's.
        """
        peer, own = self.peer(BEST_PEER, theirs), self.ours(BALANCED, ours)
        if peer is None:
            return None
        return 0.0 if own is None else peer / (unit * own)

    def worst(self, measure: str) -> Figure:
        """Return the largest value of a measure over all artefacts and seeds that have it."""
        found = [
            float(form[measure])
            for line in self.lines
            if not line["failure"]
            for name, form in line["forms"].items()
            if name != ENSEMBLE and form.get(measure) is not None
        ]
        return max(found, default=None)


def _mean(values: Iterable[Figure]) -> Figure:
    """Return the mean; None if one is missing."""
    found = list(values)
    known = [value for value in found if value is not None]
    return fmean(known) if found and len(known) == len(found) else None


def gather(deployment: Iterable[Line], peers: Iterable[Line]) -> list[Table]:
    """Order lines by table; of repeated runs the last counts.

    Raises
    ------
    ValueError
        If the runs had different limits or cores.
    """
    ours = {(line["table"], line["seed"]): line for line in deployment}
    theirs = {(line["table"], line["system"], line["seed"]): line for line in peers}
    limits = {(line["time_limit"], line["cores"]) for line in (*ours.values(), *theirs.values())}
    if len(limits) > 1:
        raise ValueError(f"runs of different limits and cores: {sorted(limits)}")
    by_table: dict[str, list[Line]] = defaultdict(list)
    by_system: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for (table, _), line in ours.items():
        by_table[table].append(line)
    for (table, system, _), line in theirs.items():
        by_system[table, system].append(line)
    return [
        Table(
            name=table,
            metric=lines[0]["metric"],
            lines=tuple(lines),
            peers={system: tuple(by_system.get((table, system), ())) for system in PEERS},
        )
        for table, lines in by_table.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One figure over all tables, and what it must reach.

    Attributes
    ----------
    name : str
        What it is.
    values : mapping of str to float
        By table; of a run of ours that failed it is 0, or infinite if it should be small.
    bar : float
        At least, or at most.
    is_least : bool
        Which of the two.
    form : callable
        A value as text.
    """

    name: str
    values: dict[str, float]
    bar: float
    is_least: bool
    form: Callable[[float], str]

    def reached(self, value: float) -> bool:
        """Whether a value is on the right side of the bar."""
        return value >= self.bar if self.is_least else value <= self.bar

    def row(self) -> list[str]:
        """Return the figure's row of the summary."""
        sign = "≥" if self.is_least else "≤"
        bar = f"{sign} {self.form(self.bar)}"
        if not self.values:
            return [self.name, report.ABSENT, bar, "not measured", report.ABSENT, report.ABSENT]
        middle = median(self.values.values())
        worst = (min if self.is_least else max)(self.values, key=lambda t: self.values[t])
        n_met = sum(self.reached(value) for value in self.values.values())
        return [
            self.name,
            f"**{self.form(middle)}**",
            bar,
            "met" if self.reached(middle) else "**missed**",
            f"{n_met} of {len(self.values)}",
            f"{self.form(self.values[worst])} ({worst})",
        ]


def bars(tables: Sequence[Table]) -> list[Bar]:
    """Return the figures that are held against a bar: ratios of bytes and time, then the loss."""
    ratios = [
        Bar(
            name=name,
            values={
                table.name: found
                for table in tables
                if (found := table.ratio(theirs, ours, unit)) is not None
            },
            bar=bar,
            is_least=True,
            form=times,
        )
        for name, theirs, ours, unit, bar in RATIOS
    ]
    losses = {table.name: table.loss(BALANCED) for table in tables}
    loss = Bar(
        name="loss against our ensemble, test rows",
        values={name: math.inf if found is None else found for name, found in losses.items()},
        bar=MOST_LOSS,
        is_least=False,
        form="{:+.2%}".format,
    )
    return [*ratios, loss]


def times(value: float) -> str:
    """Return a ratio as text."""
    return f"{value:,.0f}x" if value >= 100 else f"{value:,.1f}x"
