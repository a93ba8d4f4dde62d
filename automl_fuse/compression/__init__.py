"""What compressors propose, and the forms that members take in smaller pipelines."""

from automl_fuse.compression.forms import Alone, Form
from automl_fuse.compression.proposals import ask

__all__ = ["Alone", "Form", "ask"]
