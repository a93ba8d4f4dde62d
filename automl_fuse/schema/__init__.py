"""What each column of a table holds."""

# Kinds are inferred once, from the training table; after that ``Schema.convert`` reads every table
# the same way, so that a row alone gives what it gives in a batch. These modules import nothing
# but NumPy.

from automl_fuse.schema.inference import infer
from automl_fuse.schema.kinds import Schema

__all__ = ["Schema", "infer"]
