"""The version of this distribution, its only home."""

__version__ = "0.1.0"
