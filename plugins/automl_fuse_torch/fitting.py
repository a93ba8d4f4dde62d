"""From rows to fitted networks: those of one shape are trained at the same time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from automl_fuse.errors import PluginError
from automl_fuse_torch.inputs import Inputs
from automl_fuse_torch.model import NetworkModel, constant
from automl_fuse_torch.starting import Start

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from automl_fuse.specs import Array, Deadline, FitContext, Floats, Params, Rows
    from automl_fuse_torch.core import Member
    from automl_fuse_torch.devices import Device
    from automl_fuse_torch.learner import Design, Family, Model
    from automl_fuse_torch.model import TabularNetwork
    from automl_fuse_torch.united import UnitedInputs

_SAMPLE = 1_000
"""Training rows that decide where parameters start, at most."""
_MOST_VALID = 1_024
_VALID_VALUES = 1 << 24
"""Validation rows of a member that are predicted at once at most, and values of a layer of them."""
_LEAST = 1e-6
"""Class frequencies below it count as this much in a logarithm."""


@dataclass(frozen=True, kw_only=True)
class FitTask:
    """One network to fit: what a learner is built with, and what its ``fit`` is given.

    Attributes
    ----------
    learner : str
        Name of a learner of this plugin.
    params : mapping
        A point of its space.
    context : FitContext
        As for a learner. Threads and deadline of the first task hold for all.
    train : Rows
        Training rows. Tasks of one fold should share this object: its rows are then held once.
    valid : Rows or None
        Rows that decide when to stop.
    """

    learner: str
    params: Params
    context: FitContext
    train: Rows
    valid: Rows | None


def fit_many(tasks: Sequence[FitTask], device: str = "auto") -> list[Model]:
    """Fit several networks, those of one shape at the same time as one batched network.

    Folds of a table and configurations that differ in seed, learning rate, weight decay, dropout
    and label smoothing have one shape, as long as the encoders gave as many features. Each
    becomes what it would become alone, but for rounding.

    Parameters
    ----------
    tasks : sequence of FitTask
        What to fit.
    device : {"auto", "cpu", "cuda"}
        Where; ``"auto"`` is a CUDA card if there is one.

    Returns
    -------
    list of NetworkModel or ForestModel
        In the order of the tasks; a constant, which is a ForestModel without trees, where there
        is nothing to learn from.

    Raises
    ------
    PluginError
        If a learner or the device is unknown.
    """
    from automl_fuse_torch.devices import Device, limited

    place = Device.chosen(device)
    prepared: dict[Hashable, _Prepared] = {}
    models: dict[int, Model] = {}
    groups: dict[Hashable, list[_Planned]] = defaultdict(list)
    for number, task in enumerate(tasks):
        planned = _planned(number, task, prepared)
        if planned is None:
            models[number] = constant(_mean(task.train, task.context))
        else:
            groups[planned.key()].append(planned)
    for position, group in enumerate(groups.values()):
        context = group[0].task.context
        deadline = _share(context.deadline, len(groups) - position)
        with limited(context.n_threads):
            models |= _fit_group(group, deadline, place)
    return [models[number] for number in range(len(tasks))]


# --------------------------------------------------------------------------- preparing


@dataclass
class _Prepared:
    """Rows of one fold as networks read them; validation rows follow the training rows."""

    inputs: Inputs
    n_train: int
    tables: Mapping[str, Array]


@dataclass
class _Planned:
    """A task with its network."""

    number: int
    task: FitTask
    rows: _Prepared
    design: Design
    start: Start | None

    def key(self) -> Hashable:
        """Return what those that train together have in common."""
        from automl_fuse_torch.batching import batch_shape

        shape = batch_shape(self.rows.n_train, self.design.batch)
        is_classification = self.task.context.task.is_classification
        return self.design.shared, shape, is_classification, self.task.valid is None

    def member(self, start: int) -> Member:
        """Return the member of a training whose tables hold these rows from ``start`` on."""
        from automl_fuse_torch.core import Member

        n_train, knobs, begin = self.rows.n_train, self.design.knobs, self.start
        weights, frozen = self._initial(), frozenset[str]()
        if begin is not None:
            names = self.rows.inputs.names
            weights, frozen = begin.taken_over(weights, self.design.network, names)
        n_rows = len(next(iter(self.rows.tables.values())))
        has_valid = self.task.valid is not None
        return Member(
            weights=weights,
            train=start + np.arange(n_train),
            valid=start + np.arange(n_train, n_rows) if has_valid else None,
            rate=knobs.rate * (1.0 if begin is None else begin.rate),
            decay=knobs.decay,
            dropout=knobs.dropout,
            # A teacher's labels are soft already.
            smoothing=knobs.smoothing if self.task.train.soft is None else 0.0,
            averaging=knobs.averaging,
            seed=self.task.context.seed,
            frozen=frozen,
            thaw=1.0 if begin is None else begin.thaw,
            is_trained=begin is not None,
        )

    def _initial(self) -> dict[str, Any]:
        rows = {name: table[: self.rows.n_train] for name, table in self.rows.tables.items()}
        return initial(self.design.network, rows, self.task.train, self.task.context)


def initial(
    network: TabularNetwork, tables: Mapping[str, Array], train: Rows, context: FitContext
) -> dict[str, Any]:
    """Return where the parameters of a network start: its head tells the prior.

    Parameters
    ----------
    network : TabularNetwork
        The network.
    tables : mapping of str to array
        Its training rows, as it reads them.
    train : Rows
        The same rows, with their targets.
    context : FitContext
        Task and seed.
    """
    rng = np.random.default_rng(context.seed)
    sample = np.sort(rng.permutation(len(train.y))[:_SAMPLE])
    prior = _mean(train, context)
    if context.task.is_classification:
        prior = np.log(np.maximum(prior, _LEAST))
        prior -= prior.mean()
    return network.initial({name: table[sample] for name, table in tables.items()}, prior, rng)


def _planned(number: int, task: FitTask, prepared: dict[Hashable, _Prepared]) -> _Planned | None:
    """Return a task with its network, or None if there is nothing to learn from."""
    family = family_of(task.learner)
    context = task.context
    if context.task.is_classification and context.n_classes == 1:
        return None
    start = Start.of(context.earlier, task.params)
    earlier = None if start is None else start.inputs
    reads_blocks = family.reads_blocks
    key = (id(task.train), id(task.valid), family.flagged_levels, reads_blocks, id(earlier))
    if key not in prepared:
        prepared[key] = _prepare(task, family, earlier)
    rows = prepared[key]
    if rows.inputs.shape.is_empty:
        return None
    design = family.design(task.params, context, rows.inputs.shape, rows.n_train)
    return _Planned(number, task, rows, design, start)


def family_of(learner: str) -> Family:
    """Return the kind of network of a learner.

    Raises
    ------
    PluginError
        If it is none of this plugin.
    """
    from automl_fuse_torch import factorisation, ft_transformer, media, realmlp, tabm

    families = {
        "realmlp": realmlp.FAMILY,
        "tabm": tabm.FAMILY,
        "ft_transformer": ft_transformer.FAMILY,
        "factorisation": factorisation.FAMILY,
        **media.FAMILIES,
    }
    if learner not in families:
        raise PluginError(f"learner {learner!r} is unknown here: give one of {list(families)}")
    return families[learner]


def _prepare(task: FitTask, family: Family, earlier: Inputs | None) -> _Prepared:
    inputs = Inputs.fitted(
        task.train.X, family.flagged_levels, earlier, reads_blocks=family.reads_blocks
    )
    blocks = [task.train] if task.valid is None else [task.train, task.valid]
    parts = [tables_of(inputs, rows, task.context) for rows in blocks]
    tables = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _Prepared(inputs, len(task.train.y), tables)


def tables_of(inputs: Inputs | UnitedInputs, rows: Rows, context: FitContext) -> dict[str, Array]:
    """Return rows as a training reads them: inputs, targets and weights."""
    from automl_fuse_torch.core import GOAL, WEIGHT

    return inputs.tables(rows.X.values) | {
        GOAL: targets_of(rows, context).astype(np.float32),
        WEIGHT: weights_of(rows).astype(np.float32),
    }


def targets_of(rows: Rows, context: FitContext) -> Floats:
    """Return the target as (n_rows, n_outputs): probabilities of classes, or values."""
    if rows.soft is not None:
        return rows.soft
    if context.task.is_classification:
        return np.equal(rows.y[:, None], np.arange(context.n_classes)).astype(np.float64)
    return np.asarray(rows.y, dtype=np.float64)[:, None]


def weights_of(rows: Rows) -> Floats:
    """Return the sample weights (n_rows,), ones where there are none."""
    return np.ones(len(rows.y)) if rows.weight is None else rows.weight


def _mean(rows: Rows, context: FitContext) -> Floats:
    """Return the weighted mean of the target, (n_outputs,)."""
    mean: Floats = np.average(targets_of(rows, context), axis=0, weights=weights_of(rows))
    return mean


# --------------------------------------------------------------------------- training


def _fit_group(group: Sequence[_Planned], deadline: Deadline, device: Device) -> dict[int, Model]:
    """Train networks of one shape together, or first one half of them where memory is short."""
    import torch

    try:
        return _trained(group, deadline, device)
    except torch.OutOfMemoryError:
        if len(group) == 1:
            raise
    # What the failed attempt held is only free once its exception is gone.
    device.release()
    half = len(group) // 2
    models = _fit_group(group[:half], _share(deadline, 2), device)
    return models | _fit_group(group[half:], deadline, device)


def _trained(group: Sequence[_Planned], deadline: Deadline, device: Device) -> dict[int, Model]:
    from automl_fuse_torch import core
    from automl_fuse_torch.losses import Loss

    design, context = group[0].design, group[0].task.context
    is_classification = context.task.is_classification
    recipe = core.Recipe(
        loss=Loss.CROSS_ENTROPY if is_classification else Loss.SQUARED_ERROR,
        epochs=design.epochs,
        batch=design.batch,
        schedule=design.schedule,
        beta2=design.beta2,
        places=min(_MOST_VALID, max(1, _VALID_VALUES // design.network.hidden_values)),
    )
    store = _Store()
    members = [planned.member(store.start(planned.rows)) for planned in group]
    trained = core.train(design.network, store.tables(), members, recipe, deadline, device)
    return {
        planned.number: NetworkModel(
            planned.rows.inputs,
            planned.design.network,
            planned.design.network.finished(result.weights),
            is_classification,
            result.epochs if planned.task.valid is not None else 0,
            result.weights,
            "" if planned.start is None else planned.start.origin,
        )
        for planned, result in zip(group, trained, strict=True)
    }


@dataclass
class _Store:
    """The rows of all members, those that some of them share only once."""

    _blocks: list[_Prepared] = field(default_factory=list)
    _starts: dict[int, int] = field(default_factory=dict)
    _size: int = 0

    def start(self, rows: _Prepared) -> int:
        """Return the position of the first of these rows."""
        if id(rows) not in self._starts:
            self._starts[id(rows)] = self._size
            self._blocks.append(rows)
            self._size += len(next(iter(rows.tables.values())))
        return self._starts[id(rows)]

    def tables(self) -> dict[str, Array]:
        """Return all rows."""
        names = self._blocks[0].tables
        return {
            name: np.concatenate([block.tables[name] for block in self._blocks]) for name in names
        }


def _share(deadline: Deadline, parts: int) -> Deadline:
    """Return a deadline that leaves equal time to each of the parts still to come."""
    return deadline if parts == 1 else _Part(deadline, (1.0 - 1.0 / parts) * deadline.remaining())


@dataclass
class _Part:
    _whole: Deadline
    _reserved: float

    def remaining(self) -> float:
        return self._whole.remaining() - self._reserved

    def expired(self) -> bool:
        return self.remaining() <= 0.0
