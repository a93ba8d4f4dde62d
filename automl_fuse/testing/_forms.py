"""Fitted learners with a form that compressors can read, made in NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np

from automl_fuse.specs import (
    Forest,
    ForestModel,
    Layer,
    Link,
    Matrix,
    NetworkModel,
    Rows,
    Split,
    Task,
    linked,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Graph, Tensor

Form: TypeAlias = ForestModel | NetworkModel
_ValueOf: TypeAlias = "Callable[[NDArray[np.intp]], Floats]"

_DEPTH = 3
_ROUNDS = 8
_WIDTH = 16


class _Sample:
    """A fitted learner that must not be fitted again."""

    def fit(self, train: Rows, valid: Rows | None) -> NoReturn:  # noqa: ARG002 - names are fixed
        """Report that an edit breaks a rule; a ``PluginError`` would pass for a refusal.

        Raises
        ------
        AssertionError
            Always.
        """
        raise AssertionError(
            "an edit calls fit of the learner that it was given, and so changes it: make another "
            "learner, from its form() or from what it predicts, and return that"
        )


@dataclass(frozen=True)
class FormLearner(_Sample):
    """A fitted learner that is nothing but its form."""

    model: Form

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        return self.model.predict(X.values)

    def form(self) -> Form:
        """Return the form."""
        return self.model

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write the form into a graph."""
        return self.model.to_onnx(graph, features)


@dataclass(frozen=True)
class FormlessLearner(_Sample):
    """A fitted learner that no compressor can read: it always predicts the same."""

    prediction: Floats

    def predict(self, X: Matrix) -> Floats:
        """Return the same row for each row."""
        return np.tile(self.prediction, (len(X.values), 1))


def sample_learners(rows: Rows, task: Task, n_classes: int) -> dict[str, FormLearner]:
    """Fit one learner of each form: boosted trees, averaged trees, a network, a straight line."""
    return {
        "boosted trees": FormLearner(_boosted(rows, task, n_classes)),
        "averaged trees": FormLearner(_averaged(rows, task, n_classes)),
        "a network": FormLearner(_network(rows, task, n_classes, hidden=True)),
        "a straight line": FormLearner(_network(rows, task, n_classes, hidden=False)),
    }


# --------------------------------------------------------------------------- trees


@dataclass
class _Grower:
    """Grows trees of random splits into the arrays of one forest."""

    X: Matrix
    random: np.random.Generator
    roots: list[int] = field(default_factory=list)
    nodes: list[list[float]] = field(default_factory=list)
    leaves: list[Floats] = field(default_factory=list)
    members: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def grow(self, value_of: _ValueOf) -> None:
        """Add a tree; ``value_of`` gives a leaf's values from the rows in it."""
        self.roots.append(self._node(np.arange(len(self.X.values)), 0, value_of))

    def _node(self, rows: NDArray[np.intp], depth: int, value_of: _ValueOf) -> int:
        if depth == _DEPTH or len(rows) < 4:
            self.leaves.append(value_of(rows))
            return ~(len(self.leaves) - 1)
        position = len(self.nodes)
        self.nodes.append([])
        feature = int(self.random.integers(self.X.values.shape[1]))
        x = self.X.values[rows, feature]
        threshold, split = float(self.random.choice(x)), Split.AT_MOST
        goes = x <= threshold
        if self.X.cardinalities[feature]:
            split = Split.MEMBER
            self.members[position] = (0.0, threshold)
            goes = np.isin(x, self.members[position])
        missing = float(self.random.integers(2))
        true = self._node(rows[goes], depth + 1, value_of)
        false = self._node(rows[~goes], depth + 1, value_of)
        self.nodes[position] = [feature, threshold, split, missing, true, false]
        return position

    def forest(self, target: list[int] | None, base: Floats, *, single: bool) -> Forest:
        """Return all trees grown so far."""
        columns = np.array(self.nodes, dtype=np.float64).reshape(-1, 6).T
        feature, threshold, split, missing, true, false = columns
        return Forest(
            roots=np.array(self.roots, dtype=np.int64),
            feature=feature.astype(np.int64),
            threshold=threshold,
            split=split.astype(np.uint8),
            missing_true=missing.astype(bool),
            true=true.astype(np.int64),
            false=false.astype(np.int64),
            leaf=np.vstack(self.leaves),
            target=None if target is None else np.array(target, dtype=np.int64),
            base=base,
            members=dict(self.members),
            single=single,
        )


def _goals(rows: Rows, task: Task, n_classes: int) -> Floats:
    if task.is_classification:
        return np.eye(n_classes)[rows.y]
    return np.asarray(rows.y, dtype=np.float64)[:, None]


def _boosted(rows: Rows, task: Task, n_classes: int) -> ForestModel:
    """Boost along the gradient: log-odds for two classes, a score each for more, or values."""
    goals = _goals(rows, task, n_classes)
    link = Link.IDENTITY
    if task.is_classification:
        link = Link.SOFTMAX if n_classes > 2 else Link.LOGISTIC
    if link is Link.LOGISTIC:
        goals = goals[:, 1:]
    grower = _Grower(rows.X, np.random.default_rng(5))
    base = goals.mean(axis=0) if link is Link.IDENTITY else np.zeros(goals.shape[1])
    scores = np.tile(base, (len(goals), 1))
    targets: list[int] = []
    for _ in range(_ROUNDS):
        predicted = linked(scores, link)
        residual = goals - (predicted[:, 1:] if link is Link.LOGISTIC else predicted)
        for target in range(goals.shape[1]):
            grower.grow(partial(_shrunk_mean, residual[:, [target]]))
            targets.append(target)
        scores = grower.forest(targets, base, single=False).sums(rows.X.values)
    return ForestModel(forest=grower.forest(targets, base, single=False), link=link)


def _averaged(rows: Rows, task: Task, n_classes: int) -> ForestModel:
    """Average trees that each predict, like a random forest; a little goes to the prior."""
    goals = _goals(rows, task, n_classes)
    prior, total = goals.mean(axis=0), _ROUNDS + 0.5
    grower = _Grower(rows.X, np.random.default_rng(6))
    for _ in range(_ROUNDS):
        grower.grow(lambda inside: (goals[inside].sum(axis=0) + prior) / (len(inside) + 1) / total)
    forest = grower.forest(None, prior * 0.5 / total, single=True)
    return ForestModel(forest=forest, link=Link.IDENTITY)


def _shrunk_mean(residual: Floats, inside: NDArray[np.intp]) -> Floats:
    mean: Floats = residual[inside].sum(axis=0) / (len(inside) + 1.0)
    return mean


# --------------------------------------------------------------------------- networks


def _network(rows: Rows, task: Task, n_classes: int, *, hidden: bool) -> NetworkModel:
    """Fit a linear model on the features, or on random rectified combinations of them."""
    random = np.random.default_rng(7)
    values = rows.X.values
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-3)
    signal = (values - mean) / scale
    goals = _goals(rows, task, n_classes)
    link = Link.SOFTMAX if task.is_classification else Link.IDENTITY
    if task.is_classification:
        goals = 4.0 * goals - 2.0
        if n_classes == 2 and not hidden:
            goals, link = 2.0 * goals[:, 1:], Link.LOGISTIC
    layers: tuple[Layer, ...] = ()
    if hidden:
        weight = random.normal(size=(values.shape[1], _WIDTH))
        bias = random.normal(size=_WIDTH)
        layers = (Layer(weight=weight, bias=bias),)
        signal = np.maximum(signal @ weight + bias, 0.0)
    design = np.column_stack([signal, np.ones(len(signal))])
    gram = design.T @ design + np.eye(design.shape[1])
    solved = np.linalg.solve(gram, design.T @ goals)
    layers += (Layer(weight=solved[:-1], bias=solved[-1]),)
    return NetworkModel(mean=mean, scale=scale, layers=layers, link=link)
