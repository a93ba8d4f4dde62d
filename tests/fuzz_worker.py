"""Opens harmed portable files, in a process of its own: ``fuzz_worker.py FIRST LAST``.

Prints the number of each case before it is opened, so that the last line tells which one a crash
of native code belongs to; then what became of it.
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np
from handmade import ROWS, handmade
from mutations import harmed

from automl_fuse.artefact.loading import open_bytes
from automl_fuse.errors import ArtefactError


def main(first: int, last: int) -> None:
    content, other = handmade("binary").content(), handmade("multiclass").content()
    whole = open_bytes(content)
    labels, probabilities = whole.predict(ROWS), whole.predict_proba(ROWS)
    for case in range(first, last):
        print(case, end=" ", flush=True)
        start = perf_counter()
        try:
            pipeline = open_bytes(harmed(content, other, case))
        except ArtefactError as error:
            outcome = "refused" if str(error) else "silent"
        else:
            same = np.array_equal(pipeline.predict(ROWS), labels)
            near = np.abs(pipeline.predict_proba(ROWS) - probabilities).max() <= 1e-6
            outcome = "right" if same and near else "wrong"
        print(outcome if perf_counter() - start < 10 else "slow", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
