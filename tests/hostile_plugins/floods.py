"""Prints without end, then dies."""

import os
import sys

from automl_fuse import hookimpl
from hostile_plugins._parts import Prior, learner


class Floods(Prior):
    def fit(self, train, valid):
        line = "x" * 99 + "\n"
        for stream in (sys.stdout, sys.stderr):
            for _ in range(200):
                stream.write(1_000 * line)
        print("the last line", flush=True)
        os._exit(1)


@hookimpl
def automl_fuse_learners():
    return [learner("floods", Floods)]
