"""A network trained on what another says of the same rows: labels, hidden features, slopes.

Labels: Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network", section 2,
with their factor of the squared temperature. Hidden features: Romero et al. (2015), "FitNets",
section 2.2, a linear regressor from the student's to the teacher's, here in the same stage as the
labels. Slopes: Czarnecki et al. (2017), "Sobolev training for neural networks", section 2, along
random directions of the outputs; Srinivas and Fleuret (2018), "Knowledge transfer with Jacobian
matching". Both differences are in units of what varies in the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn import functional

from automl_fuse.errors import PluginError
from automl_fuse.specs import Kind
from automl_fuse_torch import core, layers
from automl_fuse_torch.augmenting import augmented
from automl_fuse_torch.batching import NoNoise
from automl_fuse_torch.branching import BranchNetwork
from automl_fuse_torch.costs import epoch_seconds
from automl_fuse_torch.devices import Device, limited
from automl_fuse_torch.fitting import family_of, initial, tables_of
from automl_fuse_torch.losses import Loss
from automl_fuse_torch.model import NetworkModel
from automl_fuse_torch.parameters import Parameter
from automl_fuse_torch.training import TrainingOperations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.specs import Array, FitContext, Rows
    from automl_fuse_torch.imitate import Lesson
    from automl_fuse_torch.learner import Design

_GUIDE: Final = "guide"
"""The regressor: a layer that is not kept."""
_MEASURED: Final = 256
"""Rows that tell how much the teacher's features vary."""
_LEAST: Final = 1e-6
_FORWARD: Final = 0.4
"""Of the time of a training step, the part that looks forward only."""
_SLOPES: Final = 3.0
"""Times that steps take longer where slopes are matched, about."""


def imitated(
    teacher: NetworkModel, lesson: Lesson, train: Rows, context: FitContext
) -> NetworkModel:
    """Return a network that is trained on what another says.

    Parameters
    ----------
    teacher : NetworkModel
        A network with branches.
    lesson : Lesson
        The student, and how it is taught.
    train : Rows
        Training rows of the teacher, with true labels.
    context : FitContext
        Task, seed, threads and deadline.

    Raises
    ------
    PluginError
        If the teacher has no branches, or its weights are not kept.
    """
    if not isinstance(teacher.network, BranchNetwork):
        raise PluginError(f"{type(teacher.network).__name__} has no branches to be imitated")
    if not teacher.weights:
        raise PluginError("this network has been made smaller already")
    shape, n_rows = teacher.inputs.shape, len(train.y)
    design = family_of(lesson.learner).design(lesson.params, context, shape, n_rows)
    assert isinstance(design.network, BranchNetwork)  # noqa: S101 - pupils have branches
    device = Device.chosen()
    tables = tables_of(teacher.inputs, train, context)
    with limited(context.n_threads):
        spoken = _Spoken.of(teacher, lesson, design.network, tables, device)
        pupil = spoken.pupil
        start = initial(pupil.network, tables, train, context)
        result = core.train(
            pupil,
            tables,
            [_member(design, start | pupil.guide(context.seed), n_rows, context.seed)],
            _recipe(design, lesson, spoken, n_rows, context),
            context.deadline,
            device,
        )[0]
    weights = {n: result.weights[n] for n in pupil.network.parameters()}
    arrays = pupil.network.finished(weights)
    is_classification = context.task.is_classification
    return NetworkModel(teacher.inputs, pupil.network, arrays, is_classification, 0, weights)


def _member(design: Design, start: Mapping[str, Array], n_rows: int, seed: int) -> core.Member:
    knobs = design.knobs
    return core.Member(
        weights=start,
        train=np.arange(n_rows),
        valid=None,
        rate=knobs.rate,
        decay=knobs.decay,
        dropout=knobs.dropout,
        seed=seed,
    )


def _recipe(
    design: Design, lesson: Lesson, spoken: _Spoken, n_rows: int, context: FitContext
) -> core.Recipe:
    """Return how to train: so many epochs as there is time for."""
    each = epoch_seconds(spoken.pupil.network.declared, n_rows)
    each += _FORWARD * epoch_seconds(spoken.teacher.declared, n_rows)
    each *= _SLOPES if lesson.slope > 0.0 else 1.0
    is_classification = context.task.is_classification
    return core.Recipe(
        loss=Loss.CROSS_ENTROPY if is_classification else Loss.SQUARED_ERROR,
        epochs=int(np.clip(lesson.seconds / each, 1, design.epochs)),
        batch=design.batch,
        schedule=design.schedule,
        beta2=design.beta2,
        teaching=spoken,
    )


@dataclass(frozen=True, kw_only=True)
class _Pupil:
    """A network, and a layer from its features to the teacher's, if these are matched.

    Its branches change nothing at random: the rows that both read are changed before.
    """

    network: BranchNetwork
    guided: int

    @property
    def steps_between_looks(self) -> int:
        """Steps after which training looks at the clock."""
        return self.network.steps_between_looks

    def parameters(self) -> dict[str, Parameter]:
        """Return what is learned."""
        if not self.guided:
            return self.network.parameters()
        guide = {
            f"{_GUIDE}.weight": Parameter(shape=(self.network.n_features, self.guided)),
            f"{_GUIDE}.bias": Parameter(shape=(self.guided,), decay=0.0),
        }
        return guide | self.network.parameters()

    def guide(self, seed: int) -> dict[str, Any]:
        """Draw where the layer starts."""
        if not self.guided:
            return {}
        size = self.network.n_features
        weight = np.random.default_rng(seed).normal(scale=size**-0.5, size=(size, self.guided))
        return {f"{_GUIDE}.weight": weight, f"{_GUIDE}.bias": np.zeros(self.guided)}

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any) -> Any:
        """Compute scores: see ``core.Network``."""
        return self.network.forward(weights, batch, noise)


@dataclass(frozen=True, kw_only=True)
class _Spoken:
    """The loss of a student against what a teacher says: see ``core.Teaching``.

    Attributes
    ----------
    teacher : BranchNetwork
        The teacher's network.
    weights : mapping of str to tensor
        Its parameters, (1, *shape).
    pupil : _Pupil
        The student.
    lesson : Lesson
        How it is taught.
    strength : tuple of float
        Of the changes at random, by branch.
    spread : tensor of shape (n_features,)
        Standard deviations of the teacher's features.
    """

    teacher: BranchNetwork
    weights: Mapping[str, Any]
    pupil: _Pupil
    lesson: Lesson
    strength: tuple[float, ...]
    spread: Any

    @staticmethod
    def of(
        teacher: NetworkModel,
        lesson: Lesson,
        network: BranchNetwork,
        tables: Mapping[str, Array],
        device: Device,
    ) -> _Spoken:
        """Return the loss for a student of a network."""
        assert isinstance(teacher.network, BranchNetwork)  # noqa: S101 - it was looked at
        weights = {name: device.tensor(w[None]) for name, w in teacher.weights.items()}
        few = {name: device.tensor(table[None, :_MEASURED]) for name, table in tables.items()}
        with torch.no_grad():
            features, _ = _computed(teacher.network, weights, few, NoNoise())
        still = tuple(replace(branch, strength=0.0) for branch in network.branches)
        return _Spoken(
            teacher=teacher.network,
            weights=weights,
            pupil=_Pupil(
                network=replace(network, branches=still),
                guided=teacher.network.n_features if lesson.hint > 0.0 else 0,
            ),
            lesson=lesson,
            strength=tuple(branch.strength for branch in network.branches),
            spread=features[0].std(dim=0, correction=0).clamp_min(_LEAST),
        )

    def losses(
        self, weights: Mapping[str, Any], batch: Mapping[str, Any], goal: Any, noise: core.Dropping
    ) -> Any:
        """Return the loss of each row: see ``core.Teaching``."""
        lesson = self.lesson
        batch = self._changed(batch, noise)
        asked = self._asked(batch) if lesson.slope > 0.0 else []
        with torch.set_grad_enabled(bool(asked)):
            features, scores = _computed(self.teacher, self.weights, batch, NoNoise())
        found, answers = _computed(self.pupil.network, weights, batch, noise)
        loss = self._of_labels(answers, scores.detach(), goal)
        if lesson.hint > 0.0:
            guided = layers.dense(found, weights, _GUIDE)
            off = (guided - features.detach()) / self.spread
            loss = loss + lesson.hint * off.square().mean(dim=-1)
        if asked:
            loss = loss + lesson.slope * self._of_slopes(answers, scores, asked, noise)
        return loss

    def _changed(self, batch: Mapping[str, Any], noise: core.Dropping) -> dict[str, Any]:
        """Return rows whose blocks are changed at random, for both to read."""
        changed = dict(batch)
        for branch, strength in zip(self.teacher.branches, self.strength, strict=True):
            name = f"block{branch.place}"
            if strength > 0.0:
                changed[name] = augmented(batch[name], branch.block.kind, strength, noise)
        return changed

    def _asked(self, batch: Mapping[str, Any]) -> list[Any]:
        """Return the inputs that have slopes: all blocks but texts."""
        names = [f"block{b.place}" for b in self.teacher.branches if b.block.kind is not Kind.TEXT]
        return [batch[name].requires_grad_() for name in names]

    def _of_labels(self, answers: Any, scores: Any, goal: Any) -> Any:
        """Return the loss against true and taught labels, in their shares."""
        alpha, temperature = self.lesson.alpha, self.lesson.temperature
        if not self._has_classes:
            truth, taught = (answers - goal).square(), (answers - scores).square()
            return ((1.0 - alpha) * truth + alpha * taught).sum(dim=-1)
        told = functional.softmax(scores / temperature, dim=-1)
        taught = told * functional.log_softmax(answers / temperature, dim=-1)
        truth = goal * functional.log_softmax(answers, dim=-1)
        return -((1.0 - alpha) * truth + alpha * temperature**2 * taught).sum(dim=-1)

    def _of_slopes(self, answers: Any, scores: Any, asked: list[Any], noise: core.Dropping) -> Any:
        """Return how far slopes are apart, in units of the mean square of the teacher's."""
        if self._has_classes:
            answers, scores = (functional.log_softmax(each, dim=-1) for each in (answers, scores))
        drawn = 2.0 * noise.draws(scores.shape[1], scores.shape[2]) - 1.0
        along = drawn / drawn.norm(dim=-1, keepdim=True)
        theirs = torch.autograd.grad((scores * along).sum(), asked)
        ours = torch.autograd.grad((answers * along).sum(), asked, create_graph=True)
        apart = sum(
            (one - other).flatten(2).square().sum(dim=2)
            for one, other in zip(ours, theirs, strict=True)
        )
        size = sum(each.flatten(2).square().sum(dim=2) for each in theirs)
        return apart / (size.mean() + _LEAST)

    @property
    def _has_classes(self) -> bool:
        return self.teacher.n_outputs > 1


def _computed(
    network: BranchNetwork, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Any
) -> tuple[Any, Any]:
    """Return features (1, n_rows, n_features) and scores (1, n_rows, n_outputs)."""
    operations = TrainingOperations(weights, batch, noise)
    features = network.features(operations)
    return features, network.read_out(operations, features)
