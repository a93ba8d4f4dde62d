"""Data of any supported form read into a checked table."""

# These modules import nothing but NumPy, so that a saved pipeline predicts where nothing else is
# installed; pandas, narwhals and Arrow are imported when they are met.

from automl_fuse.table.cells import format_cell
from automl_fuse.table.codes import factorise
from automl_fuse.table.dataset import Dataset, Table
from automl_fuse.table.frames import few_rows
from automl_fuse.table.names import describe_near
from automl_fuse.table.parsing import NULL_TEXTS, parse_numbers
from automl_fuse.table.reading import read_table
from automl_fuse.table.scoring import read_labelled, read_target
from automl_fuse.table.training import prepare

__all__ = [
    "NULL_TEXTS",
    "Dataset",
    "Table",
    "describe_near",
    "factorise",
    "few_rows",
    "format_cell",
    "parse_numbers",
    "prepare",
    "read_labelled",
    "read_table",
    "read_target",
]
