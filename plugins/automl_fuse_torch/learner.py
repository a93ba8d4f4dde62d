"""What all learners here share: their face towards the engine, and how a network is described."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import Earlier, FitContext, ForestModel, Params, Rows, Task
from automl_fuse_torch.joint_model import JointModel
from automl_fuse_torch.model import NetworkModel, TabularNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from automl_fuse.specs import Floats, Graph, Matrix, Tensor
    from automl_fuse_torch.fitting import FitTask
    from automl_fuse_torch.imitate import Lesson
    from automl_fuse_torch.schedules import Schedule
    from automl_fuse_torch.shapes import InputShape

ENCODERS: Final = ("numbers", "codes", "cyclic_calendar", "ngrams")
"""What the learners read: they scale, fill and embed by themselves."""

Model: TypeAlias = NetworkModel | JointModel | ForestModel
"""A trained network, several that were joined, or a constant."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Settings in which members that train together may differ; see ``core.Member``."""

    rate: float
    decay: float
    dropout: float = 0.0
    smoothing: float = 0.0
    averaging: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Design:
    """A network, and how it is trained.

    Attributes
    ----------
    network : TabularNetwork
        Its shape.
    knobs : Knobs
        What is this member's own.
    epochs, batch, schedule, beta2
        What is shared with those that train beside it: see ``core.Recipe``.
    """

    network: TabularNetwork
    knobs: Knobs
    epochs: int
    batch: int
    schedule: Schedule
    beta2: float = 0.999

    @property
    def shared(self) -> Hashable:
        """What members that train together have in common."""
        return (self.network, self.epochs, self.batch, self.schedule, self.beta2)


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of network.

    Attributes
    ----------
    design : callable
        Describes the network of a configuration, given its params, the context, what it reads
        and the number of training rows.
    flagged_levels : int
        Levels up to which a category is read as flags, beyond which it is embedded.
    reads_blocks : bool
        Whether it has branches for images, sounds, sequences and texts.
    """

    design: Callable[[Params, FitContext, InputShape, int], Design]
    flagged_levels: int
    reads_blocks: bool = False


def batch_size(n_rows: int) -> int:
    """Return rows of a batch: about a thirty-second of the table, a power of 2 from 32 to 256.

    A small table would otherwise see too few steps in an epoch. Folds of about equal size have
    batches of equal size, so that they can be trained together.
    """
    return int(2 ** min(max(int(math.log2(max(n_rows, 1) / 32)), 5), 8))


_PRUNED_RATE: Final = 1.0
"""Factor of the learning rate of a network whose neurons were left out."""


class _Never:
    """A deadline that never comes: the epochs bound the time."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


class NetworkLearner:
    """A learner that is one network; only what predicts is pickled, and predicts without torch.

    Parameters
    ----------
    name : str
        Name of the learner.
    params : mapping
        A point of its space. ``epochs`` may be any number.
    context : FitContext
        Task, seed, threads and deadline.
    model : JointModel, optional
        Of a learner that is made fitted, and only predicts.
    """

    def __init__(
        self, name: str, params: Params, context: FitContext, model: JointModel | None = None
    ) -> None:
        self._name = name
        self._params = params
        self._context: FitContext | None = context if model is None else None
        self._n_outputs = context.n_classes
        self._is_classification = context.task.is_classification
        self._model: Model | None = model

    def fit(self, train: Rows, valid: Rows | None) -> None:
        """Train on ``train``, and keep the state that was best on ``valid``.

        Raises
        ------
        PluginError
            If this learner was already fitted and unpickled: it cannot be fitted again.
        """
        from automl_fuse_torch.fitting import fit_many

        self.take(fit_many([self.task(train, valid)])[0])

    def task(self, train: Rows, valid: Rows | None) -> FitTask:
        """Return what is to be fitted, for ``fitting.fit_many``.

        Raises
        ------
        PluginError
            If this learner was already fitted and unpickled: it cannot be fitted again.
        """
        from automl_fuse_torch.fitting import FitTask

        if self._context is None:
            raise PluginError("an unpickled learner only predicts: build a new one to fit again")
        return FitTask(
            learner=self._name,
            params=self._params,
            context=self._context,
            train=train,
            valid=valid,
        )

    def take(self, model: Model) -> None:
        """Take the model that its task became."""
        self._model = model

    @property
    def params(self) -> Params:
        """The point of its space that it was built with."""
        return self._params

    @property
    def model(self) -> Model:
        """The fitted model.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        if self._model is None:
            raise PluginError("this learner is not fitted: call fit first")
        return self._model

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1) in regression.

        Raises
        ------
        PluginError
            Before ``fit``, or if the network gives numbers that are not finite.
        """
        if len(X.values) == 0:
            return np.empty((0, self._n_outputs))
        predictions = self.model.predict(X.values)
        if not np.isfinite(predictions).all():
            raise PluginError(
                f"{self._name} predicted numbers that are not finite: its training diverged; "
                "lower learning_rate"
            )
        if self._is_classification:
            predictions = np.clip(predictions, 0.0, 1.0)
            predictions /= predictions.sum(axis=1, keepdims=True)
        return predictions

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the fitted model into a graph: see ``specs.ExportableLearner``.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        return self.model.to_onnx(graph, features)

    def tuned(self) -> Mapping[str, Any]:
        """Return the ``epochs`` after which it was best; empty if ``valid`` did not decide that.

        Raises
        ------
        PluginError
            Before ``fit``.
        """
        return self.model.tuned if isinstance(self.model, NetworkModel) else {}

    def kin(self) -> str:
        """Return what learners have in common that can be averaged; empty for none."""
        return self.model.kin() if isinstance(self.model, NetworkModel) else ""

    def averaged(self, others: Sequence[NetworkLearner]) -> NetworkLearner:
        """Return the learner of the mean of its weights and theirs.

        Raises
        ------
        PluginError
            If they are not kin: they started from different networks, or have other shapes.
        """
        members = [self, *others]
        models = [each.model for each in members if isinstance(each.model, NetworkModel)]
        if len(models) < len(members) or {each.kin() for each in members} != {self.kin()}:
            raise PluginError("these networks cannot be averaged: they are no kin")
        if not self.kin():
            raise PluginError("networks that started afresh cannot be averaged")
        return self._with(models[0].averaged(models[1:]))

    def halved(self) -> NetworkLearner:
        """Return the learner with its weights in half precision.

        Raises
        ------
        PluginError
            If it is a constant, or has a weight that is too large for that.
        """
        if not isinstance(self.model, NetworkModel):
            raise PluginError("a constant has no weights to halve")
        return self._with(self.model.halved())

    def narrowed(self, share: float, train: Rows, epochs: int) -> NetworkLearner:
        """Return a learner of a share of the neurons, trained further on these rows.

        Raises
        ------
        PluginError
            If it is a constant, or its neurons cannot be told apart.
        """
        if not isinstance(self.model, NetworkModel):
            raise PluginError("a constant has no neurons")
        pruned = self._with(self.model.narrowed(share))
        context = self._context_of(Earlier(learner=pruned, outputs=tuple(range(self._n_outputs))))
        width = pruned.model.network.width  # type: ignore[union-attr]
        changes = {"width": width, "epochs": epochs, "rate_factor": _PRUNED_RATE, "frozen": 0.0}
        result = NetworkLearner(self._name, {**self._params, **changes}, context)
        result.fit(train, None)
        return result

    def imitated(self, lesson: Lesson, train: Rows) -> NetworkLearner:
        """Return the learner of another network that this one has taught: see ``imitating``.

        Raises
        ------
        PluginError
            If it is a constant, a network without branches, or has no weights to go by.
        """
        from automl_fuse_torch.imitating import imitated

        if not isinstance(self.model, NetworkModel):
            raise PluginError("a constant has nothing to teach")
        context = self._context_of(None)
        result = NetworkLearner(lesson.learner, lesson.params, context)
        return result._with(imitated(self.model, lesson, train, context))

    def quantised(self, train: Rows, floating: float) -> NetworkLearner:
        """Return the learner with its layers in integers, but for a share of them.

        Raises
        ------
        PluginError
            If it is a constant, a network without branches, or has been made smaller already.
        """
        if not isinstance(self.model, NetworkModel):
            raise PluginError("a constant has no layers to quantise")
        return self._with(self.model.quantised(train.X.values, floating))

    def _context_of(self, earlier: Earlier | None) -> FitContext:
        """Return the context in which an edit trains: on one thread, from one seed."""
        task = Task.BINARY if self._n_outputs == 2 else Task.MULTICLASS
        return FitContext(
            task=task if self._is_classification else Task.REGRESSION,
            n_classes=self._n_outputs,
            seed=0,
            n_threads=1,
            deadline=_Never(),
            earlier=earlier,
        )

    def decompress(self) -> NetworkLearner:
        """Return the learner with its weights in single precision: see ``Pipeline.decompress``."""
        if not isinstance(self.model, NetworkModel):
            return self
        return self._with(self.model.decompressed())

    def _with(self, model: Model) -> NetworkLearner:
        """Return a fitted learner like this of another model."""
        result = copy.copy(self)
        result.__dict__.update(_model=model, _context=None)
        return result

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_context": None}
