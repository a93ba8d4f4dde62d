"""From the results of folds to a finished member."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from automl_fuse.search.outcome import FinishedMember

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automl_fuse.specs import Array, Floats, JobResult, Params
    from automl_fuse.trial import TrialData


def collected(
    name: str,
    params: Params,
    results: Mapping[int, JobResult],
    data: TrialData,
    loss_of: Callable[[Floats, Array], float],
) -> FinishedMember:
    """Average the folds' predictions of each row: a splitter may validate a row twice.

    Parameters
    ----------
    name, params
        The member.
    results : mapping of int to JobResult
        By fold; at least one.
    data : TrialData
        Folds and target.
    loss_of : callable
        ``loss_of(prediction, rows)``, lower is better.
    """
    total = np.zeros((len(data.validated), data.n_classes))
    count = np.zeros(len(total))
    ordered = [results[fold] for fold in sorted(results)]
    for result in ordered:
        rows = np.searchsorted(data.validated, data.folds[result.job.fold].valid)
        if result.predictions is not None:
            total[rows] += result.predictions
            count[rows] += 1
    oof = np.full_like(total, np.nan)
    rows = np.flatnonzero(count)
    oof[rows] = total[rows] / count[rows, None]
    return FinishedMember(
        name=name,
        learner=ordered[0].job.learner,
        params=params,
        folds=tuple(sorted(results)),
        rows=data.validated,
        oof=oof,
        loss=loss_of(oof[rows], data.validated[rows]),
        fold_losses=np.array(fold_losses(results, data, loss_of)),
        fit_seconds=sum(result.fit_seconds for result in ordered),
        predict_seconds=sum(result.predict_seconds for result in ordered),
        row_seconds=sum(
            result.predict_seconds / len(data.folds[result.job.fold].valid) for result in ordered
        ),
        bytes=sum(result.bytes for result in ordered),
        n_features=max(result.n_features for result in ordered),
    )


def fold_losses(
    results: Mapping[int, JobResult],
    data: TrialData,
    loss_of: Callable[[Floats, Array], float],
) -> list[float]:
    """Return the loss of each fold on its validation rows."""
    return [
        loss_of(result.predictions, data.folds[fold].valid)
        for fold, result in sorted(results.items())
        if result.predictions is not None
    ]
