"""Discovery: isolation, blocking, requiring, validation, collisions, missing extras."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from automl_fuse.errors import PluginError, SettingsError
from automl_fuse.host import BLOCK_VARIABLE, MissingExtra, Plugins, discover, select
from automl_fuse.specs import (
    ALL_TASKS,
    Configuration,
    Cost,
    ExecutorSpec,
    FusionSpec,
    LearnerSpec,
    MetricSpec,
)
from automl_fuse.validation import spec_problems

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST_PARTY = (
    "boosting",
    "compress",
    "encoders",
    "fusion",
    "media",
    "mlflow",
    "ray",
    "sklearn",
    "torch",
)

HEAD = """
from automl_fuse import hookimpl
from automl_fuse.specs import *


def fusion(name="plain", **fields):
    return FusionSpec(
        **{"name": name, "api_version": 1, "tasks": ALL_TASKS, "build": print, **fields}
    )


def learner(name="plain", encoders=("near",), **fields):
    return LearnerSpec(
        name=name, api_version=1, tasks=ALL_TASKS, encoders=encoders, build=print, cost=print,
        **fields
    )


def encoder(name="near", **fields):
    return EncoderSpec(
        name=name, api_version=1, kinds=frozenset({Kind.TEXT}), build=print, **fields
    )
"""

RETURNS = """
@hookimpl
def automl_fuse_{kind}s():
    return {value}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a distribution of one plugin module, as pip would, beside no other plugin."""
    monkeypatch.setenv(BLOCK_VARIABLE, ",".join(FIRST_PARTY))
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, code: str, distribution: str = "", version: str = "1.0") -> None:
        distribution = distribution or f"dist-{name}"
        module = f"stranger_{distribution.replace('-', '_')}_{name}"
        source = HEAD + textwrap.dedent(code)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        points = info / "entry_points.txt"
        before = points.read_text("utf-8") if points.exists() else "[automl_fuse]\n"
        points.write_text(f"{before}{name} = {module}\n", encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


def only_error(plugins: Plugins) -> str:
    (failure,) = plugins.failures
    return failure.error


def test_first_party_plugins_are_found_like_any_other() -> None:
    bundled = [name for name in FIRST_PARTY if name not in {"mlflow", "ray", "torch"}]
    plugins = discover(require=bundled)
    assert {info.name for info in plugins.found} >= set(FIRST_PARTY)
    assert {info.distribution for info in plugins.found if info.name in FIRST_PARTY} == {
        "automl-fuse"
    }
    assert not plugins.failures
    for specs in (plugins.learners, plugins.encoders, plugins.fusions, plugins.compressors):
        assert specs
        assert list(specs) == sorted(specs)


def test_listing_plugins_imports_no_heavy_library() -> None:
    code = (
        "import sys; from automl_fuse.host import discover; discover(); "
        "print([m for m in ('torch', 'lightgbm', 'xgboost', 'catboost', 'sklearn', 'pandas') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plugin_is_named_with_its_distribution_and_version(install: Any) -> None:
    install("mine", RETURNS.format(kind="fusion", value="[fusion('tidy')]"), version="3.2")
    plugins = discover()
    (info,) = plugins.found
    assert (info.name, info.distribution, info.version) == ("mine", "dist-mine", "3.2")
    assert info.provides == ("fusion:tidy",)
    assert set(plugins.fusions) == {"tidy"}
    assert plugins.blocked == FIRST_PARTY


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_library_anywhere", "No module named 'no_such_library_anywhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_costs_only_itself(
    install: Any, code: str, message: str
) -> None:
    install("broken", code, version="0.9")
    install("mine", RETURNS.format(kind="fusion", value="[fusion()]"))
    plugins = discover()
    assert set(plugins.fusions) == {"plain"}
    assert message in only_error(plugins)
    (failure,) = plugins.failures
    assert (failure.name, failure.distribution, failure.version) == ("broken", "dist-broken", "0.9")
    assert "Traceback" in failure.traceback


def test_a_hook_that_raises_loses_only_its_own_result(install: Any) -> None:
    code = RETURNS.format(kind="learner", value="1 / 0")
    install("mine", code + RETURNS.format(kind="fusion", value="[fusion()]"))
    plugins = discover()
    assert set(plugins.fusions) == {"plain"}
    assert "automl_fuse_learners raised: ZeroDivisionError" in only_error(plugins)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fusion()", "return a list of specs"),
        ("None", "return a list of specs"),
        ("['plain']", "expected FusionSpec"),
        ("[fusion('Plain Text')]", "must be lower case"),
        ("[fusion('twice'), fusion('twice')]", "returned twice"),
        ("[fusion(api_version=99)]", "made for plugin API 99"),
        ("[fusion(tasks=frozenset())]", "at least one Task"),
        ("[fusion(requires='numpy')]", "tuple of module names"),
        ("[fusion(no_such_field=1)]", "unexpected keyword argument 'no_such_field'"),
    ],
)
def test_what_a_hook_returns_is_checked(install: Any, value: str, message: str) -> None:
    install("mine", RETURNS.format(kind="fusion", value=value))
    assert message in only_error(discover())


def test_one_bad_spec_loses_only_itself(install: Any) -> None:
    value = "[fusion('good'), fusion('newer', api_version=2)]"
    install("mine", RETURNS.format(kind="fusion", value=value))
    plugins = discover()
    assert set(plugins.fusions) == {"good"}
    assert "'newer' was made for plugin API 2" in only_error(plugins)


def test_a_misspelt_hook_is_caught(install: Any) -> None:
    code = RETURNS.format(kind="fuzion", value="[fusion()]")
    install("mine", code + RETURNS.format(kind="fusion", value="[fusion()]"))
    plugins = discover()
    assert "automl_fuse_fuzions" in only_error(plugins)
    assert set(plugins.fusions) == {"plain"}


def test_a_hook_without_its_mark_is_caught(install: Any) -> None:
    install("mine", "def automl_fuse_fusions():\n    return [fusion()]\n")
    assert "not marked with @automl_fuse.hookimpl" in only_error(discover())


def test_a_hook_with_parameters_is_refused(install: Any) -> None:
    install("mine", "@hookimpl\ndef automl_fuse_fusions(extra=1):\n    return [fusion()]\n")
    plugins = discover()
    assert "parameters" in only_error(plugins)
    assert not plugins.fusions


def test_a_wrapper_is_refused(install: Any) -> None:
    install("mine", "@hookimpl(wrapper=True)\ndef automl_fuse_fusions():\n    return (yield)\n")
    assert "wrapper" in only_error(discover())


def test_two_specs_of_one_name_name_both_distributions(install: Any) -> None:
    code = RETURNS.format(kind="fusion", value="[fusion('same')]")
    install("one", code, version="1.1")
    install("two", code, version="2.2")
    with pytest.raises(PluginError, match="'same'") as caught:
        discover()
    for part in ("dist-one 1.1", "dist-two 2.2", BLOCK_VARIABLE):
        assert part in str(caught.value)
    assert set(discover(block=["two"]).fusions) == {"same"}


def test_blocked_plugins_are_not_imported(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken", "1 / 0")
    plugins = discover(block=["broken"])
    assert not plugins.failures
    assert "broken" in plugins.blocked
    monkeypatch.setenv(BLOCK_VARIABLE, " broken , " + ",".join(FIRST_PARTY))
    assert "broken" in discover().blocked


def test_a_required_plugin_must_be_there_and_work(install: Any) -> None:
    install("broken", "1 / 0", version="0.9")
    needs = "[fusion('lame', requires=('no_such_module',), extra='no-such-package')]"
    install("lame", RETURNS.format(kind="fusion", value=needs))
    with pytest.raises(PluginError, match=r"'broken' \(dist-broken 0.9\).*ZeroDivisionError"):
        discover(require=["broken"])
    with pytest.raises(PluginError, match="'lamer' is required and not installed: did you mean"):
        discover(require=["lamer"])
    with pytest.raises(PluginError, match="pip install no-such-package"):
        discover(require=["lame"])
    with pytest.raises(PluginError, match="required and blocked"):
        discover(require=["lame"], block=["lame"])


def test_a_module_without_an_entry_point_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BLOCK_VARIABLE, ",".join(FIRST_PARTY))
    monkeypatch.syspath_prepend(tmp_path)
    code = HEAD + RETURNS.format(kind="fusion", value="[fusion('loose')]")
    (tmp_path / "loose_plugin.py").write_text(code, encoding="utf-8")
    plugins = discover(modules=["loose_plugin", "loose_plugin"])
    assert set(plugins.fusions) == {"loose"}
    with pytest.raises(PluginError, match="no_such_plugin"):
        discover(modules=["no_such_plugin"])


def test_naming_the_module_of_an_entry_point_loads_it_once(install: Any) -> None:
    install("mine", RETURNS.format(kind="fusion", value="[fusion()]"))
    plugins = discover(modules=["stranger_dist_mine_mine"], require=["stranger_dist_mine_mine"])
    assert [info.name for info in plugins.found] == ["mine"]


def test_a_spec_without_its_library_is_listed_with_the_mend(install: Any) -> None:
    value = (
        "[fusion('own', requires=('no_such_module',), extra='boosting'), "
        "fusion('their', requires=('no_such_module.part', 'json'), extra='their-package'), "
        "fusion('bare', requires=('no_such_module',)), fusion('fine', requires=('json.tool',))]"
    )
    install("mine", RETURNS.format(kind="fusion", value=value))
    plugins = discover()
    assert set(plugins.fusions) == {"fine"}
    mends = {m.name: m.mend for m in plugins.missing}
    assert mends == {
        "own": "pip install 'automl-fuse[boosting]'",
        "their": "pip install their-package",
        "bare": "pip install no_such_module",
    }
    assert {m.modules for m in plugins.missing if m.name == "their"} == {("no_such_module.part",)}


def test_a_learner_needs_encoders_that_are_there(install: Any) -> None:
    learners = "[learner('fine'), learner('lost', encoders=('nearly',)), learner('lame', ('far',))]"
    code = RETURNS.format(kind="learner", value=learners)
    encoders = "[encoder('near'), encoder('far', requires=('no_such_module',), extra='x')]"
    install("mine", code + RETURNS.format(kind="encoder", value=encoders))
    plugins = discover()
    assert set(plugins.learners) == {"fine"}
    assert "reads the encoder 'nearly'" in only_error(plugins)
    assert "did you mean 'near'" in only_error(plugins)
    assert {(m.kind, m.name) for m in plugins.missing} == {("learner", "lame"), ("encoder", "far")}


def test_encoders_that_cannot_be_listed_lose_the_learner(install: Any) -> None:
    value = "[learner('odd', encoders=lambda params: params['absent'])]"
    install("mine", RETURNS.format(kind="learner", value=value))
    plugins = discover()
    assert not plugins.learners
    assert "encoders cannot be listed" in only_error(plugins)


def test_rows_and_dict_tell_everything(install: Any) -> None:
    install("broken", "1 / 0")
    needs = "[fusion(), fusion('lame', requires=('no_such_module',), extra='some-package')]"
    install("mine", RETURNS.format(kind="fusion", value=needs))
    plugins = discover()
    statuses = [(row["plugin"], row["status"]) for row in plugins.as_rows()]
    assert ("broken", "failed") in statuses
    assert ("mine", "ok") in statuses
    assert ("mine", "missing") in statuses
    assert ("sklearn", "blocked") in statuses
    told = json.loads(json.dumps(plugins.as_dict()))
    assert told["fusions"] == ["plain"]
    assert told["missing"][0]["mend"] == "pip install some-package"
    assert told["failures"][0]["error"].startswith("cannot be imported: ZeroDivisionError")


# --------------------------------------------------------------------------- validation

LEARNER = LearnerSpec(
    name="plain",
    api_version=1,
    tasks=ALL_TASKS,
    encoders=("numbers",),
    build=lambda params, context: None,  # type: ignore[arg-type,return-value]
    cost=lambda shape, params: Cost(seconds=1.0, bytes=1.0),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": ()}, "encoders"),
        ({"encoders": "numbers"}, "encoders"),
        ({"max_rows": 0}, "max_rows"),
        ({"together": len}, "together"),
        ({"build": None}, "build"),
        ({"api_version": "1"}, "api_version '1'"),
        ({"api_version": 0}, "api_version 0"),
        ({"portfolio": ()}, "at least one Configuration"),
        ({"portfolio": ({"a": 1},)}, "at least one Configuration"),
        ({"portfolio": (Configuration(merit=2.0),)}, "merit 2.0"),
        ({"tasks": {"binary"}}, "frozenset"),
    ],
)
def test_a_broken_field_is_named(changes: dict[str, Any], message: str) -> None:
    assert not spec_problems(LEARNER)
    (problem,) = spec_problems(replace(LEARNER, **changes))
    assert problem.startswith("learner 'plain'")
    assert message in problem


def test_names_of_built_ins_are_refused() -> None:
    spec = ExecutorSpec(name="inline", api_version=1, build=print)  # type: ignore[arg-type]
    assert "built-in" in spec_problems(spec)[0]


def test_a_metric_needs_something_that_is_there() -> None:
    spec = MetricSpec(
        name="odd",
        api_version=1,
        tasks=ALL_TASKS,
        needs="labels",  # type: ignore[arg-type]
        greater_is_better=True,
        score=lambda y, prediction, weight: 0.0,
    )
    assert "needs 'labels'" in spec_problems(spec)[0]


# --------------------------------------------------------------------------- selection


def fusion(name: str) -> FusionSpec:
    return FusionSpec(name=name, api_version=1, tasks=ALL_TASKS, build=print)  # type: ignore[arg-type]


AVAILABLE = {name: fusion(name) for name in ("average", "greedy", "convex")}
LAME = MissingExtra(
    name="lame", kind="fusion", plugin="mine", modules=("lamelib",), mend="pip install lame"
)


def test_select_keeps_the_order_of_the_user() -> None:
    assert list(select(("greedy", "average", "greedy"), AVAILABLE, "fusion")) == [
        "greedy",
        "average",
    ]
    assert select(None, AVAILABLE, "fusion") == AVAILABLE


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("greedi",), "Unknown fusion 'greedi': did you mean 'greedy'"),
        (("zzz",), "there are average, convex, greedy"),
        (("lame",), "needs lamelib, not installed: pip install lame"),
        ((), "at least one name"),
        ("greedy", "at least one name"),
    ],
)
def test_select_says_how_to_mend(names: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        select(names, AVAILABLE, "fusion", (LAME,))
