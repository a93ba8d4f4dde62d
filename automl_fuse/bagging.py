"""What averaging a member's fold models is worth, measured without labelled rows.

OOF predictions come from one fold model a row; a pipeline that keeps all fold models averages
them, and is better than its OOF score says. How much better cannot be measured on the training
rows, each of which most fold models have seen, but follows from how far two fold models
disagree on fresh rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from automl_fuse.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automl_fuse.specs import Array, Floats, Loss

__all__ = ["bagging_gain"]

DRAWS: Final = 20
"""Times that labels are drawn: the gain is a small difference of noisy losses."""


def bagging_gain(
    loss: Loss, one: Floats, other: Floats, k: int, residuals: Floats | None, seed: int
) -> float:
    """Estimate by how much the average of ``k`` fold models lowers the loss of a single one.

    Parameters
    ----------
    loss : callable
        ``loss(y, prediction, weight)``, lower is better.
    one, other : array of shape (n_rows, n_outputs)
        Predictions of the same fresh rows by the pipeline, once with one fold model of each
        member and once with another.
    k : int
        Fold models that are averaged.
    residuals : array of shape (n_residuals,) or None
        Regression: out-of-fold target minus prediction, of any rows. None in classification.
    seed : int
        Seed of the labels drawn.

    Returns
    -------
    float
        At least 0, in units of the loss; 0 where the loss is undefined on every draw.

    Raises
    ------
    SettingsError
        If the predictions differ in shape, or residuals are missing in regression.

    Notes
    -----
    Labels are drawn from the mean of both predictions; what the mean gains over each of the
    two is measured on them. For the squared error this is the ambiguity of Krogh and Vedelsby
    1995 ("Neural network ensembles, cross validation, and active learning", eq. 6), whatever
    the labels are; for other losses it holds as far as the mean is calibrated. Members of equal
    variance and correlation gain (1 - 1/k) of their unshared variance, hence the factor
    2 (1 - 1/k) from two to ``k``.
    """
    if one.shape != other.shape:
        raise SettingsError(
            f"Predictions of shape {one.shape} and {other.shape} cannot be compared: give both "
            "for the same rows."
        )
    if k < 2 or not len(one):
        return 0.0
    mean = (one + other) / 2
    gains = [
        (loss(y, one, None) + loss(y, other, None)) / 2 - loss(y, mean, None)
        for y in _labels(one, other, residuals, np.random.default_rng(seed))
    ]
    finite = [gain for gain in gains if np.isfinite(gain)]
    if not finite:
        return 0.0
    return max(0.0, 2 * (1 - 1 / k) * float(np.mean(finite)))


def _labels(
    one: Floats, other: Floats, residuals: Floats | None, rng: np.random.Generator
) -> Iterator[Array]:
    mean = (one + other) / 2
    if mean.shape[1] == 1:
        errors = _errors_of_mean(one, other, residuals)
        for _ in range(DRAWS):
            yield mean[:, 0] + rng.choice(errors, len(mean))
        return
    bounds = np.cumsum(mean, axis=1)
    for _ in range(DRAWS):
        ticket = rng.random((len(mean), 1)) * bounds[:, -1:]
        yield np.argmax(ticket < bounds, axis=1)


def _errors_of_mean(one: Floats, other: Floats, residuals: Floats | None) -> Floats:
    """Return residuals as the mean of two would have them: those of one model are greater."""
    if residuals is None or not len(residuals):
        raise SettingsError("Regression needs out-of-fold residuals to draw labels: give some.")
    unshared = float(np.mean((one - other) ** 2)) / 4
    total = float(np.mean(residuals**2))
    shrunk: Floats = residuals * np.sqrt(max(0.0, 1 - unshared / total)) if total else residuals
    return shrunk
