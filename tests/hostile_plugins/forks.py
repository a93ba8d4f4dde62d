"""Leaves children behind: one beside it, one in a session of its own that nobody waits for."""

import os
import time

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


def outlive():
    time.sleep(600)
    os._exit(0)


def fork():
    if os.fork() == 0:
        outlive()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            outlive()
        os._exit(0)


class Forks(Prior):
    def fit(self, train, valid):
        super().fit(train, valid)
        fork()


@hookimpl
def automl_fuse_learners():
    return [learner("forks", Forks)]
