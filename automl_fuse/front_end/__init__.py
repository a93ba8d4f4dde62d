"""What runs before the graph of a portable file: the steps that ONNX cannot express.

A step turns one raw text column into numbers, and is described by JSON values, so that a file
can state it. It needs NumPy alone. Encoders of text compute their features with the same code.
"""

# Lowest first: texts, terms (of texts), reading (of descriptions), sharing (between steps).

from automl_fuse.front_end.reading import read_step, run_step
from automl_fuse.front_end.sharing import FrontEnd
from automl_fuse.front_end.terms import (
    Cells,
    Cut,
    TermPlaces,
    TermWeights,
    TextSplit,
    Vocabulary,
    words_of,
)
from automl_fuse.front_end.texts import Step, TextShape

__all__ = [
    "Cells",
    "Cut",
    "FrontEnd",
    "Step",
    "TermPlaces",
    "TermWeights",
    "TextShape",
    "TextSplit",
    "Vocabulary",
    "read_step",
    "run_step",
    "words_of",
]
