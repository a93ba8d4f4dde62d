"""Gives specs of every kind, of which every function raises."""

from automl_fuse import hookimpl
from automl_fuse.specs import (
    ALL_TASKS,
    CompressorSpec,
    Configuration,
    Cost,
    EncoderSpec,
    ExecutorSpec,
    FitTogether,
    FusionSpec,
    Kind,
    MetricSpec,
    ObserverSpec,
)
from hostile_plugins._parts import Prior, learner


def refuse(*arguments, **options):
    raise RuntimeError("not today")


class Deaf:
    def __init__(self, run):
        pass

    def notify(self, event):
        raise SystemExit("I am off")


@hookimpl
def automl_fuse_learners():
    return [
        learner("no_build", Prior, build=refuse),
        learner("no_cost", Prior, cost=refuse),
        learner("odd_cost", Prior, cost=lambda shape, params: Cost(seconds=-1.0, bytes=0)),
        learner("no_space", Prior, space=refuse),
        learner("no_size", Prior, together=FitTogether(fit=refuse, size=refuse, seconds=refuse)),
        learner("no_encoder", Prior, encoders=("refusing",)),
    ]


@hookimpl
def automl_fuse_encoders():
    kinds = frozenset({Kind.NUMERIC})
    return [EncoderSpec(name="refusing", api_version=1, kinds=kinds, build=refuse)]


@hookimpl
def automl_fuse_metrics():
    return [
        MetricSpec(
            name="unscored",
            api_version=1,
            tasks=ALL_TASKS,
            needs="label",
            greater_is_better=True,
            score=refuse,
        )
    ]


@hookimpl
def automl_fuse_fusions():
    merit = (Configuration(merit=1.0),)
    return [
        FusionSpec(name="no_fusion", api_version=1, tasks=ALL_TASKS, build=refuse, portfolio=merit),
        FusionSpec(
            name="no_fusion_space", api_version=1, tasks=ALL_TASKS, build=refuse, space=refuse
        ),
    ]


@hookimpl
def automl_fuse_compressors():
    return [
        CompressorSpec(name="no_proposal", api_version=1, tasks=ALL_TASKS, build=refuse),
        CompressorSpec(
            name="no_proposal_space", api_version=1, tasks=ALL_TASKS, build=refuse, space=refuse
        ),
    ]


@hookimpl
def automl_fuse_executors():
    return [ExecutorSpec(name="no_executor", api_version=1, build=refuse)]


@hookimpl
def automl_fuse_observers():
    return [
        ObserverSpec(name="no_observer", api_version=1, build=refuse),
        ObserverSpec(name="deaf", api_version=1, build=Deaf),
    ]
