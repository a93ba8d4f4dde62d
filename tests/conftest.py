"""Settings of the whole suite."""

from __future__ import annotations

import os

# Before any numerical library is imported: many small fits, each faster on one thread than on
# several that wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
