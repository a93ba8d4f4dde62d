"""Needs a library whose import never ends."""

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


@hookimpl
def automl_fuse_learners():
    return [learner("hangs_at_import", Prior, requires=("hostile_plugins._library",))]
