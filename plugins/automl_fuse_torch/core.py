"""The training loop: several networks of one shape trained at the same time as one.

It knows nothing of tables: a network is any function of named parameters, which all have a
leading dimension of members, and of named tensors of rows (see ``Network``). One network is a
training of one member.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from automl_fuse_torch.batching import Batches, Noise, NoNoise
from automl_fuse_torch.freezing import Frozen
from automl_fuse_torch.losses import Loss, training_loss, validation_loss
from automl_fuse_torch.optimiser import AdamW
from automl_fuse_torch.parameters import Packing, Parameter
from automl_fuse_torch.schedules import Pace, Schedule
from automl_fuse_torch.tracking import Averages, Best, ValidRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse.specs import Array, Deadline
    from automl_fuse_torch.devices import Device
    from automl_fuse_torch.parameters import Singles

GOAL = "goal"
WEIGHT = "weight"
"""Tables of targets (n_rows, n_outputs) and of sample weights (n_rows,)."""

_LOOK_EVERY = 16
"""Steps between two looks at the deadline, at most: a network may ask for more by its
``steps_between_looks``. A look makes a card wait."""
_LEAST_STEPS = 8
"""Steps between two looks at the validation rows, at least."""


class Dropping(Protocol):
    """What a network puts its hidden values through."""

    @property
    def is_training(self) -> bool:
        """Whether scores are learned from, or predict."""

    def drop(self, x: Any) -> Any:
        """Return ``x`` (n_members, …) with dropout, or as it is when predicting."""

    def draws(self, n_rows: int, count: int) -> Any:
        """Return random numbers (n_members, n_rows, count) from 0 to 1; None when predicting."""


class Network(Protocol):
    """A network of which many members are computed at once."""

    def parameters(self) -> Mapping[str, Parameter]:
        """Return what is learned, in the order in which rows go through it.

        What stands before the last dot of a name is its layer; the last layer is the head.
        """

    def forward(self, weights: Mapping[str, Any], batch: Mapping[str, Any], noise: Dropping) -> Any:
        """Return scores (n_members, n_rows, n_heads, n_outputs).

        Parameters
        ----------
        weights : mapping of str to tensor
            The parameters, each (n_members, *shape).
        batch : mapping of str to tensor
            Rows of the tables, each (n_members, n_rows, …).
        noise : Dropping
            Dropout.
        """


class Teaching(Protocol):
    """What a network is taught in place of its goals alone."""

    def losses(
        self, weights: Mapping[str, Any], batch: Mapping[str, Any], goal: Any, noise: Dropping
    ) -> Any:
        """Return the loss of each row of a training step, (n_members, n_rows).

        Parameters
        ----------
        weights, batch, noise
            As for ``Network.forward``.
        goal : tensor of shape (n_members, n_rows, n_outputs)
            Probabilities of classes, or values.
        """


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of a training.

    Attributes
    ----------
    weights : mapping of str to array
        Where its parameters start.
    train, valid : integer array
        Positions of its rows in the tables; without validation rows the last state is kept,
        else the best.
    rate, decay, dropout, smoothing : float
        Learning rate, weight decay, dropout rate and label smoothing.
    averaging : float
        Share of the mean of earlier parameters that is kept at each step, for the mean that
        predicts; 0 for the parameters themselves.
    seed : int
        Of the order of rows, and of dropout.
    frozen : frozenset of str
        Parameters that stay as they start.
    thaw : float
        Share of the training after which they are learned, too.
    is_trained : bool
        Whether the weights come from an earlier training: where they start may be the best.
    """

    weights: Mapping[str, Array]
    train: Array
    valid: Array | None
    rate: float
    decay: float
    dropout: float = 0.0
    smoothing: float = 0.0
    averaging: float = 0.0
    seed: int = 0
    frozen: frozenset[str] = frozenset()
    thaw: float = 1.0
    is_trained: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all members of a training share.

    Attributes
    ----------
    loss : Loss
        What is minimised.
    epochs : int
        Passes over the training rows, if there is time.
    batch : int
        Rows of a batch, at most.
    schedule : Schedule
        Factors of rates by progress.
    beta2 : float
        Of Adam.
    places : int
        Validation rows of a member that are predicted at once, if they fit into memory.
    teaching : Teaching or None
        What gives the loss of training rows, where that is more than ``loss``.
    """

    loss: Loss
    epochs: int
    batch: int
    schedule: Schedule
    beta2: float = 0.999
    places: int = 1024
    teaching: Teaching | None = None


@dataclass(frozen=True)
class Trained:
    """A trained member: its parameters, and the epochs after which they were best."""

    weights: Mapping[str, Singles]
    epochs: int


def train(
    network: Network,
    tables: Mapping[str, Array],
    members: Sequence[Member],
    recipe: Recipe,
    deadline: Deadline,
    device: Device,
) -> list[Trained]:
    """Train members together, until the schedule is over, none improves, or time is up.

    A member's result does not depend, but for rounding, on who is trained beside it.

    Parameters
    ----------
    network : Network
        The shape of all members.
    tables : mapping of str to array
        Rows, brought to the device once: what ``network`` reads, ``GOAL`` and ``WEIGHT``.
    members : sequence of Member
        Their training rows give batches of one shape (see ``batching.batch_shape``); all of
        them have validation rows, or none.
    recipe : Recipe
        How to train.
    deadline : Deadline
        Looked at between steps; the schedule is shortened so that its rate still falls to 0.
    device : Device
        Where to compute.

    Returns
    -------
    list of Trained
        In the order of the members.
    """
    return _Training(network, tables, members, recipe, device).run(deadline)


class _Training:
    def __init__(
        self,
        network: Network,
        tables: Mapping[str, Array],
        members: Sequence[Member],
        recipe: Recipe,
        device: Device,
    ) -> None:
        self._network, self._recipe, self._device = network, recipe, device
        self._tables = {name: device.tensor(values) for name, values in tables.items()}
        self._packing = Packing(network.parameters())
        rows = np.stack([self._packing.row(member.weights) for member in members])
        self._weights = device.tensor(rows).requires_grad_()
        self._averages = Averages(self._weights, self._column(members, "averaging"))
        self._optimiser = AdamW(
            self._weights,
            self._packing,
            self._column(members, "rate"),
            self._column(members, "decay"),
            recipe.beta2,
        )
        self._frozen = Frozen(members, self._packing, device)
        self._is_trained = any(member.is_trained for member in members)
        self._smoothing = self._column(members, "smoothing").unsqueeze(2)
        seeds = [member.seed for member in members]
        self._noise = Noise([member.dropout for member in members], seeds, device)
        self._batches = Batches([m.train for m in members], recipe.batch, seeds, device)
        self._valid = ValidRows.of(members, device)
        self._best = Best(self._weights)
        self._results: dict[int, Trained] = {}
        self._open = list(range(len(members)))
        self._pauses = list(recipe.schedule.pauses)
        self._parts = 1

    def run(self, deadline: Deadline) -> list[Trained]:
        steps = self._batches.shape.steps
        every = math.ceil(_LEAST_STEPS / steps)
        pace = Pace(deadline, self._recipe.epochs * steps)
        every_steps = min(_LOOK_EVERY, getattr(self._network, "steps_between_looks", _LOOK_EVERY))
        done, total = 0, pace.total(0)
        if self._is_trained:
            self._look(0)
        while done < total and self._open:
            order = self._batches.shuffled()
            for step in range(steps):
                self._step(order[:, step], self._batches.filled[:, step], done / total)
                done += 1
                if _is_look(done, every_steps):
                    self._device.settle()
                    total = pace.total(done)
                if done >= total:
                    break
            epoch = math.ceil(done / steps)
            if done >= total or epoch % every == 0:
                self._look(epoch)
                total = pace.total(done)
                self._end_the_idle(done / max(total, 1))
        self._finish(range(len(self._open)))
        return [self._results[i] for i in sorted(self._results)]

    # ----------------------------------------------------------------------- steps

    def _step(self, rows: Any, filled: Any, progress: float) -> None:
        schedule = self._recipe.schedule
        self._noise.scale(schedule.dropout(progress))
        gradient = self._in_parts(lambda: self._gradient(rows, filled))
        self._optimiser.step(
            gradient,
            schedule.rate(progress),
            schedule.decay(progress),
            self._frozen.learned(progress),
        )
        self._averages.update(self._weights)

    def _in_parts(self, compute: Callable[[], Any]) -> Any:
        """Compute in so many parts that it fits into memory, from now on."""
        result = self._if_it_fits(compute)
        while result is None:
            # What the failed attempt held is only free once its exception is gone.
            self._parts *= 2
            self._device.release()
            result = self._if_it_fits(compute)
        return result

    def _if_it_fits(self, compute: Callable[[], Any]) -> Any:
        """Return what is computed, or None if it needs more memory than there is."""
        try:
            return compute()
        except torch.OutOfMemoryError:
            if self._parts >= max(self._batches.shape.places, self._recipe.places):
                raise
            return None

    def _gradient(self, rows: Any, filled: Any) -> Any:
        """Return the gradient of the mean loss over a batch."""
        self._weights.grad = None
        weight = self._tables[WEIGHT][rows] * filled
        weight = weight / weight.sum(dim=1, keepdim=True)
        pieces = zip(rows.chunk(self._parts, 1), weight.chunk(self._parts, 1), strict=True)
        for piece, share in pieces:
            batch = self._rows(piece)
            loss = self._training_losses(batch.pop(GOAL), batch)
            (loss * share).sum().backward()
        return self._weights.grad

    def _training_losses(self, goal: Any, batch: Mapping[str, Any]) -> Any:
        """Return the loss of each row of a step."""
        weights, teaching = self._packing.views(self._weights), self._recipe.teaching
        if teaching is not None:
            return teaching.losses(weights, batch, goal, self._noise)
        with self._device.mixed():
            scores = self._network.forward(weights, batch, self._noise)
        return training_loss(self._recipe.loss, scores, goal, self._smoothing)

    def _rows(self, positions: Any) -> dict[str, Any]:
        return {name: table[positions] for name, table in self._tables.items() if name != WEIGHT}

    # ----------------------------------------------------------------------- looks

    def _look(self, epoch: int) -> None:
        """Compare each member with the best that it has been."""
        weights = self._averages.of(self._weights)
        if self._valid is None:
            self._best.take(weights, epoch)
            return
        valid = self._valid
        losses = self._in_parts(lambda: self._validation_losses(weights, valid))
        self._best.compare(weights, losses, epoch)

    def _validation_losses(self, weights: Any, valid: ValidRows) -> Any:
        """Return the mean loss of each member over its validation rows."""
        places = max(1, self._recipe.places // self._parts)
        views, total = self._packing.views(weights), torch.zeros_like(weights[:, 0])
        for positions, share in valid.pieces(self._tables[WEIGHT], places):
            batch = self._rows(positions)
            goal = batch.pop(GOAL)
            with torch.no_grad():
                scores = self._network.forward(views, batch, NoNoise())
            loss = validation_loss(self._recipe.loss, scores, goal)
            total += (loss * share).sum(dim=1)
        return total

    def _end_the_idle(self, progress: float) -> None:
        """End members that have not improved between the last two pauses."""
        if self._valid is None or not self._pauses or progress < self._pauses[0]:
            return
        while self._pauses and progress >= self._pauses[0]:
            self._pauses.pop(0)
        improved = self._best.has_improved()
        if not all(improved):
            self._finish([i for i, has in enumerate(improved) if not has])

    def _finish(self, positions: Sequence[int] | range) -> None:
        """Note the results of members, and go on with the others."""
        for i in positions:
            row, epochs = self._best.row(i)
            self._results[self._open[i]] = Trained(self._packing.arrays(row), epochs)
        chosen = [i for i in range(len(self._open)) if i not in set(positions)]
        self._open = [self._open[i] for i in chosen]
        if not chosen:
            return
        index = torch.tensor(chosen, device=self._device.name)
        self._weights = self._weights.detach()[index].requires_grad_()
        self._optimiser.keep(index, self._weights)
        self._averages.keep(index)
        self._frozen.keep(index)
        self._smoothing = self._smoothing[index]
        self._best.keep(index)
        self._noise.keep(chosen)
        self._batches.keep(chosen)
        if self._valid is not None:
            self._valid.keep(index)

    def _column(self, members: Sequence[Member], name: str) -> Any:
        """Return a setting of each member, (n_members, 1)."""
        values = np.array([[getattr(member, name)] for member in members], dtype=np.float32)
        return self._device.tensor(values)


def _is_look(done: int, every: int) -> bool:
    """Return whether the clock is looked at: often at first, as nothing is known of the pace."""
    return done % every == 0 or (done < every and done & (done - 1) == 0)
