"""Reads where there is no memory."""

import ctypes

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


class Segfault(Prior):
    def fit(self, train, valid):
        ctypes.string_at(0)


@hookimpl
def automl_fuse_learners():
    return [learner("segfault", Segfault)]
