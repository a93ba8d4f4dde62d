"""Networks that stay as they are, under one head in place of their own.

What their last hidden layers tell is put side by side, and read by one layer: see
``concatenation``. It is fitted to the training rows of the fold and to copies of them, changed at
random as when the networks were trained: those may know the rows themselves by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.concatenation import Concatenation
from automl_fuse_torch.head import Lesson, moved
from automl_fuse_torch.joining import HEAVIEST, UNLIKE, Joining, Networks, which
from automl_fuse_torch.joint_model import JointModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.specs import (
        Array,
        Compressor,
        FitContext,
        Floats,
        FusionContext,
        Learner,
        Params,
        Part,
        Rows,
        Suggest,
    )

_PIECE: Final = 256
"""Rows whose features are computed at once."""
_MOST_ROWS: Final = 40_000
"""Rows that the head is fitted to, copies counted, at most."""
_LEAST_ROWS: Final = 1_000
"""Training rows among them, if there are as many."""
_FORWARD: Final = 0.02
"""Time of a pass over the rows that learns nothing, against that of fitting the networks."""
_FITTING: Final = 0.05
"""Time of fitting heads, likewise."""


@dataclass(frozen=True, kw_only=True)
class FitHead:
    """Joins networks under a new head.

    Attributes
    ----------
    copies : int
        Changed copies of each row that the head is fitted to.
    """

    copies: int

    def __call__(self, parts: Sequence[Part], train: Rows, context: FitContext) -> Learner:
        """Return the joint model.

        Raises
        ------
        PluginError
            If one of the learners is no network of this plugin with branches.
        """
        from automl_fuse_torch.devices import limited
        from automl_fuse_torch.learner import NetworkLearner

        networks = Networks.of(parts)
        shape = Concatenation(
            parts=networks.shapes, is_classification=context.task.is_classification
        )
        start = shape.start(networks.weights)
        with limited(context.n_threads):
            lesson = self._lesson(networks, shape, train, context)
        added = moved(lesson, context.seed, context.deadline)
        head = start[0] + added[0], start[1] + added[1]
        model = JointModel(networks.inputs, shape, shape.finished(networks.weights, head))
        return NetworkLearner("frozen_branches", {}, context, model)

    def _lesson(
        self, networks: Networks, shape: Concatenation, train: Rows, context: FitContext
    ) -> Lesson:
        """Return features of rows and of their copies, with what they are to tell."""
        from automl_fuse_torch.fitting import targets_of, weights_of

        order = np.random.default_rng(context.seed).permutation(len(train.y))
        rows = np.sort(order[: max(_LEAST_ROWS, _MOST_ROWS // (1 + self.copies))])
        tables = networks.inputs.tables(train.X.values[rows])
        features, source = _features(networks, shape, tables, self.copies, context)
        weight, bias = shape.start(networks.weights)
        goal = targets_of(train, context)[rows][source]
        if context.task.is_classification:
            # As smooth as what the networks learned: a head would go on to where they may not.
            share = networks.mean("label_smoothing")
            goal = (1.0 - share) * goal + share / context.n_classes
        return Lesson(
            features=features,
            start=features @ weight + bias,
            goal=goal,
            weight=weights_of(train)[rows][source],
            source=source,
            is_classification=context.task.is_classification,
        )


def _features(
    networks: Networks,
    shape: Concatenation,
    tables: Mapping[str, Array],
    copies: int,
    context: FitContext,
) -> tuple[Floats, Array]:
    """Return features of rows, then of copies while there is time, and which row each is of."""
    import torch

    from automl_fuse_torch.batching import Noise, NoNoise
    from automl_fuse_torch.devices import Device

    device = Device.chosen()
    weights = [
        {name: device.tensor(array[None]) for name, array in own.items()}
        for own in networks.weights
    ]
    noise = Noise([0.0], [context.seed], device)
    n_rows = len(next(iter(tables.values())))
    made: list[Floats] = []
    for number, start in product(range(1 + copies), range(0, n_rows, _PIECE)):
        if made and context.deadline.expired():
            break
        piece = {
            name: device.tensor(table[None, start : start + _PIECE])
            for name, table in tables.items()
        }
        with torch.no_grad():
            found = shape.features(weights, piece, noise if number else NoNoise())
        made.append(found[0].double().cpu().numpy())
    features = np.concatenate(made)
    return features, np.arange(len(features)) % n_rows


def _build(params: Params, _context: FusionContext) -> Compressor:
    copies = params["copies"]
    return Joining(
        choice=params["choice"],
        count=params["count"],
        label=f"head{copies}",
        join=FitHead(copies=copies),
        effort=_FITTING + _FORWARD * (1 + copies),
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw which networks are joined, and how many copies of the rows their head reads."""
    return {**which(suggest), "copies": suggest.integer("copies", 0, 6)}


def _point(choice: str, count: int) -> dict[str, Any]:
    return {"choice": choice, "count": count, "copies": 3}


SPEC = CompressorSpec(
    name="frozen_branches",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=(
        Configuration(params=_point(UNLIKE, 2), merit=0.96),
        Configuration(params=_point(UNLIKE, 3), merit=0.88),
        Configuration(params=_point(HEAVIEST, 2), merit=0.78),
    ),
    requires=("torch",),
    extra="torch",
)
