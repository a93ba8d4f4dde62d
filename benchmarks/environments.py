"""One virtual environment for each system of the comparison, made from pinned requirements."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
ENVIRONMENTS = BENCHMARKS / ".envs"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one virtual environment holds.

    Attributes
    ----------
    name : str
        Folder under ``benchmarks/.envs``.
    steps : tuple of tuple of str
        Arguments of successive ``pip install`` calls, run once.
    module : str
        Module whose import shows that the installation works.
    refresh : tuple of str
        Arguments of a ``pip install`` call that is run each time; empty for none.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    module: str
    refresh: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where the environment lies."""
        return ENVIRONMENTS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        scripts = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
        return self.folder / scripts


ALL: dict[str, Environment] = {
    environment.name: environment
    for environment in (
        Environment(
            name="automl_fuse",
            steps=((f"{REPOSITORY}[all]",),),
            module="automl_fuse",
            # Its version stays the same while its code changes, so pip must be forced.
            refresh=("--force-reinstall", "--no-deps", str(REPOSITORY)),
        ),
        Environment(
            name="lightgbm",
            steps=(("lightgbm==4.7.0", "pandas==3.1.1", "scikit-learn==1.9.1"),),
            module="lightgbm",
        ),
        Environment(
            name="flaml",
            # What flaml[automl,catboost] asks for, with xgboost-cpu in place of xgboost: the same
            # library without 600 MB of CUDA. FLAML 2.7 asks for XGBoost below 3.
            steps=(
                (
                    "flaml==2.7.0",
                    "lightgbm==4.7.0",
                    "xgboost-cpu==2.1.4",
                    "catboost==1.2.10",
                    "pandas==2.3.3",
                    "scikit-learn==1.7.2",
                    "scipy>=1.13",
                ),
            ),
            module="flaml",
        ),
        Environment(
            name="autogluon",
            # Torch first and pinned: left open, the solver may take a build with CUDA.
            steps=(
                ("torch==2.13.0",),
                (
                    "torch==2.13.0",
                    "autogluon.tabular[catboost,fastai,lightgbm,ray,xgboost]==1.6.3",
                ),
            ),
            module="autogluon.tabular",
        ),
        Environment(
            name="mljar",
            steps=(("mljar-supervised==1.3.2", "pandas==2.3.3", "scikit-learn==1.7.2"),),
            module="supervised",
        ),
    )
}
"""Environments by name."""


def prepare(environment: Environment) -> Path:
    """Make an environment where it is missing or its requirements changed; refresh it.

    Parameters
    ----------
    environment : Environment
        What to make.

    Returns
    -------
    Path
        Its interpreter.

    Raises
    ------
    subprocess.CalledProcessError
        If pip fails, or the module cannot be imported afterwards.
    """
    stamp = environment.folder / "complete"
    digest = hashlib.sha256(json.dumps(environment.steps).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"making the environment of {environment.name} …", file=sys.stderr, flush=True)
        venv.create(environment.folder, with_pip=True, clear=True)
        for step in environment.steps:
            _pip_install(environment, step)
    if environment.refresh:
        _pip_install(environment, environment.refresh)
    subprocess.run([environment.python, "-c", f"import {environment.module}"], check=True)
    stamp.write_text(digest)
    return environment.python


def _pip_install(environment: Environment, arguments: tuple[str, ...]) -> None:
    """Run ``pip install`` in an environment, its progress on standard error."""
    command: list[str | Path] = [environment.python, "-m", "pip", "install", "--quiet", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> None:
    """Make the environments named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ALL)}")
    for name in parser.parse_args().names or list(ALL):
        if name not in ALL:
            parser.error(f"unknown environment {name!r}: one of {', '.join(ALL)}")
        print(prepare(ALL[name]))


if __name__ == "__main__":
    main()
