"""The options of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from automl_fuse.errors import SettingsError
from automl_fuse.units import to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST: Final = {"max_trials": 1, "stop_after_no_gain": 0.0, "workers": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option of a run beside the data, the objective and the time limit.

    Attributes
    ----------
    task : {"binary", "multiclass", "classification", "regression"}, optional
        Inferred from the target if not given.
    kinds : mapping of str to str
        Kinds of columns, by name, that the inference got wrong.
    folds : int or scikit-learn splitter, optional
        Number of folds, or any object with ``split(X, y, groups)``. Chosen by size if absent.
    time_column : str, optional
        Column that orders the rows: every fold is then validated on later rows than it was
        trained on.
    learners, fusions, compressors : tuple of str, optional
        Only these, instead of all that are installed; no compressors if empty.
    plugins : tuple of str
        Importable plugin modules that have no entry point.
    block_plugins : tuple of str
        Plugins to leave out; the variable ``AUTOML_FUSE_BLOCK`` (comma-separated) adds to it.
    require_plugins : tuple of str
        Plugins whose failure ends the run.
    block_encoders : tuple of str
        Encoders whose features no learner is to read: ``("target", "crosses")``, say.
    max_trials : int, optional
        Members to try, at most; of compressors, their portfolios only.
    stop_after_no_gain : float, optional
        Share of the search's time without a gain of the ensemble after which the search ends, all
        portfolios done; with 0 it ends with them; never if None.
    target_transforms : bool
        Whether, where the target has a long tail, learners are also tried on its logarithm.
    seed : int
        Seed of every random choice.
    output : str, optional
        Run directory to keep. A temporary one is used, and removed, if absent.
    executor : str
        ``"processes"``, ``"inline"``, or the name of an executor plugin.
    executor_options : mapping
        Options of an executor plugin, as its README lists them: the address of a cluster, say.
    workers : int, optional
        Worker processes; as many as the executor has cores if absent.
    memory_limit : int or str, optional
        Memory that all processes of the run together may hold: bytes, or ``"12GB"``. A worker
        beyond its share is ended, which costs its trial.
    disk_limit : int or str, optional
        What the run directory may come to hold, about: bytes, or ``"20GB"``. The worst members are
        dropped where they need more than half of it.
    storage : str, optional
        Database that holds the studies, as a URL of SQLAlchemy: ``"sqlite:///studies.db"``, say, or
        ``"postgresql+psycopg://…"``. A journal in the run directory by default.
    progress : bool, optional
        Whether to show the progress line; if absent, only on a terminal.
    """

    task: Literal["binary", "multiclass", "classification", "regression"] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    folds: Any = None
    time_column: str | None = None
    learners: tuple[str, ...] | None = None
    fusions: tuple[str, ...] | None = None
    compressors: tuple[str, ...] | None = None
    plugins: tuple[str, ...] = ()
    block_plugins: tuple[str, ...] = ()
    require_plugins: tuple[str, ...] = ()
    block_encoders: tuple[str, ...] = ()
    max_trials: int | None = None
    stop_after_no_gain: float | None = 0.25
    target_transforms: bool = True
    seed: int = 0
    output: str | None = None
    executor: str = "processes"
    executor_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    memory_limit: int | str | None = None
    disk_limit: int | str | None = None
    storage: str | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no run can keep to.

        Raises
        ------
        SettingsError
            If a limit is no size, or a number is below its least.
        """
        if self.memory_limit is not None:
            to_bytes(self.memory_limit)
        if self.disk_limit is not None:
            to_bytes(self.disk_limit, "disk_limit")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise SettingsError(f"{name}={value!r} is too small: give {least:g} or more.")

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return None if self.memory_limit is None else to_bytes(self.memory_limit)

    @property
    def disk_bytes(self) -> int | None:
        """The disk limit in bytes."""
        return None if self.disk_limit is None else to_bytes(self.disk_limit, "disk_limit")
