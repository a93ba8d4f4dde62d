"""Checks of one spec against the plugin contract, without building anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from automl_fuse.specs import (
    API_VERSION,
    CompressorSpec,
    Configuration,
    EncoderSpec,
    ExecutorSpec,
    FineTuning,
    FitTogether,
    FusionSpec,
    Kind,
    LearnerSpec,
    MetricSpec,
    ObserverSpec,
    Spec,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["SPEC_TYPES", "kind_of", "spec_problems"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED: Final = {"executor": frozenset({"processes", "inline"})}

SPEC_TYPES: Final[Mapping[str, type[Spec]]] = {
    "learner": LearnerSpec,
    "encoder": EncoderSpec,
    "metric": MetricSpec,
    "fusion": FusionSpec,
    "compressor": CompressorSpec,
    "executor": ExecutorSpec,
    "observer": ObserverSpec,
}
_CALLABLES: Final = ("build", "cost", "misfit", "space", "score")


def kind_of(spec: Spec) -> str:
    """Return the kind of a spec, as in ``"learner"``."""
    return next(kind for kind, type_ in SPEC_TYPES.items() if isinstance(spec, type_))


def spec_problems(spec: Spec) -> list[str]:
    """Return how a spec breaks the contract: a sentence for each way, none if it is sound."""
    kind = kind_of(spec)
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        return [f"{kind} name {spec.name!r} must be lower case, as in 'my_{kind}2'"]
    return [f"{kind} {spec.name!r} {problem}" for problem in _problems(spec, kind)]


def _problems(spec: Spec, kind: str) -> Iterator[str]:
    version = spec.api_version
    if not isinstance(version, int) or version < 1:
        yield f"has api_version {version!r}: write the number {API_VERSION}"
    elif version > API_VERSION:
        # Its other fields may mean something else by then.
        yield (
            f"was made for plugin API {version}, and this automl-fuse knows {API_VERSION}: "
            "upgrade automl-fuse, or install an older version of the plugin"
        )
        return
    if spec.name in _RESERVED.get(kind, ()):
        yield "has the name of a built-in: choose another"
    if not _is_tuple_of(spec.requires, str):
        yield f"has requires {spec.requires!r}: give a tuple of module names, as in ('numpy',)"
    if hasattr(spec, "tasks") and not _is_set_of(spec.tasks, Task):
        yield f"has tasks {spec.tasks!r}: give a frozenset of at least one Task"
    for name in _CALLABLES:
        if hasattr(spec, name) and not callable(getattr(spec, name)):
            yield f"has {name} {getattr(spec, name)!r}: give a function"
    yield from _problems_of_kind(spec)


def _problems_of_kind(spec: Spec) -> Iterator[str]:
    if isinstance(spec, LearnerSpec | FusionSpec | CompressorSpec):
        yield from _portfolio_problems(spec.portfolio)
    if isinstance(spec, LearnerSpec):
        named = callable(spec.encoders) or (spec.encoders and _is_tuple_of(spec.encoders, str))
        if not named:
            yield f"has encoders {spec.encoders!r}: give a tuple of names, or a function of params"
        if spec.max_rows is not None and spec.max_rows < 1:
            yield f"has max_rows {spec.max_rows!r}: give a positive number, or None"
        tuning: object = spec.fine_tuning
        if isinstance(tuning, FineTuning):
            yield from _portfolio_problems(tuning.portfolio)
        elif tuning is not None:
            yield f"has fine_tuning {tuning!r}: give a FineTuning, or None"
        together: object = spec.together
        if together is not None and not isinstance(together, FitTogether):
            yield f"has together {together!r}: give a FitTogether, or None"
    if isinstance(spec, EncoderSpec) and not _is_set_of(spec.kinds, Kind):
        yield f"has kinds {spec.kinds!r}: give a frozenset of at least one Kind"
    if isinstance(spec, MetricSpec) and spec.needs not in ("label", "probability", "value"):
        yield f"has needs {spec.needs!r}: give 'label', 'probability' or 'value'"


def _portfolio_problems(portfolio: tuple[Configuration, ...]) -> Iterator[str]:
    if not portfolio or not _is_tuple_of(portfolio, Configuration):
        yield "has a portfolio that is not a tuple of at least one Configuration"
        return
    for point in portfolio:
        if not 0 <= point.merit <= 1:
            yield f"has a configuration of merit {point.merit!r}: give a number from 0 to 1"


def _is_tuple_of(value: object, item: type) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, item) for v in value)


def _is_set_of(value: object, item: type) -> bool:
    return isinstance(value, frozenset) and bool(value) and all(isinstance(v, item) for v in value)
