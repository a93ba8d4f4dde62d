"""Takes memory, and never gives it back."""

import time

import numpy as np

from automl_fuse import hookimpl
from automl_fuse.specs import Cost
from hostile_plugins._parts import Prior, learner

LEAKED = []


class Leaks(Prior):
    def fit(self, train, valid):
        while True:
            LEAKED.append(np.ones(20_000_000, dtype=np.uint8))
            time.sleep(0.01)


@hookimpl
def automl_fuse_learners():
    return [learner("leaks", Leaks, cost=lambda shape, params: Cost(seconds=2.0, bytes=10))]
