"""What joins networks: which members have some that can be joined, and what they read together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import Joint
from automl_fuse_torch.branching import BranchNetwork
from automl_fuse_torch.media import FAMILIES
from automl_fuse_torch.model import NetworkModel
from automl_fuse_torch.united import UnitedInputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs import FitContext, Learner, Part, Rows, Suggest, Teacher
    from automl_fuse_torch.parameters import Singles

UNLIKE: Final = "unlike"
"""The member of largest share of each learner first."""
HEAVIEST: Final = "heaviest"
"""Members by their shares."""
MOST: Final = 3
"""Networks that are joined, at most."""


@dataclass(frozen=True, kw_only=True)
class Joining:
    """A compressor of one proposal: some members' networks, joined.

    Attributes
    ----------
    choice : {"unlike", "heaviest"}
        Which members.
    count : int
        How many of them.
    label : str
        What the name of the proposal says after those of the members.
    join : callable
        See ``specs.Joint``.
    effort : float
        See ``specs.Joint``.
    """

    choice: str
    count: int
    label: str
    join: Callable[[Sequence[Part], Rows, FitContext], Learner]
    effort: float

    def propose(self, teacher: Teacher) -> Sequence[Joint]:
        """Return the proposal, or none where too few members have networks with branches."""
        members = _joinable(teacher, self.choice)[: self.count]
        if len(members) < self.count:
            return ()
        name = "+".join([*(teacher.names[member] for member in members), self.label])
        return (Joint(name=name, members=tuple(members), join=self.join, effort=self.effort),)


def which(suggest: Suggest) -> dict[str, Any]:
    """Draw which members are joined."""
    return {
        "choice": suggest.choice("choice", (UNLIKE, HEAVIEST)),
        "count": suggest.integer("count", 2, MOST),
    }


def _joinable(teacher: Teacher, choice: str) -> list[int]:
    """Return members with networks that can be joined with that of the largest share, in order."""
    order = np.argsort(-teacher.shares, kind="stable").tolist()
    found = [m for m in order if teacher.shares[m] > 0 and teacher.learners[m] in FAMILIES]
    if not found or not teacher.terms:
        return []
    alike = [member for member in found if teacher.terms[member] == teacher.terms[found[0]]]
    if choice == HEAVIEST:
        return alike
    first = {teacher.learners[member]: member for member in reversed(alike)}
    return sorted(alike, key=lambda member: first[teacher.learners[member]] != member)


# --------------------------------------------------------------------------- fitted networks


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Fitted networks with branches, of the same rows.

    Attributes
    ----------
    shapes : tuple of BranchNetwork
        What they are.
    weights : tuple of mapping of str to array
        What they have learned.
    inputs : UnitedInputs
        What they read.
    settings : dict of str to tuple of float
        Their ``learning_rate``, ``weight_decay``, ``dropout`` and ``label_smoothing``.
    """

    shapes: tuple[BranchNetwork, ...]
    weights: tuple[dict[str, Singles], ...]
    inputs: UnitedInputs
    settings: dict[str, tuple[float, ...]]

    @staticmethod
    def of(parts: Sequence[Part]) -> Networks:
        """Return the networks of fitted learners.

        Raises
        ------
        PluginError
            If one is no network of this plugin with branches.
        """
        models = [_network_of(part.learner) for part in parts]
        learners: list[Any] = [part.learner for part in parts]
        names = ("learning_rate", "weight_decay", "dropout", "label_smoothing")
        return Networks(
            shapes=tuple(model.network for model in models),  # type: ignore[misc]
            weights=tuple(model.weights for model in models),
            inputs=UnitedInputs.of(
                (model.inputs, part.columns) for model, part in zip(models, parts, strict=True)
            ),
            settings={
                name: tuple(float(learner.params[name]) for learner in learners) for name in names
            },
        )

    def mean(self, setting: str) -> float:
        """Return the mean of a setting over the networks."""
        return float(np.mean(self.settings[setting]))


def _network_of(learner: Learner) -> NetworkModel:
    model = getattr(learner, "model", None)
    if not (isinstance(model, NetworkModel) and isinstance(model.network, BranchNetwork)):
        raise PluginError(
            f"{type(learner).__name__} cannot be joined: it is no network of automl_fuse_torch "
            "with branches for images, sounds, sequences or texts"
        )
    if not model.weights:
        raise PluginError("a network that has been made smaller cannot be joined")
    return model
