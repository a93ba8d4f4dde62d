"""Workers beyond the memory limit, and what that costs."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from automl_fuse import Settings, memory
from automl_fuse.errors import SettingsError
from automl_fuse.memory import MemoryGuard, NoGuard, open_guard, within_limit
from automl_fuse.processes import HAS_PROC, belonging, identity, is_alive, proportional, resident
from automl_fuse.run import RunDirectory
from automl_fuse.specs import ExecutorContext, Job, JobResult
from automl_fuse.workers import InlineExecutor, ProcessExecutor, open_executor

pytestmark = pytest.mark.skipif(not HAS_PROC, reason="needs Linux's /proc")

MB = 1_000_000
LEAKED = []


class Leaky:
    """Does what the learner's name says."""

    def __call__(self, job):
        if job.learner == "leak":
            while True:
                LEAKED.append(np.ones(5 * MB, dtype=np.uint8))
                time.sleep(0.01)
        if job.learner == "fork":
            for _ in range(4):
                if os.fork() == 0:
                    LEAKED.append(np.ones(150 * MB, dtype=np.uint8))
                    time.sleep(600)
            time.sleep(600)
        if job.learner == "enormous":
            LEAKED.append(np.ones(4_000 * MB, dtype=np.uint8))
        if job.learner == "reserve":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            LEAKED.append(mmap.mmap(-1, job.params["mb"] * MB, flags=flags))
        if job.learner == "keep":
            LEAKED.append(np.ones(job.params["mb"] * MB, dtype=np.uint8))
        return JobResult(
            job=job,
            predictions=np.full((2, 1), float(os.getpid())),
            fit_seconds=0.0,
            predict_seconds=0.0,
            bytes=0,
        )


def job(learner, **params):
    return Job(member=f"{learner}-0", learner=learner, params=params, fold=0, seconds=60.0)


@pytest.fixture
def executor(tmp_path, monkeypatch):
    """Two workers, with room for 300 MB each beside this process."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    runner = __import__("test_memory").Leaky()
    limit = proportional(os.getpid()) + 600 * MB
    context = ExecutorContext(runner=runner, n_workers=2, n_threads=1, memory_limit=limit)
    made = ProcessExecutor(context, RunDirectory(tmp_path))
    yield made
    made.close()


def run(executor, asked):
    executor.submit(asked)
    for _ in range(300):
        results = executor.collect(0.2)
        if results:
            return results[0]
    pytest.fail("no result after 60 s")


def test_a_leak_costs_its_job_and_the_worker_is_replaced(executor):
    leaked = run(executor, job("leak"))
    assert leaked.predictions is None
    last = leaked.error.strip().rsplit("\n", 1)[-1]
    # Which bound is met first, the kernel's or that of all processes, is a matter of chance.
    assert "memory_limit=" in last
    assert executor.idle == 2
    good = run(executor, job("good"))
    assert not good.error


def test_what_a_worker_forks_counts_and_is_ended_with_it(executor):
    leaked = run(executor, job("fork"))
    assert "ended for its memory" in leaked.error
    assert "memory_limit=" in leaked.error
    pids = [worker.pid for worker in executor._workers]
    assert all(len(family) == 1 for family in belonging(frozenset(pids)).values())


def test_an_allocation_that_could_never_fit_fails_where_it_is_made(executor):
    before = {worker.pid for worker in executor._workers}
    refused = run(executor, job("enormous"))
    assert "LEAKED.append(np.ones(4_000 * MB" in refused.error
    last = refused.error.strip().rsplit("\n", 1)[-1]
    assert "MemoryError" in last
    assert "memory_limit=" in last
    # What else it holds or has reserved, of which the refusal tells nothing, is gone with it.
    assert len(before & {worker.pid for worker in executor._workers}) == 1


def test_memory_that_is_only_reserved_is_not_held_against_a_worker(executor):
    assert not run(executor, job("reserve", mb=1_050)).error
    assert not run(executor, job("good")).error


def test_a_worker_that_holds_more_than_its_share_is_replaced_after_its_job(executor):
    before = {worker.pid for worker in executor._workers}
    kept = run(executor, job("keep", mb=20))
    assert not kept.error
    assert {worker.pid for worker in executor._workers} == before
    kept = run(executor, job("keep", mb=330))
    assert not kept.error
    pid = int(kept.predictions[0, 0])
    assert pid in before
    assert pid not in {worker.pid for worker in executor._workers}


def test_a_worker_that_died_idle_costs_no_job(executor):
    worker = executor._workers[0]
    worker.end("for a test")
    while not worker.is_dead:
        time.sleep(0.01)
    assert not run(executor, job("good")).error
    assert worker not in executor._workers


class Worker:
    """Notes why it was ended."""

    def __init__(self, pid):
        self.pid = pid
        self.cause = ""

    def end(self, cause):
        self.cause = cause


@pytest.fixture
def held(monkeypatch):
    """Make processes hold what a test says, in MB: resident and proportional."""
    shares = {}
    monkeypatch.setattr(memory, "resident", lambda pid: shares[pid][0] * MB)
    monkeypatch.setattr(memory, "proportional", lambda pid: shares[pid][1] * MB)
    monkeypatch.setattr(memory, "belonging", lambda pids: {pid: (pid,) for pid in pids})
    monkeypatch.setattr(memory, "_PAUSE", 3_600.0)
    shares[os.getpid()] = (100, 100)
    return shares


@pytest.mark.parametrize(
    ("first", "second", "ended"),
    [
        ((300, 300), (500, 500), []),
        ((400, 400), (480, 480), [2]),  # a little before the limit is reached
        ((480, 480), (400, 400), [1]),
        ((800, 400), (800, 400), []),  # most of it is shared between the two
        ((10, 10), (1_000, 1_000), [2]),
    ],
)
def test_the_worker_that_holds_most_is_ended(held, first, second, ended):
    workers = [Worker(1), Worker(2)]
    guard = MemoryGuard(1_000 * MB, 2, lambda: workers)
    held |= {1: first, 2: second}
    guard._look()
    guard.close()
    assert [worker.pid for worker in workers if worker.cause] == ended
    for worker in workers:
        if worker.cause:
            assert "memory_limit=1GB" in worker.cause


def test_no_worker_is_blamed_for_what_this_process_holds(held):
    workers = [Worker(1), Worker(2)]
    guard = MemoryGuard(1_000 * MB, 2, lambda: workers)
    held |= {1: (50, 50), 2: (50, 50), os.getpid(): (1_200, 1_200)}
    guard._look()
    guard.close()
    assert not any(worker.cause for worker in workers)


def test_a_limit_that_leaves_too_little_is_refused(held):
    with pytest.raises(SettingsError, match=r"500MB is too little for 2 workers .* 619MB"):
        MemoryGuard(500 * MB, 2, list)


def test_workers_are_as_many_as_there_is_room_for(held, monkeypatch):
    monkeypatch.setattr(memory, "usable_cores", lambda: 8)
    assert within_limit(Settings(memory_limit="1GB")).workers == 3
    # 250 MB each are left for four by a hair, which this process would soon take.
    assert within_limit(Settings(memory_limit=1_140 * MB)).workers == 3
    assert within_limit(Settings(memory_limit=1_200 * MB)).workers == 4
    assert within_limit(Settings(memory_limit="10MB")).workers == 1
    assert within_limit(Settings(memory_limit="12GB")).workers is None
    for settings in (
        Settings(),
        Settings(memory_limit="1GB", workers=5),
        Settings(memory_limit="1GB", executor="cluster"),
    ):
        assert within_limit(settings) is settings


def test_a_machine_without_proc_is_told(monkeypatch):
    monkeypatch.setattr(memory, "HAS_PROC", False)
    with pytest.raises(SettingsError, match="only Linux"):
        within_limit(Settings(memory_limit="1GB"))
    assert isinstance(open_guard(None, 2, list), NoGuard)


def test_trials_in_this_process_cannot_be_limited(tmp_path):
    context = ExecutorContext(runner=Leaky(), n_workers=1, n_threads=1, memory_limit=10**9)
    with pytest.raises(SettingsError, match="executor='inline' cannot hold a memory_limit"):
        open_executor("inline", context, RunDirectory(tmp_path), None)
    context = ExecutorContext(runner=Leaky(), n_workers=1, n_threads=1)
    made = open_executor("inline", context, RunDirectory(tmp_path), None)
    assert isinstance(made, InlineExecutor)


@pytest.mark.parametrize("limit", ["much", -1])
def test_a_limit_that_is_no_size_is_refused_where_it_is_given(limit):
    with pytest.raises(SettingsError, match="memory_limit"):
        Settings(memory_limit=limit)


def test_processes_are_told_apart():
    here = identity()
    assert is_alive(here)
    assert is_alive({**here, "ticks": here["ticks"] - 1}) is False  # its number, used again
    assert is_alive({**here, "ticks": None})
    assert is_alive({**here, "host": "elsewhere"}) is None
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    child = done.pid
    assert is_alive({**here, "pid": child}) is False
    assert is_alive({**here, "pid": child, "ticks": None}) is False
    assert resident(child) == proportional(child) == 0


def test_what_processes_hold_is_measured():
    before = resident(os.getpid()), proportional(os.getpid())
    block = np.ones(100 * MB, dtype=np.uint8)
    after = resident(os.getpid()), proportional(os.getpid())
    for earlier, later in zip(before, after, strict=True):
        assert later - earlier == pytest.approx(block.nbytes, rel=0.1)
