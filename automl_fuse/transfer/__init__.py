"""Starting from an earlier run: its configurations, its networks' weights, and it as a teacher."""

from automl_fuse.transfer.offers import Offer, offered
from automl_fuse.transfer.overlap import known_share, sketch
from automl_fuse.transfer.sources import Source, read_source

__all__ = ["Offer", "Source", "known_share", "offered", "read_source", "sketch"]
