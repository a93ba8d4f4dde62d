"""Errors raised on purpose: each says what is wrong, where, and how to mend it."""

from __future__ import annotations

__all__ = [
    "ArtefactError",
    "AutoFuseError",
    "DataError",
    "DiskFullError",
    "ExportError",
    "MetricError",
    "MissingDependencyError",
    "NothingFittedError",
    "PluginError",
    "RunError",
    "SettingsError",
    "TargetError",
]


class AutoFuseError(Exception):
    """Base class of all errors raised by automl_fuse."""


class DataError(AutoFuseError, ValueError):
    """A table cannot be used as it is: the message names the column and the value."""


class TargetError(DataError):
    """The target cannot be learned: missing, constant, infinite or of too few classes."""


class SettingsError(AutoFuseError, ValueError):
    """An option has a value that cannot work."""


class MetricError(SettingsError):
    """A metric is unknown, or does not fit the task."""


class PluginError(AutoFuseError):
    """A plugin breaks the contract, collides with another, or is required and missing."""


class MissingDependencyError(AutoFuseError, ImportError):
    """A package that is an optional extra is needed and not installed."""


class NothingFittedError(AutoFuseError, RuntimeError):
    """No member could be fitted: the message lists the reason of each."""


class RunError(AutoFuseError, RuntimeError):
    """A run directory is in use, unreadable, or belongs to another run."""


class DiskFullError(RunError):
    """A file could not be written because its disk, or the quota on it, is full."""


class ArtefactError(AutoFuseError, ValueError):
    """A saved pipeline is missing, damaged, or written by an incompatible version."""


class ExportError(AutoFuseError, RuntimeError):
    """A part cannot be written into the portable file, or predicts otherwise from it."""
