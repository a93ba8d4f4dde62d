"""Learners for images, sounds, sequences and texts: networks of branches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.specs import (
    ALL_TASKS,
    Column,
    Configuration,
    FitContext,
    Kind,
    LearnerSpec,
    Params,
    Suggest,
)
from automl_fuse_torch.branches import Body, Branch
from automl_fuse_torch.branching import BranchNetwork
from automl_fuse_torch.costs import branch_cost
from automl_fuse_torch.flat import FlatInput
from automl_fuse_torch.learner import ENCODERS, Design, Family, Knobs, NetworkLearner, batch_size
from automl_fuse_torch.schedules import COSINE
from automl_fuse_torch.starting import FINE_TUNING
from automl_fuse_torch.together import how_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automl_fuse_torch.shapes import InputShape

_FLAGGED_LEVELS: Final = 8
_CATEGORY_WIDTH: Final = 8
_NUMBER_WIDTH: Final = 4
_HEAD: Final = 64
_FEW_EPOCHS, _FAST = 15, 6e-3
"""Of the configuration for little time; the rate is that of light networks, too."""
_BLOCKS: Final[Mapping[Kind, str]] = {
    Kind.IMAGE: "pixels",
    Kind.AUDIO: "log_mel",
    Kind.SEQUENCE: "padded_sequence",
    Kind.TEXT: "tokens",
}
"""Encoders that make blocks."""


@dataclass(frozen=True, kw_only=True)
class _Sort:
    """What a learner is for, and made of.

    Attributes
    ----------
    kinds : tuple of Kind
        Kinds of column that it has branches for.
    bodies : tuple of Body
        What its branches of sounds, sequences and texts may compute with; images are always
        convolved.
    width, depth : int
        Of its portfolio.
    epochs : int
        Of its portfolio.
    merit : float
        Of its portfolio.
    at_least : int
        Kinds of its own that a table must have.
    dropout : float
        Of its portfolio; more where one branch could learn by heart what another tells.
    """

    kinds: tuple[Kind, ...]
    bodies: tuple[Body, ...]
    width: int
    depth: int
    epochs: int
    merit: float
    at_least: int = 1
    dropout: float = 0.1

    @property
    def reads_images(self) -> bool:
        """Whether it convolves images, spectrograms among them."""
        return Kind.IMAGE in self.kinds or Body.RESIDUAL in self.bodies


_SORTS: Final[Mapping[str, _Sort]] = {
    "image_cnn": _Sort(
        kinds=(Kind.IMAGE,), bodies=(Body.RESIDUAL,), width=16, depth=3, epochs=60, merit=0.9
    ),
    "audio_cnn": _Sort(
        kinds=(Kind.AUDIO,), bodies=(Body.RESIDUAL,), width=16, depth=3, epochs=60, merit=0.9
    ),
    "audio_lstm": _Sort(
        kinds=(Kind.AUDIO,), bodies=(Body.LSTM,), width=64, depth=1, epochs=60, merit=0.8
    ),
    "sequence_cnn": _Sort(
        kinds=(Kind.SEQUENCE,), bodies=(Body.TEMPORAL,), width=32, depth=2, epochs=40, merit=0.9
    ),
    "sequence_rnn": _Sort(
        kinds=(Kind.SEQUENCE,),
        bodies=(Body.GRU, Body.LSTM),
        width=32,
        depth=1,
        epochs=40,
        merit=0.8,
    ),
    "sequence_transformer": _Sort(
        kinds=(Kind.SEQUENCE,), bodies=(Body.ATTENTION,), width=32, depth=2, epochs=40, merit=0.7
    ),
    "text_rnn": _Sort(
        kinds=(Kind.TEXT,), bodies=(Body.LSTM, Body.GRU), width=64, depth=1, epochs=20, merit=0.8
    ),
    "text_transformer": _Sort(
        kinds=(Kind.TEXT,), bodies=(Body.ATTENTION,), width=64, depth=2, epochs=20, merit=0.7
    ),
    "multimodal": _Sort(
        kinds=(Kind.IMAGE, Kind.AUDIO, Kind.SEQUENCE, Kind.TEXT),
        bodies=(Body.TEMPORAL, Body.LSTM),
        width=32,
        depth=2,
        epochs=40,
        merit=0.9,
        at_least=2,
        dropout=0.3,
    ),
}


# --------------------------------------------------------------------------- networks


def _network(sort: _Sort, params: Params, shape: InputShape, n_outputs: int) -> BranchNetwork:
    """Return the network of a configuration."""
    flat = FlatInput(
        shape=shape, kind="periodic", width=_NUMBER_WIDTH, category_width=_CATEGORY_WIDTH
    )
    body = Body(params.get("body", sort.bodies[0]))
    branches = tuple(
        Branch(
            place=place,
            block=block,
            body=body,
            width=int(params["width"]),
            depth=int(params["depth"]),
            separable=bool(params.get("separable", False)),
            strength=float(params["augmentation"]),
        )
        for place, block in enumerate(shape.blocks)
    )
    return BranchNetwork(
        branches=branches,
        flat=flat if shape.is_flat else None,
        hidden=_HEAD,
        n_outputs=n_outputs,
    )


def _design(
    sort: _Sort, params: Params, context: FitContext, shape: InputShape, n_rows: int
) -> Design:
    """Return the network of a configuration, and how it is trained."""
    return Design(
        network=_network(sort, params, shape, context.n_classes),
        knobs=Knobs(
            rate=params["learning_rate"],
            decay=params["weight_decay"],
            dropout=params["dropout"],
            smoothing=params["label_smoothing"],
        ),
        epochs=int(params["epochs"]),
        batch=batch_size(n_rows),
        schedule=COSINE,
    )


# --------------------------------------------------------------------------- learners


def _space(sort: _Sort, suggest: Suggest) -> dict[str, Any]:
    """Draw the size of the network, and how it is trained."""
    widths = (8, 16, 32) if sort.reads_images else (16, 32, 64, 128)
    drawn = {
        "width": suggest.choice("width", widths),
        "depth": suggest.integer("depth", 1, 4),
        "epochs": suggest.choice("epochs", (15, 20, 40, 60, 80)),
        "learning_rate": suggest.real("learning_rate", 5e-4, 1e-2, log=True),
        "weight_decay": suggest.real("weight_decay", 1e-3, 0.3, log=True),
        "dropout": suggest.real("dropout", 0.0, 0.5),
        "label_smoothing": suggest.choice("label_smoothing", (0.0, 0.05)),
        "augmentation": suggest.choice("augmentation", (0.0, 0.5, 1.0)),
    }
    if sort.reads_images:
        drawn["separable"] = suggest.choice("separable", (False, True))
    if len(sort.bodies) > 1:
        drawn["body"] = suggest.choice("body", tuple(body.value for body in sort.bodies))
    return drawn


def _point(sort: _Sort, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "width": sort.width,
        "depth": sort.depth,
        "epochs": sort.epochs,
        "learning_rate": 3e-3,
        "weight_decay": 0.02,
        "dropout": sort.dropout,
        "label_smoothing": 0.05,
        "augmentation": 1.0,
    }
    if sort.reads_images:
        plain["separable"] = False
    if len(sort.bodies) > 1:
        plain["body"] = sort.bodies[0].value
    return plain | changes


def light_params(
    learner: str, *, narrower: int, depth: int, weight_decay: float, patience: int
) -> dict[str, Any]:
    """Return the configuration of a light network: convolutions where its learner has them.

    Parameters
    ----------
    learner : str
        Name of a learner of this module.
    narrower : int
        By which the usual width is divided.
    depth : int
        Layers, or stages of images.
    weight_decay : float
        Penalty on the weights.
    patience : int
        Times the usual epochs: narrow networks need more of them.
    """
    sort = _SORTS[learner]
    changes: dict[str, Any] = {"separable": True} if sort.reads_images else {}
    if Body.GRU in sort.bodies:
        # Three quarters of the products of an LSTM.
        changes["body"] = Body.GRU.value
    return _point(
        sort,
        width=sort.width // narrower,
        depth=depth,
        weight_decay=weight_decay,
        epochs=patience * sort.epochs,
        learning_rate=_FAST,
        # A teacher's labels are smooth already.
        label_smoothing=0.0,
        **changes,
    )


def _portfolio(sort: _Sort) -> tuple[Configuration, ...]:
    points = [_point(sort)]
    if sort.reads_images:
        points.append(_point(sort, separable=True))
    points += [_point(sort, body=body.value) for body in sort.bodies[1:]]
    points.append(_point(sort, width=sort.width // 2, epochs=_FEW_EPOCHS, learning_rate=_FAST))
    return tuple(
        Configuration(params=point, merit=sort.merit - 0.1 * place)
        for place, point in enumerate(points)
    )


def _misfit(sort: _Sort, columns: Sequence[Column]) -> str:
    """Return why a table's columns are none for a learner: see ``LearnerSpec``."""
    there = {column.kind for column in columns}.intersection(sort.kinds)
    if len(there) >= sort.at_least:
        return ""
    if sort.at_least == 1:
        return f"it needs a column of kind {' or '.join(sort.kinds)}"
    return f"it needs columns of {sort.at_least} of the kinds {', '.join(sort.kinds)}"


def _encoders(sort: _Sort) -> tuple[str, ...]:
    """Return what a learner reads; n-grams would tell a network of texts what it is to find."""
    blocks = tuple(_BLOCKS[kind] for kind in sort.kinds)
    others = tuple(n for n in ENCODERS if n != "ngrams" or Kind.TEXT not in sort.kinds)
    return blocks + others


def _spec(name: str, sort: _Sort) -> LearnerSpec:
    design: Callable[[Params, InputShape, int], BranchNetwork] = partial(_network, sort)
    cost = partial(branch_cost, design, sort.kinds)
    return LearnerSpec(
        name=name,
        api_version=1,
        tasks=ALL_TASKS,
        encoders=_encoders(sort),
        build=partial(NetworkLearner, name),
        cost=cost,
        space=partial(_space, sort),
        portfolio=_portfolio(sort),
        requires=("torch",),
        extra="torch",
        soft_labels=True,
        fine_tuning=FINE_TUNING,
        misfit=partial(_misfit, sort),
        together=how_together(cost),
    )


FAMILIES: Final[Mapping[str, Family]] = {
    name: Family(design=partial(_design, sort), flagged_levels=_FLAGGED_LEVELS, reads_blocks=True)
    for name, sort in _SORTS.items()
}
MEDIA: Final = tuple(_spec(name, sort) for name, sort in _SORTS.items())
