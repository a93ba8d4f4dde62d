"""LightGBM on several machines: one model, each machine with a part of the rows."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import ALL_TASKS, Configuration, LearnerSpec
from automl_fuse_boosting.learner import BoostedLearner, Fit, encoders_of
from automl_fuse_boosting.lightgbm_learner import (
    POINTS,
    LightGBMModel,
    boost,
    cost,
    fit_lightgbm,
    library_params,
    pace_of,
    packed,
    space,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, Crew, FitContext, Floats, Params, Rows

WAITING_SHARE: Final = 0.2
"""Of the time of a fit, what may be spent waiting for machines."""
LONGEST_WAIT: Final = 300.0
"""Seconds, at most, that are waited for machines."""
N_POINTS: Final = 3
"""Points of LightGBM's portfolio that are tried: each is a fit of very many rows."""
_PLACES: Final = re.compile(r"^\[(machines|local_listen_port): [^\]]*\]\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the rows.

    Attributes
    ----------
    values : float64 array of shape (n_rows, n_features)
        Features.
    y, weight : array of shape (n_rows,)
        Targets, and sample weights or None.
    """

    values: Floats
    y: Array
    weight: Floats | None

    @classmethod
    def of(cls, rows: Rows, part: slice) -> Part:
        """Return a part of the rows; nothing is copied."""
        weight = None if rows.weight is None else rows.weight[part]
        return cls(values=rows.X.values[part], y=rows.y[part], weight=weight)


@dataclass(frozen=True, kw_only=True)
class Hand:
    """What one machine is dealt.

    Attributes
    ----------
    settings : mapping
        Parameters of LightGBM, with those of its place among the machines.
    categorical : tuple of int
        Positions of categorical features.
    train : Part
        Its training rows.
    valid : Part or None
        All validation rows, for the first machine: LightGBM judges each machine's rows by
        themselves.
    """

    settings: Mapping[str, Any]
    categorical: tuple[int, ...]
    train: Part
    valid: Part | None


class Rank:
    """LightGBM's part on one machine; it lives in a process of its own there."""

    def __init__(self) -> None:
        import lightgbm

        self._lightgbm = lightgbm
        self._reserved: socket.socket | None = None
        self._booster: Any = None
        self._is_judge = False

    def reserve(self) -> int:
        """Return a port of this machine that is free, and keep it until the fit begins."""
        self._reserved = socket.socket()
        self._reserved.bind(("", 0))
        return int(self._reserved.getsockname()[1])

    def begin(self, hand: Hand) -> None:
        """Meet the other machines, and bin the rows by what all of them hold."""
        from threadpoolctl import threadpool_limits

        threadpool_limits(hand.settings["num_threads"], user_api="openmp")
        if self._reserved is not None:
            self._reserved.close()
        settings = dict(hand.settings)
        data = self._lightgbm.Dataset(
            hand.train.values,
            hand.train.y,
            weight=hand.train.weight,
            categorical_feature=list(hand.categorical),
            params=settings,
        )
        self._booster = self._lightgbm.Booster(settings, data)
        self._is_judge = hand.valid is not None
        if hand.valid is not None:
            valid = data.create_valid(
                hand.valid.values, hand.valid.y, weight=hand.valid.weight, params=settings
            )
            self._booster.add_valid(valid, "valid")

    def step(self) -> tuple[bool, float | None]:
        """Run an iteration, as all machines do; see ``Steps``."""
        is_unsplit = bool(self._booster.update())
        if is_unsplit or not self._is_judge:
            return is_unsplit, None
        return is_unsplit, float(self._booster.eval_valid()[0][2])

    def set_rate(self, rate: float) -> None:
        """Change the learning rate of the iterations to come."""
        self._booster.reset_parameter({"learning_rate": rate})

    def n_iterations(self) -> int:
        """Return the iterations so far, those without any split included."""
        return int(self._booster.current_iteration())

    def digest(self, n_iterations: int) -> str:
        """Return what tells this machine's model from another."""
        return sha256(self.text(n_iterations).encode()).hexdigest()

    def text(self, n_iterations: int) -> str:
        """Return the model, without what names the machines."""
        text = self._booster.model_to_string(num_iteration=n_iterations)
        return _PLACES.sub("", text)


class _SpreadBoosting:
    """A fit whose iterations are run by all machines at once.

    All that is decided is decided here: when to stop, and how fast to learn.
    """

    def __init__(
        self, params: Params, context: FitContext, train: Rows, valid: Rows | None, crew: Crew
    ) -> None:
        self._crew = crew
        ports = crew.call("reserve")
        places = [f"{host}:{port}" for host, port in zip(crew.hosts, ports, strict=True)]
        shared = {
            **library_params(params, context, train),
            "tree_learner": "data",
            "pre_partition": True,
            "machines": ",".join(places),
            "num_machines": len(places),
        }
        parts = shares(len(train.y), crew.n_threads)
        hands = [
            Hand(
                settings={**shared, "local_listen_port": port, "num_threads": n_threads},
                categorical=tuple(train.X.categorical),
                train=Part.of(train, part),
                valid=Part.of(valid, slice(None)) if valid is not None and not rank else None,
            )
            for rank, (port, n_threads, part) in enumerate(
                zip(ports, crew.n_threads, parts, strict=True)
            )
        ]
        crew.deal("begin", hands)

    def step(self) -> tuple[bool, float | None]:
        first: tuple[bool, float | None] = self._crew.call("step")[0]
        return first

    def set_rate(self, rate: float) -> None:
        self._crew.call("set_rate", rate)

    def n_iterations(self) -> int:
        return int(self._crew.call("n_iterations")[0])

    def text(self, n_iterations: int) -> str:
        """Return the model, which all machines have.

        Raises
        ------
        PluginError
            If they do not agree.
        """
        if len(set(self._crew.call("digest", n_iterations))) > 1:
            raise PluginError(
                "lightgbm_distributed: the machines ended with different models. Have the same "
                "version of LightGBM on each."
            )
        return str(self._crew.first("text", n_iterations))


def shares(n_rows: int, n_threads: Any) -> list[slice]:
    """Return the rows of each machine: as many as it has threads, in proportion."""
    ends = np.rint(n_rows * np.cumsum(n_threads) / np.sum(n_threads)).astype(int)
    starts = [0, *ends[:-1].tolist()]
    return [slice(start, end) for start, end in zip(starts, ends.tolist(), strict=True)]


def fit_distributed(params: Params, context: FitContext, train: Rows, valid: Rows | None) -> Fit:
    """Fit one model over all machines of ``context.cluster``, or here without any.

    Notes
    -----
    Each machine makes histograms of its own rows; they are added up, and all split alike: the
    data-parallel algorithm of Meng et al. 2016, "A Communication-Efficient Parallel Algorithm for
    Decision Tree", section 2, as LightGBM has it.
    """
    cluster = context.cluster
    patience = min(LONGEST_WAIT, WAITING_SHARE * context.deadline.remaining())
    crew = None if cluster is None else cluster.muster(Rank, patience)
    if crew is None:
        return fit_lightgbm(params, context, train, valid)
    try:
        boosting = _SpreadBoosting(params, context, train, valid, crew)
        # Begun now, or the meeting of the machines would count as a very long iteration.
        pace = pace_of(params, context, len(train.y))
        boost(boosting, pace)
        n_unsplit = boosting.n_iterations() - pace.iterations
        text = boosting.text(pace.best + n_unsplit)
    finally:
        crew.close()
    return Fit(LightGBMModel(packed(text), None), pace.tuned())


SPEC = LearnerSpec(
    name="lightgbm_distributed",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=encoders_of,
    build=partial(BoostedLearner, fit_distributed),
    cost=cost,
    space=space,
    portfolio=tuple(
        Configuration(params=params, merit=merit) for merit, params in POINTS[:N_POINTS]
    ),
    requires=("lightgbm",),
    extra="boosting",
    distributed=True,
)
