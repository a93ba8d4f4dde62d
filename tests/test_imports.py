"""What may be imported when: in interpreters of their own."""

import json
import subprocess
import sys

import pytest


def imported(code: str) -> set[str]:
    report = "import json, sys; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


SEARCH_STACK = {"optuna", "pluggy", "sklearn", "pandas", "lightgbm", "xgboost", "catboost"}


@pytest.mark.parametrize(
    "code",
    [
        "import automl_fuse",
        "import automl_fuse.cli",
        "import automl_fuse.pipeline, automl_fuse.artefact",
        "import automl_fuse; automl_fuse.load; automl_fuse.Settings",
    ],
)
def test_the_search_stack_stays_out(code):
    assert not imported(code) & SEARCH_STACK


def test_listing_plugins_imports_no_library_of_learners():
    modules = imported("from automl_fuse.host import discover; assert discover().learners")
    assert not modules & {"sklearn", "lightgbm", "xgboost", "catboost", "torch", "scipy", "optuna"}


def test_the_public_names_are_there():
    import automl_fuse

    for name in automl_fuse.__all__:
        assert getattr(automl_fuse, name) is not None
    assert set(automl_fuse.__all__) <= set(dir(automl_fuse))
    with pytest.raises(AttributeError, match="nonsense"):
        automl_fuse.nonsense  # noqa: B018
