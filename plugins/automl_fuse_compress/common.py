"""What compressors share: members in order, forms of fitted learners, the edited learner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse.specs import Configuration, Edit, ForestModel, Link, NetworkModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from numpy.typing import NDArray

    from automl_fuse.specs import Floats, Graph, Learner, Matrix, Params, Rows, Teacher, Tensor
    from automl_fuse_compress.quantised import QuantisedNetwork

_Form = TypeVar("_Form", ForestModel, NetworkModel)

MAX_RANK: Final = 5
"""Members of the largest shares that are edited: this many and one more."""
_MERIT_OF_A_RANK: Final = 0.04
LEAST_PROBABILITY: Final = 1e-3
"""Of a class, before a row is divided by its sum, where sums are meant to be probabilities."""


def members_by_share(teacher: Teacher, form: str = "") -> list[int]:
    """Return the positions of members of a share above 0, the largest share first.

    With a ``form``, only those that have it, where the teacher tells forms.
    """
    order = np.argsort(-teacher.shares, kind="stable")
    used = [int(member) for member in order if teacher.shares[member] > 0]
    if not form or not teacher.forms:
        return used
    return [member for member in used if teacher.forms[member] == form]


def name_of(teacher: Teacher, member: int) -> str:
    """Return the name of a member, or its position where the teacher has no names."""
    return teacher.names[member] if teacher.names else f"member_{member}"


@dataclass(frozen=True, kw_only=True)
class RankedEdit:
    """A compressor of one proposal: an edit of the member of a given rank.

    One proposal for one point: so the search sees which points are worth it.

    Attributes
    ----------
    rank : int
        0 for the member of the largest share among those of the form.
    form : {"forest", "network"}
        Members that are counted.
    label : str
        What the name of the proposal says after that of the member.
    edit : callable
        Makes another learner of a fitted one and its training rows; it pickles.
    """

    rank: int
    form: str
    label: str
    edit: Callable[[Learner, Rows], Learner]

    def propose(self, teacher: Teacher) -> tuple[Edit, ...]:
        """Return the edit, or none where fewer members of the form have a share."""
        members = members_by_share(teacher, self.form)
        if self.rank >= len(members):
            return ()
        member = members[self.rank]
        name = f"{name_of(teacher, member)}_{self.label}"
        return (Edit(name=name, member=member, edit=self.edit),)


def for_each_rank(points: Iterable[tuple[float, Params]]) -> tuple[Configuration, ...]:
    """Return each point for the member of each rank, for a portfolio.

    Parameters
    ----------
    points : iterable of (merit, params)
        The merit is that of the member of the largest share; each rank takes a little of it.
    """
    return tuple(
        Configuration(params={"rank": rank, **point}, merit=merit - _MERIT_OF_A_RANK * rank)
        for merit, point in points
        for rank in range(MAX_RANK + 1)
    )


@dataclass(frozen=True)
class Chain:
    """Edits, one after the other.

    Attributes
    ----------
    edits : tuple of callable
        Each edits what the one before it returned.
    """

    edits: tuple[Callable[[Learner, Rows], Learner], ...]

    def __call__(self, learner: Learner, train: Rows) -> Learner:
        """Return what the last edit returns."""
        for edit in self.edits:
            learner = edit(learner, train)
        return learner


def weights_of(rows: Rows) -> Floats:
    """Return the sample weights, ones where there are none, of shape (n_rows,)."""
    return np.ones(len(rows.y)) if rows.weight is None else rows.weight


def some_rows(n_rows: int, most: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return the positions of all rows, or of ``most`` that are drawn, in order."""
    rows = np.arange(n_rows)
    return rows if n_rows <= most else np.sort(random.choice(rows, size=most, replace=False))


def shuffled(values: Floats, share: float, random: np.random.Generator) -> Floats:
    """Return rows with a share of their cells taken from other rows, column by column."""
    result = values.copy()
    for column in result.T:
        drawn = np.flatnonzero(random.random(len(column)) < share)
        column[drawn] = column[random.permutation(drawn)]
    return result


# --------------------------------------------------------------------------- forms


def forest_of(learner: Learner) -> ForestModel:
    """Return the trees of a fitted learner.

    Raises
    ------
    PluginError
        If it has none.
    """
    return _form_of(learner, ForestModel, "trees")


def network_of(learner: Learner) -> NetworkModel:
    """Return the layers of a fitted learner.

    Raises
    ------
    PluginError
        If it has none.
    """
    return _form_of(learner, NetworkModel, "layers")


def _form_of(learner: Learner, form: type[_Form], what: str) -> _Form:
    give = getattr(learner, "form", None)
    found = None if give is None else give()
    if not isinstance(found, form):
        raise PluginError(
            f"{type(learner).__name__} has no {what} to edit: its form() must give a "
            f"{form.__name__}, and gives {type(found).__name__}"
        )
    return found


@dataclass(frozen=True)
class EditedLearner:
    """A fitted learner that is nothing but its model.

    Attributes
    ----------
    model : ForestModel, NetworkModel or QuantisedNetwork
        What an edit left.
    """

    model: ForestModel | NetworkModel | QuantisedNetwork

    def fit(self, train: Rows, valid: Rows | None) -> NoReturn:  # noqa: ARG002 - names are fixed
        """Refuse: what was edited cannot be fitted again.

        Raises
        ------
        PluginError
            Always.
        """
        raise PluginError("an edited learner only predicts: fit the learner that it came from")

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, n_classes), or values (n_rows, 1)."""
        predictions = self.model.predict(X.values)
        if self.model.link is not Link.IDENTITY or predictions.shape[1] == 1:
            return predictions
        # Sums that are meant to be probabilities miss the sum 1, and may fall below 0.
        positive = np.maximum(predictions, LEAST_PROBABILITY)
        result: Floats = positive / positive.sum(axis=1, keepdims=True)
        return result

    def form(self) -> ForestModel | NetworkModel | None:
        """Return the model in a form that can be edited further, if it is in one."""
        return self.model if isinstance(self.model, ForestModel | NetworkModel) else None

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``automl_fuse.specs.ExportableLearner``."""
        predictions = self.model.to_onnx(graph, features)
        if self.model.link is not Link.IDENTITY or _n_scores(self.model) == 1:
            return predictions
        least = graph.constant(np.array(LEAST_PROBABILITY))
        positive = graph.node("Max", [predictions, least])
        total = graph.node("ReduceSum", [positive, graph.constant(np.array([1]))])
        return graph.node("Div", [positive, total])


@dataclass(frozen=True)
class EditedPair(EditedLearner):
    """A fitted learner whose trees add up to the probability of the second of two classes.

    Attributes
    ----------
    model : ForestModel
        Its sums, of one column, need not lie within 0 and 1.
    """

    model: ForestModel

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n_rows, 2)."""
        sums = self.model.predict(X.values)
        second = np.clip(sums, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
        return np.hstack([1.0 - second, second])

    def form(self) -> ForestModel:
        """Return the trees with a probability of each class in their leaves."""
        forest = self.model.forest
        leaf = np.hstack([-forest.leaf, forest.leaf])
        base = np.append(1.0 - forest.base, forest.base)
        return replace(self.model, forest=replace(forest, leaf=leaf, base=base, target=None))

    def to_onnx(self, graph: Graph, features: Tensor) -> Tensor:
        """Write itself into a graph: see ``automl_fuse.specs.ExportableLearner``."""
        sums = self.model.to_onnx(graph, features)
        limits = (LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
        second = graph.node("Clip", [sums, *(graph.constant(np.array(each)) for each in limits)])
        sign, shift = graph.constant(np.array([[-1.0, 1.0]])), graph.constant(np.array([1.0, 0.0]))
        return graph.node("Gemm", [second, sign, shift])


def _n_scores(model: ForestModel | NetworkModel | QuantisedNetwork) -> int:
    return model.forest.n_targets if isinstance(model, ForestModel) else len(model.layers[-1].bias)
