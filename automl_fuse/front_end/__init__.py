"""What runs before the graph of a portable file: the steps that ONNX cannot express.

A step turns one column of texts, images, sounds or sequences into numbers, and is described by
JSON values, so that a file can state it. It needs NumPy alone. Encoders of such columns compute
their features with the same code.
"""

# Lowest first: texts, terms and tokens (of texts); cells, then images, sounds and sequences;
# reading (of descriptions), sharing (between steps).

from automl_fuse.front_end.cells import CellStep
from automl_fuse.front_end.images import ImageSummary, Pixels
from automl_fuse.front_end.reading import CELL_STEPS, read_step, run_step
from automl_fuse.front_end.sequences import PaddedSequence, SequenceSummary
from automl_fuse.front_end.sharing import FrontEnd
from automl_fuse.front_end.sounds import AudioSummary, LogMel, usual_window
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
from automl_fuse.front_end.tokens import Tokens

__all__ = [
    "CELL_STEPS",
    "AudioSummary",
    "CellStep",
    "Cells",
    "Cut",
    "FrontEnd",
    "ImageSummary",
    "LogMel",
    "PaddedSequence",
    "Pixels",
    "SequenceSummary",
    "Step",
    "TermPlaces",
    "TermWeights",
    "TextShape",
    "TextSplit",
    "Tokens",
    "Vocabulary",
    "read_step",
    "run_step",
    "usual_window",
    "words_of",
]
