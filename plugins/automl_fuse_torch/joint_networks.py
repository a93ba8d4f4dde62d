"""Networks trained on together, under the sum of their losses, with a gate between them.

They start as they were fitted in their fold, and see that fold's training rows for a few epochs at
a low rate, with the changes at random that each of them knows. What the gate and the loss are is
told in ``mixture``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.specs import ALL_TASKS, CompressorSpec, Configuration
from automl_fuse_torch.joining import HEAVIEST, UNLIKE, Joining, Networks, which
from automl_fuse_torch.joint_model import JointModel
from automl_fuse_torch.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automl_fuse.specs import (
        Compressor,
        FitContext,
        FusionContext,
        Learner,
        Params,
        Part,
        Rows,
        Suggest,
    )

_USUAL_EPOCHS: Final = 20
"""Of members, about: joining them for as many takes as long as fitting them did."""


@dataclass(frozen=True, kw_only=True)
class TrainTogether:
    """Joins networks by training them on together.

    Attributes
    ----------
    epochs : int
        Passes over the training rows, fewer where the deadline comes before.
    rate : float
        Factor of the learning rate: of the least of those that the networks were fitted with.
    """

    epochs: int
    rate: float

    def __call__(self, parts: Sequence[Part], train: Rows, context: FitContext) -> Learner:
        """Return the joint model.

        Raises
        ------
        PluginError
            If one of the learners is no network of this plugin with branches.
        """
        from automl_fuse_torch import core
        from automl_fuse_torch.devices import Device, limited
        from automl_fuse_torch.fitting import tables_of
        from automl_fuse_torch.learner import NetworkLearner, batch_size
        from automl_fuse_torch.losses import Loss
        from automl_fuse_torch.schedules import COSINE

        networks = Networks.of(parts)
        is_classification = context.task.is_classification
        mixture = Mixture(parts=networks.shapes, is_classification=is_classification)
        tables = tables_of(networks.inputs, train, context)
        member = core.Member(
            weights=mixture.start(networks.weights),
            train=np.arange(len(train.y)),
            valid=None,
            rate=self.rate * min(networks.settings["learning_rate"]),
            decay=networks.mean("weight_decay"),
            dropout=networks.mean("dropout"),
            smoothing=networks.mean("label_smoothing"),
            seed=context.seed,
            is_trained=True,
        )
        recipe = core.Recipe(
            loss=Loss.CROSS_ENTROPY if is_classification else Loss.SQUARED_ERROR,
            epochs=self.epochs,
            batch=batch_size(len(train.y)),
            schedule=COSINE,
        )
        with limited(context.n_threads):
            (trained,) = core.train(
                mixture, tables, [member], recipe, context.deadline, Device.chosen()
            )
        model = JointModel(networks.inputs, mixture, mixture.finished(trained.weights))
        return NetworkLearner("joint_networks", {}, context, model)


def _build(params: Params, _context: FusionContext) -> Compressor:
    epochs, rate = params["epochs"], params["rate"]
    return Joining(
        choice=params["choice"],
        count=params["count"],
        label=f"{epochs}x{rate:.2g}",
        join=TrainTogether(epochs=epochs, rate=rate),
        effort=epochs / _USUAL_EPOCHS,
    )


def space(suggest: Suggest) -> dict[str, Any]:
    """Draw which networks are joined, and how long and fast they are trained on."""
    return {
        **which(suggest),
        "epochs": suggest.choice("epochs", (4, 8, 16)),
        "rate": suggest.real("rate", 0.02, 0.5, log=True),
    }


def _point(choice: str, count: int, epochs: int) -> dict[str, Any]:
    return {"choice": choice, "count": count, "epochs": epochs, "rate": 0.1}


SPEC = CompressorSpec(
    name="joint_networks",
    api_version=1,
    tasks=ALL_TASKS,
    build=_build,
    space=space,
    portfolio=(
        Configuration(params=_point(UNLIKE, 2, 8), merit=0.94),
        Configuration(params=_point(UNLIKE, 3, 8), merit=0.85),
        Configuration(params=_point(HEAVIEST, 2, 8), merit=0.75),
    ),
    requires=("torch",),
    extra="torch",
)
