"""The rows that a file carries can be read back, whatever the training table holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import automl_fuse
from automl_fuse import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from automl_fuse.artefact import PortablePipeline

SETTINGS = Settings(
    executor="inline",
    progress=False,
    folds=2,
    compressors=(),
    learners=("linear",),
    fusions=("average",),
    max_trials=1,
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> PortablePipeline:
    """Load a pipeline of dates in all eras, and of categories called like what stands for none."""
    path: Path = tmp_path_factory.mktemp("golden") / "model.onnx"
    rng = np.random.default_rng(0)
    n_rows = 60
    years = rng.permutation(np.linspace(-200_000, 200_000, n_rows)).astype(int)
    moments = years.astype("timedelta64[Y]") + np.datetime64("0000", "Y")
    frame = pd.DataFrame(
        {
            "day": moments.astype("datetime64[us]"),
            "town": rng.choice(["", "<>", "<unseen>", "<<unseen>>", "Bath"], n_rows),
            "late": years > 2000,
        }
    )
    automl_fuse.fit(frame, target="late", time_limit=30, settings=SETTINGS).save(path)
    return automl_fuse.load(path)


def test_dates_beyond_four_digits_are_carried_as_the_nearest_that_has_them(
    loaded: PortablePipeline,
) -> None:
    texts = loaded.manifest.golden.columns["day"]
    assert texts[-1] is None
    assert {"0000-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999"} <= set(texts)
    assert all(re.match(r"\d{4}-", text) for text in texts[:-1])
    loaded.verify()


def test_an_unseen_category_is_called_like_none_that_was_seen(loaded: PortablePipeline) -> None:
    texts = loaded.manifest.golden.columns["town"]
    assert texts[-2:] == ["<<<unseen>>>", None]
    town = next(each for each in loaded.manifest.inputs if each.name == "town")
    assert town.unseen == texts[-2]
