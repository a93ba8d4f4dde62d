"""Encoders of images, sounds, sequences and tokens: for networks, and for everything else.

``README.md`` lists them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from automl_fuse import hookimpl
from automl_fuse.specs import EncoderSpec, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automl_fuse.specs import Encoder, FitContext

__all__ = ["automl_fuse_encoders"]


@hookimpl
def automl_fuse_encoders() -> Sequence[EncoderSpec]:
    """Return the encoders of this plugin."""
    from automl_fuse_media.blocks import LogMels, PaddedSequences, PixelBlocks
    from automl_fuse_media.summaries import Summaries
    from automl_fuse_media.tokens import TokenBlocks

    image, audio, sequence = (frozenset({kind}) for kind in (Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE))
    plain, scaled = partial(Summaries, scaled=False), partial(Summaries, scaled=True)
    builders: dict[str, tuple[frozenset[Kind], Callable[[FitContext], Encoder]]] = {
        "pixels": (image, PixelBlocks),
        "log_mel": (audio, LogMels),
        "padded_sequence": (sequence, PaddedSequences),
        "tokens": (frozenset({Kind.TEXT}), TokenBlocks),
        "image_summary": (image, plain),
        "audio_summary": (audio, plain),
        "sequence_summary": (sequence, plain),
        "summaries": (image | audio | sequence, plain),
        "scaled_summaries": (image | audio | sequence, scaled),
    }
    return [
        EncoderSpec(name=name, api_version=1, kinds=kinds, build=build)
        for name, (kinds, build) in builders.items()
    ]
