"""Networks that the engine has trained together, and when it does."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import types
from dataclasses import replace
from functools import partial
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import automl_fuse
from automl_fuse import Settings, hookimpl
from automl_fuse.errors import PluginError
from automl_fuse.search import arms
from automl_fuse.specs import Fit, FitContext, Matrix, Rows, Shape, Task
from automl_fuse_torch import cards, together
from automl_fuse_torch.learner import NetworkLearner
from automl_fuse_torch.tabm import TABM

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from automl_fuse_torch import core, fitting  # noqa: E402 - they import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automl_fuse.pipeline import Pipeline
    from automl_fuse.specs import LearnerSpec

PARAMS = {**TABM.portfolio[1].params, "width": 16, "heads": 4, "epochs": 6}
SHAPE = Shape(n_rows=1_000, n_features=10, n_classes=2, task=Task.BINARY)


class Far:
    """A deadline that never comes."""

    def remaining(self) -> float:
        return 1e9

    def expired(self) -> bool:
        return False


# --------------------------------------------------------------------------- through fit


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a plugin of a small network, whose number of models at a time is ``module.size``."""
    module: Any = types.ModuleType("small_networks")
    module.size = 1
    assert TABM.together is not None
    how = replace(TABM.together, size=lambda shape, params: module.size)

    @hookimpl
    def automl_fuse_learners() -> list[LearnerSpec]:
        point = replace(TABM.portfolio[1], merit=1.0)
        build = partial(NetworkLearner, "tabm")
        named = {"name": "small_tabm", "build": build, "portfolio": (point,)}
        return [replace(TABM, **named, together=how)]  # type: ignore[arg-type]

    module.automl_fuse_learners = automl_fuse_learners
    monkeypatch.setitem(sys.modules, "small_networks", module)
    return "small_networks"


def fitted(plugin: str, size: int, max_trials: int) -> Pipeline:
    vars(sys.modules[plugin])["size"] = size
    X, y = load_breast_cancer(return_X_y=True)
    settings = Settings(
        plugins=(plugin,),
        learners=("small_tabm",),
        executor="inline",
        folds=3,
        max_trials=max_trials,
        compressors=(),
        progress=False,
    )
    return automl_fuse.fit(X[::2, :8], y[::2], time_limit=900, settings=settings)


def test_folds_trained_together_score_as_those_trained_alone(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, train = [], core.train
    # A busy machine may take longer than a fold is given, and a training cut short is another.
    monkeypatch.setattr(arms, "SHORT_SECONDS", 100.0)

    def counted(network: Any, tables: Any, members: Any, *others: Any) -> Any:
        groups.append(len(members))
        return train(network, tables, members, *others)

    monkeypatch.setattr(core, "train", counted)
    alone, together = (fitted(plugin, size, max_trials=1) for size in (1, 3))
    assert groups == [1, 1, 1, 3]
    scores = [model.report["leaderboard"][0]["score"] for model in (alone, together)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
    assert scores[1] < 0.3
    groups.clear()
    several = fitted(plugin, 9, max_trials=3)
    assert groups == [9]
    params = [row["params"] for row in several.report["leaderboard"]]
    assert len({point["learning_rate"] for point in params}) == 3
    assert {point["width"] for point in params} == {TABM.portfolio[1].params["width"]}


# --------------------------------------------------------------------------- memory


def fits_of(count: int) -> tuple[list[Fit], Matrix]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, 3))
    X = Matrix.numbers(values, ["a", "b", "c"])
    rows = Rows(X=X, y=(values[:, 0] > 0).astype(np.int64))
    contexts = [
        FitContext(task=Task.BINARY, n_classes=2, seed=seed, n_threads=1, deadline=Far())
        for seed in range(count)
    ]
    learners = [NetworkLearner("tabm", PARAMS, context) for context in contexts]
    return [Fit(learner=each, train=rows, valid=None) for each in learners], X


@pytest.mark.parametrize(
    ("most", "groups"), [(2, [5, 2, 3, 1, 2]), (1, [5, 2, 1, 1, 3, 1, 2, 1, 1])]
)
def test_where_memory_is_short_half_of_the_networks_are_trained_first(
    monkeypatch: pytest.MonkeyPatch, most: int, groups: list[int]
) -> None:
    expected, X = fits_of(5)
    together.fit_together(expected)
    asked, train = [], core.train

    def cramped(network: Any, tables: Any, members: Any, *others: Any) -> Any:
        asked.append(len(members))
        if len(members) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(network, tables, members, *others)

    monkeypatch.setattr(core, "train", cramped)
    fits, _ = fits_of(5)
    together.fit_together(fits)
    assert asked == groups
    for fit, other in zip(fits, expected, strict=True):
        np.testing.assert_allclose(fit.learner.predict(X), other.learner.predict(X), atol=1e-5)


def test_one_network_that_needs_more_memory_than_there_is_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hopeless(*_given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fitting, "_trained", hopeless)
    with pytest.raises(torch.OutOfMemoryError):
        together.fit_together(fits_of(2)[0])


def test_strangers_are_refused_by_name() -> None:
    class Stranger:
        def fit(self, train: Rows, valid: Rows | None) -> None: ...

        def predict(self, X: Matrix) -> Any: ...

    (fit,), _ = fits_of(1)
    with pytest.raises(PluginError, match="Stranger"):
        together.fit_together([replace(fit, learner=Stranger())])


# --------------------------------------------------------------------------- cards


def some_driver(n_cards: int, failure: int = 0) -> types.SimpleNamespace:
    """Return what is asked of a driver."""

    def count(reference: Any) -> int:
        reference._obj.value = n_cards
        return 0

    return types.SimpleNamespace(
        nvmlInit_v2=lambda: failure, nvmlDeviceGetCount_v2=count, nvmlShutdown=lambda: 0
    )


@pytest.fixture
def torch_with_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the installed torch look like one that was built for cards."""
    (tmp_path / "version.py").write_text(
        "from typing import Optional\ncuda: Optional[str] = '12.8'\n"
    )
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(cards, "find_spec", lambda name: spec)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cards.has_card.cache_clear()
    yield
    cards.has_card.cache_clear()


def driver(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    def load(name: str) -> Any:
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.usefixtures("torch_with_cuda")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (some_driver(2), True),
        (some_driver(0), False),
        (some_driver(1, failure=9), False),
        (OSError("no such library"), False),
        (object(), False),
    ],
)
def test_cards_are_counted_by_the_driver(
    monkeypatch: pytest.MonkeyPatch, found: Any, *, expected: bool
) -> None:
    driver(monkeypatch, found)
    assert cards.has_card() == expected
    assert together.models_at_once(SHAPE, PARAMS) == (together.ON_A_CARD if expected else 1)


@pytest.mark.usefixtures("torch_with_cuda")
@pytest.mark.parametrize(("listed", "expected"), [("", False), ("-1", False), ("1,0", True)])
def test_cards_may_be_hidden(
    monkeypatch: pytest.MonkeyPatch, listed: str, *, expected: bool
) -> None:
    driver(monkeypatch, some_driver(2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert cards.has_card() == expected


def test_a_torch_without_cuda_uses_no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver(monkeypatch, some_driver(2))
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    origin = str(tmp_path / "__init__.py")
    for spec in (ModuleSpec("torch", None, origin=origin), ModuleSpec("torch", None), None):
        monkeypatch.setattr(cards, "find_spec", lambda name, spec=spec: spec)
        cards.has_card.cache_clear()
        assert not cards.has_card()
    cards.has_card.cache_clear()


def test_asking_for_cards_agrees_with_torch_and_imports_nothing_of_it() -> None:
    script = (
        "import sys\n"
        "from automl_fuse_torch.cards import has_card\n"
        "found = has_card()\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert found == torch.cuda.is_available(), found\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
