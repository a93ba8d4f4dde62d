"""Closes every file of its process, or stops it."""

import os
import signal

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


class Closes(Prior):
    def fit(self, train, valid):
        os.closerange(0, 1_000)
        raise RuntimeError("nobody hears this")


class Stops(Prior):
    def fit(self, train, valid):
        os.kill(os.getpid(), signal.SIGSTOP)


@hookimpl
def automl_fuse_learners():
    return [learner("closes", Closes), learner("stops", Stops)]
