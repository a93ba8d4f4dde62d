"""Models that do not pickle, or that do something when they are read again."""

import os

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


class Unpicklable(Prior):
    def fit(self, train, valid):
        super().fit(train, valid)
        self.why = lambda: "a local function"


class Executes(Prior):
    def __reduce__(self):
        return os._exit, (7,)


class Unreadable(Prior):
    def __reduce__(self):
        return int, ("no number",)


@hookimpl
def automl_fuse_learners():
    return [
        learner("unpicklable", Unpicklable),
        learner("executes", Executes),
        learner("unreadable", Unreadable),
    ]
