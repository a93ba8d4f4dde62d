"""The Ray executor before there is a cluster: its options, and what finding it imports."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from automl_fuse import cli
from automl_fuse.errors import SettingsError
from automl_fuse.specs import ExecutorContext
from automl_fuse.testing.running import sample_runner
from automl_fuse_ray.cluster import Cluster
from automl_fuse_ray.executor import RayExecutor
from automl_fuse_ray.options import read_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adress": "auto"}, "no option 'adress': did you mean 'address'"),
        ({"other": 1}, "no option 'other': there are address, gpus, runtime_env"),
        ({"address": 6379}, "give the cluster's address as text"),
        ({"gpus": 1}, "gpus=1: give a mapping"),
        ({"gpus": {"tabm": -1}}, "-1 for the learner 'tabm': give a number from 0 on"),
        ({"runtime_env": "pip"}, "give a mapping"),
        ({"spread_from": 0}, "spread_from=0: give a number of rows"),
        ({"spread_from": 1e6}, "give a number of rows"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_options(options)


def test_a_memory_limit_is_refused() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    context = ExecutorContext(runner=sample_runner, n_workers=1, n_threads=1, memory_limit=2**30)
    with pytest.raises(SettingsError, match="cannot hold a memory_limit"):
        RayExecutor(context)


def test_finding_the_plugin_does_not_import_ray() -> None:
    code = (
        "import sys; from automl_fuse.host import discover; discover();"
        "assert not {'ray', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("option", [["--address", "h:1"], ["--executor-option", "address=h:1"]])
def test_the_shell_passes_the_address_on(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{k},{k % 2}\n" for k in range(60)))
    command = ["fit", str(table), "--target", "y", "--output", str(tmp_path / "run")]
    assert cli.main([*command, "--executor", "inline", *option]) != cli.OK
    assert "executor_options has address" in capsys.readouterr().err


def test_a_cluster_whose_nodes_have_all_gone_has_no_slots() -> None:
    cluster = Cluster.__new__(Cluster)
    cluster._taken = 2.0
    cluster._ray = SimpleNamespace(nodes=lambda: [{"NodeID": "a", "Alive": False}])
    assert cluster.slots(1) == {}
