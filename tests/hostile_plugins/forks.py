"""Leaves children behind: one beside it, one in a session of its own that nobody waits for."""

import os
import subprocess
import time

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


def outlive():
    time.sleep(600)
    os._exit(0)


def fork():
    if os.fork() == 0:
        outlive()
    # Not by another fork: in a process with threads its child may hang before it is in a session
    # of its own.
    subprocess.Popen(["sh", "-c", "sleep 600 & exit"], start_new_session=True)


class Forks(Prior):
    def fit(self, train, valid):
        super().fit(train, valid)
        fork()


@hookimpl
def automl_fuse_learners():
    return [learner("forks", Forks)]
