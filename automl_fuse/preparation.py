"""What a run begins with: a checked table, its folds, and the plugins that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from automl_fuse.assembly import Assembler, fingerprint
from automl_fuse.eligibility import eligible_learners, unread_columns
from automl_fuse.errors import SettingsError
from automl_fuse.folds import holdout_by_cost, make_folds, seed_of
from automl_fuse.host import discover
from automl_fuse.inventory import select, suggestion, without_encoders
from automl_fuse.metrics import implied_task, resolve
from automl_fuse.resuming import Identity
from automl_fuse.schema import infer
from automl_fuse.session import workers_of
from automl_fuse.table import prepare
from automl_fuse.transfer import sketch
from automl_fuse.trial import TrialData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automl_fuse.inventory import Plugins
    from automl_fuse.run import RunDirectory
    from automl_fuse.schema import Schema
    from automl_fuse.specs import (
        Array,
        CompressorSpec,
        FusionSpec,
        LearnerSpec,
        MetricSpec,
        Settings,
    )
    from automl_fuse.table import Dataset

__all__ = ["Prepared", "prepare_run"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run begins with.

    Attributes
    ----------
    dataset, schema : Dataset, Schema
        The checked table, and what its columns hold.
    data : TrialData
        What all trials share.
    plugins : Plugins
        What was found.
    objective : MetricSpec
        The metric that is meant.
    fusions, compressors : tuple of FusionSpec, of CompressorSpec
        Those to choose from.
    learners : list of LearnerSpec
        Those that fit the table.
    skipped : list of dict
        Those that do not, and why.
    notes : list of str
        What the user should know of the table.
    """

    dataset: Dataset
    schema: Schema
    data: TrialData
    plugins: Plugins
    objective: MetricSpec
    fusions: tuple[FusionSpec, ...]
    compressors: tuple[CompressorSpec, ...]
    learners: list[LearnerSpec]
    skipped: list[dict[str, str]]
    notes: list[str]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the training rows."""
        return fingerprint(self.data.columns, self.data.y)

    def identity(self, asked: Mapping[str, Any], search_seconds: float) -> Identity:
        """Return what tells this run from others, of which this was asked."""
        begun = Identity.of(
            self.dataset, self.data, self.objective, self.plugins, asked, search_seconds
        )
        return begun.with_data(self.fingerprint, self.data.weight)

    def known(self) -> dict[str, Any]:
        """Return what the report says of the table."""
        return {
            "skipped": self.skipped,
            "warnings": self.notes,
            "data_sha256": self.fingerprint,
            "rows_sketch": sketch(self.data.columns),
        }

    def assembler(self, run: RunDirectory, seed: int) -> Assembler:
        """Return what puts pipelines together from the files of a run."""
        return Assembler(run, self.dataset, self.schema, self.data.columns, seed)


def prepare_run(
    said: dict[str, Any], y: Any, settings: Settings, search_seconds: float
) -> Prepared:
    """Read and check everything that a run is given.

    Parameters
    ----------
    said : dict
        Arguments of ``fit``, by name.
    y : array of shape (n_rows,) or None
        The target, if it is not a column.
    settings : Settings
        Every other option.
    search_seconds : float
        Length of the search, by which folds are chosen.
    """
    plugins = discover(
        block=settings.block_plugins, modules=settings.plugins, require=settings.require_plugins
    )
    plugins = without_encoders(plugins, settings.block_encoders)
    dataset = _dataset(said, y, settings, plugins)
    schema = infer(dataset.table, settings.kinds)
    n_workers, _ = workers_of(settings, plugins, len(dataset.y))
    data = _trial_data(dataset, schema, settings, (search_seconds, n_workers))
    fusions = select(settings.fusions, plugins.fusions, "fusion", plugins.missing)
    chosen = settings.compressors
    compressors = (
        select(chosen, plugins.compressors, "compressor", plugins.missing)
        if chosen is None or len(chosen)
        else {}
    )
    executor = plugins.executors.get(settings.executor)
    spreads_from = (
        executor.spreads_from(settings.executor_options)
        if executor is not None and executor.spreads_from is not None
        else None
    )
    learners, skipped = eligible_learners(plugins, data, settings.learners, spreads_from)
    return Prepared(
        dataset=dataset,
        schema=schema,
        data=data,
        plugins=plugins,
        objective=resolve(said["metric"], dataset.task, plugins.metrics),
        fusions=tuple(fusions.values()),
        compressors=tuple(compressors.values()),
        learners=learners,
        skipped=skipped,
        notes=[*dataset.warnings, *schema.warnings, *unread_columns(plugins, data, learners)],
    )


def _dataset(said: dict[str, Any], y: Any, settings: Settings, plugins: Plugins) -> Dataset:
    """Read and check the table, as what the settings or the metric imply that it is."""
    read = partial(
        prepare,
        said["data"],
        y,
        target=said["target"],
        sample_weight=said["sample_weight"],
        groups=said["groups"],
    )
    dataset = read(task=settings.task)
    meant = implied_task(said["metric"], plugins.metrics)
    if settings.task is None and meant is not None and dataset.has_number_classes:
        dataset = read(task=meant)
    return dataset


def _trial_data(
    dataset: Dataset, schema: Schema, settings: Settings, affordable: tuple[float, int]
) -> TrialData:
    """Return what all trials share; seconds of search and workers choose folds or a holdout."""
    order = None
    if settings.time_column is not None:
        if settings.time_column not in dataset.table.columns:
            raise SettingsError(
                f"time_column={settings.time_column!r} is not a column of the table"
                + suggestion(settings.time_column, dataset.table.names)
            )
        order = _order(dataset.table.columns[settings.time_column], settings.time_column)
    n_classes = 1 if dataset.classes is None else len(dataset.classes)
    return TrialData(
        columns=schema.convert(dataset.table),
        y=dataset.y,
        weight=dataset.weight,
        folds=make_folds(
            dataset.y,
            dataset.task,
            seed_of(settings.seed, "folds"),
            folds=settings.folds,
            groups=dataset.groups,
            order=order,
            holdout=holdout_by_cost(
                len(dataset.y),
                len(dataset.table.columns),
                n_classes if n_classes > 2 else 1,
                *affordable,
            ),
        ),
        task=dataset.task,
        n_classes=n_classes,
        seed=settings.seed,
    )


def _order(values: Array, name: str) -> Array:
    """Return the values that order rows in time as numbers or datetimes."""
    if values.dtype.kind in "Mfiu":
        return values
    try:
        return values.astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"time_column={name!r} holds neither numbers nor datetimes: {error}."
        ) from error
