"""Which learners fit a table, and why the others do not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from automl_fuse.errors import NothingFittedError
from automl_fuse.inventory import select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automl_fuse.inventory import Plugins
    from automl_fuse.specs import Kind, LearnerSpec, Params, Shape
    from automl_fuse.trial import TrialData


def eligible_learners(
    plugins: Plugins,
    data: TrialData,
    names: Sequence[str] | None,
    spreads_from: int | None = None,
) -> tuple[list[LearnerSpec], list[dict[str, str]]]:
    """Return the learners that fit the table, and the reason of each that does not.

    Parameters
    ----------
    plugins : Plugins
        What is installed.
    data : TrialData
        Typed columns, folds and task.
    names : sequence of str or None
        Learners that the user wants; all if None.
    spreads_from : int or None
        Training rows from which the executor offers several machines to one fit; None if it never
        does.

    Raises
    ------
    SettingsError
        If a name is unknown.
    NothingFittedError
        If no learner fits.
    """
    chosen = select(names, plugins.learners, "learner", plugins.missing)
    usable, skipped = [], []
    for spec in chosen.values():
        reason = _misfit(spec, data, plugins) or _spread_trouble(
            spec, data, spreads_from, is_named=names is not None
        )
        if reason:
            skipped.append({"learner": spec.name, "reason": reason})
        else:
            usable.append(spec)
    if not usable:
        raise NothingFittedError(_why_none(data, skipped))
    return usable, skipped


def _why_none(data: TrialData, skipped: Sequence[Mapping[str, str]]) -> str:
    if not skipped:
        return "No learner is installed: pip install 'automl-fuse[boosting]', or unblock a plugin."
    columns = ", ".join(f"{column.name!r} ({column.kind})" for column in data.columns.columns[:5])
    reasons: dict[str, list[str]] = {item["reason"]: [] for item in skipped}
    for item in skipped:
        reasons[item["reason"]].append(item["learner"])
    listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return (
        f"No learner fits this table of {columns}. {listed}. Install a plugin that reads such "
        "columns, or say in kinds (--kind COLUMN=KIND) what they hold if it was mistaken."
    )


def unread_columns(plugins: Plugins, data: TrialData, learners: Sequence[LearnerSpec]) -> list[str]:
    """Return a note for each column that no learner's encoders read."""
    read = {kind for spec in learners for kind in _kinds_read(spec, plugins)}
    return [
        f"Column {column.name!r} is not used: no installed encoder reads {column.kind} columns."
        for column in data.columns.columns
        if column.kind not in read
    ]


def _misfit(spec: LearnerSpec, data: TrialData, plugins: Plugins) -> str:
    if data.task not in spec.tasks:
        return f"it does not learn {data.task} tasks"
    n_rows = max(len(fold.train) for fold in data.folds)
    if spec.max_rows is not None and n_rows > spec.max_rows:
        return f"it is limited to {spec.max_rows} rows, and a fold has {n_rows}"
    columns = data.columns.columns
    if not _kinds_read(spec, plugins) & {column.kind for column in columns}:
        return "no encoder reads its columns"
    return spec.misfit(columns) or _cost_trouble(spec, data)


def _spread_trouble(
    spec: LearnerSpec, data: TrialData, spreads_from: int | None, *, is_named: bool
) -> str:
    """Return why a distributed learner would be of no use, empty if it is of use."""
    if not spec.distributed:
        return ""
    if spreads_from is None:
        return "it needs an executor that offers several machines to one fit, such as ray"
    n_rows = max(len(fold.train) for fold in data.folds)
    if is_named or n_rows >= spreads_from:
        return ""
    return f"it is for {spreads_from} training rows and more, and a fold has {n_rows}"


def _cost_trouble(spec: LearnerSpec, data: TrialData) -> str:
    """Return why the search could not plan with a learner, empty if it can."""
    for configuration in spec.portfolio:
        try:
            predicted = _predicted(spec, data.fold_shape, configuration.params)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
            return f"its cost cannot be told: {error!r}"
        for seconds in predicted:
            if not 0 <= seconds < math.inf:
                return f"its cost is {seconds} seconds, which is no time that a fit could take"
    return ""


def _predicted(spec: LearnerSpec, shape: Shape, params: Params) -> tuple[float, ...]:
    """Return the seconds of a fit, and of as many at the same time as pay."""
    seconds = float(spec.cost(shape, params).seconds)
    if spec.together is None:
        return (seconds,)
    dict(spec.together.agreed(params))  # the search asks for that, too
    size = max(1, int(spec.together.size(shape, params)))
    return seconds, float(spec.together.seconds(shape, params, size))


def _kinds_read(spec: LearnerSpec, plugins: Plugins) -> frozenset[Kind]:
    names = {
        name
        for configuration in spec.portfolio
        for name in spec.encoders_for(configuration.params)
        if name in plugins.encoders
    }
    return frozenset(kind for name in names for kind in plugins.encoders[name].kinds)
