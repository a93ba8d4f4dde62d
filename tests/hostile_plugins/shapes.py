"""Predicts a column too many."""

import numpy as np

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


class Shapes(Prior):
    def predict(self, X):
        return np.ones((len(X.values), len(self.shares) + 1))


@hookimpl
def automl_fuse_learners():
    return [learner("shapes", Shapes)]
