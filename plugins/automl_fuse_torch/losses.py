"""Losses of training and of validation rows, for each member."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch.nn import functional

_LEAST = 1e-12


class Loss(StrEnum):
    """What is minimised: cross-entropy against probabilities, or the squared error."""

    CROSS_ENTROPY = "cross-entropy"
    SQUARED_ERROR = "squared error"


def training_loss(loss: Loss, scores: Any, goal: Any, smoothing: Any) -> Any:
    """Return the loss of each row, (n_members, n_rows): of each head alone, then their mean.

    Parameters
    ----------
    loss : Loss
        Which one.
    scores : tensor of shape (n_members, n_rows, n_heads, n_outputs)
        What the network gives.
    goal : tensor of shape (n_members, n_rows, n_outputs)
        Probabilities of classes, or values.
    smoothing : tensor of shape (n_members, 1, 1)
        Share of the probability that goes to all classes alike: Szegedy et al. (2016),
        section 7.
    """
    scores, goal = scores.float(), goal.unsqueeze(2)
    if loss is Loss.SQUARED_ERROR:
        return (scores - goal).square().sum(dim=-1).mean(dim=-1)
    share = smoothing.unsqueeze(2)
    goal = goal * (1.0 - share) + share / goal.shape[-1]
    return -(goal * functional.log_softmax(scores, dim=-1)).sum(dim=-1).mean(dim=-1)


def validation_loss(loss: Loss, scores: Any, goal: Any) -> Any:
    """Return the loss of each row, (n_members, n_rows), of what the heads predict together."""
    if loss is Loss.SQUARED_ERROR:
        return (scores.mean(dim=2) - goal).square().sum(dim=-1)
    together = torch.softmax(scores, dim=-1).mean(dim=2)
    return -(goal * together.clamp_min(_LEAST).log()).sum(dim=-1)
