"""Never comes to an end, whoever asks."""

import signal

from automl_fuse import hookimpl
from hostile._parts import Prior, learner


class Endless(Prior):
    def fit(self, train, valid):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("on and on", flush=True)
        while True:
            pass


@hookimpl
def automl_fuse_learners():
    return [learner("endless", Endless)]
