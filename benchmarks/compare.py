"""Side-by-side runs: every system in turn on each table, each in a process of its own.

    python benchmarks/compare.py --time-limit 60

makes one virtual environment for each system, and appends one line of JSON for each run to the
output. ``report.py`` turns these lines into tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environments
import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUNNERS = environments.BENCHMARKS / "runners"
RESULTS = environments.BENCHMARKS / "results"
OUTPUT = "result.json"
DATA = environments.REPOSITORY.parent / "shared" / "data"
TABLES = (
    "adult",
    "telco",
    "credit-g",
    "phoneme",
    "letter",
    "hypothyroid",
    "abalone",
    "diamonds",
    "california",
    "bikeshare",
)


@dataclass(frozen=True, kw_only=True)
class System:
    """One contestant: the environment, runner and options that it is run with.

    Attributes
    ----------
    name : str
        What the results call it.
    environment : str
        Its virtual environment, of ``environments.ALL``.
    runner : str
        Script in ``runners/``.
    options : tuple of str
        ``KEY=VALUE`` settings of the runner.
    patience : float
        Seconds beyond four times the limit after which its process is killed, measurements
        included.
    """

    name: str
    environment: str
    runner: str
    options: tuple[str, ...] = ()
    patience: float = 120.0

    def hard_limit(self, time_limit: float) -> float:
        """Return the seconds after which a process of such a limit is killed."""
        return 4 * time_limit + self.patience


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            name="automl_fuse",
            environment="automl_fuse",
            runner="run_automl_fuse.py",
            options=("prefer=quality",),
        ),
        System(name="automl_fuse_balanced", environment="automl_fuse", runner="run_automl_fuse.py"),
        System(name="lightgbm", environment="lightgbm", runner="run_lightgbm.py"),
        System(name="flaml", environment="flaml", runner="run_flaml.py"),
        *(
            System(
                name=f"autogluon_{level}",
                environment="autogluon",
                runner="run_autogluon.py",
                options=(f"preset={level}_quality",),
            )
            for level in ("medium", "good", "best")
        ),
        System(name="mljar", environment="mljar", runner="run_mljar.py"),
    )
}
DEFAULT_SYSTEMS = (
    "automl_fuse",
    "lightgbm",
    "flaml",
    "mljar",
    "autogluon_medium",
    "autogluon_good",
    "autogluon_best",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One system on one table with one seed; its fields tell it from every other run."""

    table: str
    system: str
    seed: int
    time_limit: float
    cores: int


def execute(
    run: Run, data: Path, extra: Sequence[str] = (), system: System | None = None
) -> dict[str, Any]:
    """Run one system on one table in a process of its own.

    Parameters
    ----------
    run : Run
        What to run.
    data : Path
        Folder of the table folders.
    extra : sequence of str
        Further arguments of the runner.
    system : System, optional
        How it is run, if not as ``SYSTEMS`` says.

    Returns
    -------
    dict
        The run's line of the results; ``failure`` is None, or says what went wrong.
    """
    system = system or SYSTEMS[run.system]
    limit = system.hard_limit(run.time_limit)
    meta = json.loads((data / run.table / "meta.json").read_text())
    line: dict[str, Any] = {
        **asdict(run),
        "task": meta["task"],
        "metric": meta["metric"],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": _commit(),
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        log = folder / "log.txt"
        output = folder / OUTPUT
        command = [*_command(run, system, data, folder), *extra]
        outcome = processes.run(command, log, limit)
        line |= {"process_seconds": outcome.seconds, "peak_bytes": outcome.peak_bytes}
        if outcome.code == 0 and output.exists():
            line |= json.loads(output.read_text())
            line |= {"score": line["scores"][line["metric"]], "failure": None}
        else:
            line["failure"] = _failure(outcome, limit, log)
    return line


def _command(run: Run, system: System, data: Path, folder: Path) -> list[str | Path]:
    """Return the command line of a run's process, which may write into the folder."""
    scratch = folder / "scratch"
    scratch.mkdir()
    return [
        environments.ALL[system.environment].python,
        RUNNERS / system.runner,
        *("--data", (data / run.table).resolve(), "--time-limit", str(run.time_limit)),
        *("--seed", str(run.seed), "--cores", str(run.cores)),
        *("--scratch", scratch, "--output", folder / OUTPUT),
        *(f"--option={option}" for option in system.options),
    ]


def _failure(outcome: processes.Outcome, limit: float, log: Path) -> str:
    """Say why a run failed: its limit, or the end of its log."""
    if outcome.timed_out:
        return f"killed after {limit:.0f} s"
    end = log.read_text(errors="replace").strip().splitlines()[-15:]
    return f"exit status {outcome.code}: " + "\n".join(end)


def machine() -> dict[str, Any]:
    """Describe this machine: processor, cores, memory."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":", 1)[1].strip() if names else processor
    memory = None
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": platform.system(),
        "python": platform.python_version(),
    }


@cache
def _commit() -> str:
    """Return the repository's commit, ``+`` added where files differ from it."""
    command = ["git", "-C", str(environments.REPOSITORY), "describe", "--always", "--dirty=+"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _done(output: Path) -> set[Run]:
    """Return the runs of a results file that succeeded."""
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    names = Run.__dataclass_fields__
    return {
        Run(**{name: line[name] for name in names}) for line in lines if line["failure"] is None
    }


def add_arguments(parser: argparse.ArgumentParser, tables: Sequence[str]) -> None:
    """Add what every comparison can be told: tables, limit, seeds, cores, files.

    Parameters
    ----------
    parser : ArgumentParser
        Where to add them.
    tables : sequence of str
        Which tables are run by default.
    """
    parser.add_argument("--tables", nargs="+", default=tables, metavar="TABLE")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds of each fit")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--cores", type=int, default=2, help="cores each system may use")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the table folders")
    parser.add_argument("--output", type=Path, help="default: results/<script>-<limit>s.jsonl")
    parser.add_argument(
        "--resume", action="store_true", help="add the runs that are missing or had failed"
    )


def read_arguments(parser: argparse.ArgumentParser, script: str) -> argparse.Namespace:
    """Read the command line, and refuse what cannot be run.

    Parameters
    ----------
    parser : ArgumentParser
        With what ``add_arguments`` adds.
    script : str
        First part of the output's default name.
    """
    arguments = parser.parse_args()
    arguments.output = arguments.output or RESULTS / f"{script}-{arguments.time_limit:g}s.jsonl"
    arguments.data = arguments.data.resolve()
    if arguments.output.exists() and not arguments.resume:
        parser.error(f"{arguments.output} exists: give --resume to add to it, or another --output")
    for table in arguments.tables:
        if not (arguments.data / table / "meta.json").exists():
            parser.error(f"no table {table!r} in {arguments.data}")
    return arguments


def run_all(
    systems: Sequence[System],
    arguments: argparse.Namespace,
    summary: Callable[[dict[str, Any]], str],
) -> None:
    """Run every system on every table with every seed, but for the runs that are done.

    Parameters
    ----------
    systems : sequence of System
        What is run.
    arguments : Namespace
        As ``read_arguments`` returns it; a line is added to ``output`` after each run.
    summary : callable
        Describes a successful run's line in a few words, for the terminal.
    """
    for name in dict.fromkeys(system.environment for system in systems):
        environments.prepare(environments.ALL[name])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    done = _done(arguments.output) if arguments.output.exists() else set()
    runs = [
        (system, run)
        for seed in arguments.seeds
        for table in arguments.tables
        for system in systems
        if (run := _run(arguments, table, system, seed)) not in done
    ]
    for number, (system, run) in enumerate(runs, 1):
        line = execute(run, arguments.data, system=system)
        with arguments.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
        told = f"FAILED: {line['failure']}" if line["failure"] else summary(line)
        head = f"{number}/{len(runs)} {run.table} {run.system} seed {run.seed}"
        print(f"{head}: {told}", file=sys.stderr, flush=True)


def _run(arguments: argparse.Namespace, table: str, system: System, seed: int) -> Run:
    """Return the run of one system on one table."""
    return Run(
        table=table,
        system=system.name,
        seed=seed,
        time_limit=arguments.time_limit,
        cores=arguments.cores,
    )


def _summary(line: dict[str, Any]) -> str:
    """Describe a finished run."""
    return (
        f"{line['metric']} {line['score']:.5f}, fit {line['fit_seconds']:.1f} s, "
        f"one row {line['one_row_ms']:.2f} ms, 10,000 rows {line['batch_seconds']:.2f} s, "
        f"{line['bytes'] / 1e6:.1f} MB"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--systems", nargs="+", default=DEFAULT_SYSTEMS, choices=tuple(SYSTEMS), metavar="SYSTEM"
    )
    add_arguments(parser, TABLES)
    arguments = read_arguments(parser, "compare")
    run_all([SYSTEMS[name] for name in arguments.systems], arguments, _summary)


if __name__ == "__main__":
    main()
