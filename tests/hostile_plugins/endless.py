"""Never comes to an end, whoever asks: in Python, or with the interpreter held by compiled code."""

import ctypes
import signal

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner
from hostile_plugins.forks import fork


class Endless(Prior):
    def fit(self, train, valid):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("on and on", flush=True)
        while True:
            pass


class EndlessWithChildren(Endless):
    def fit(self, train, valid):
        fork()
        super().fit(train, valid)


class Holds(Prior):
    def fit(self, train, valid):
        print("on and on", flush=True)
        ctypes.PyDLL(None).sleep(600)


@hookimpl
def automl_fuse_learners():
    return [
        learner("endless", Endless),
        learner("endless_with_children", EndlessWithChildren),
        learner("holds", Holds),
    ]
