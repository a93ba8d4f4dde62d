import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from automl_fuse.errors import RunError, SettingsError
from automl_fuse.features import FeatureFiles
from automl_fuse.inventory import MissingExtra, Plugins
from automl_fuse.run import RunDirectory
from automl_fuse.specs import ExecutorContext, Job, JobResult, Matrix
from automl_fuse.workers import (
    InlineExecutor,
    ProcessExecutor,
    executors,
    has_begun,
    last_output,
    open_executor,
)
from automl_fuse.workers.process import Worker


class Unreadable:
    """Cannot be unpickled."""

    def __reduce__(self):
        return int, ("no number",)


class Runner:
    """Does what the learner's name says."""

    def __init__(self, size: int = 10) -> None:
        self.data = np.arange(float(size))

    def imports(self, learners):
        print("imports for", learners, flush=True)
        yield

    def prepare(self, job: Job) -> None:
        if job.learner == "slow start":
            time.sleep(600)

    def __call__(self, job: Job) -> JobResult:
        if job.learner == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if job.learner == "exit":
            print("last words", flush=True)
            os._exit(3)
        if job.learner == "sleep":
            time.sleep(600)
        if job.learner == "flood":
            print("x" * 1_000_000, flush=True)
        if job.learner == "unreadable":
            return Unreadable()
        if job.learner == "rewrite":
            job.params["a"].append(2)
        if job.learner == "write":
            self.data[0] = 1.0
        return JobResult(
            job=job,
            predictions=np.full((2, 1), float(self.data.sum())),
            fit_seconds=float(os.getpid()),
            predict_seconds=0.0,
            bytes=0,
        )


def job(learner: str, fold: int = 0) -> Job:
    return Job(member=f"{learner}-0", learner=learner, params={}, fold=fold, seconds=60.0)


def gather(executor, number):
    results = []
    for _ in range(200):
        results += executor.collect(0.2)
        if len(results) == number:
            return results
    pytest.fail(f"{len(results)} of {number} results after 40 s")


@pytest.fixture
def executor(tmp_path, monkeypatch):
    # Workers import the runner's class from this file.
    monkeypatch.syspath_prepend(Path(__file__).parent)
    runner_class = __import__("test_workers").Runner
    context = ExecutorContext(runner=runner_class(), n_workers=2, n_threads=1)
    made = ProcessExecutor(context, RunDirectory(tmp_path))
    yield made
    made.close()


def test_jobs_run_in_processes_at_the_same_time(executor):
    assert executor.idle == 2
    executor.submit(job("good", 0))
    executor.submit(job("good", 1))
    assert executor.idle == 0
    results = gather(executor, 2)
    assert {result.job.fold for result in results} == {0, 1}
    assert len({result.fit_seconds for result in results} - {float(os.getpid())}) == 2
    assert results[0].predictions.tolist() == [[45.0], [45.0]]
    assert executor.idle == 2


@pytest.mark.parametrize(
    ("learner", "words"), [("crash", "signal 11"), ("exit", "exit code 3"), ("exit", "last words")]
)
def test_a_dying_worker_costs_one_job_and_is_replaced(executor, learner, words):
    executor.submit(job(learner))
    (result,) = gather(executor, 1)
    assert result.predictions is None
    assert words in result.error
    for fold in range(4):
        executor.submit(job("good", fold))
    assert all(not result.error for result in gather(executor, 4))


def test_a_cancelled_job_gives_no_result_and_frees_its_worker(executor):
    sleeper = job("sleep")
    executor.submit(sleeper)
    executor.submit(job("good", 1))
    gather(executor, 1)
    executor.cancel(sleeper)
    assert executor.idle == 2
    executor.submit(job("good", 2))
    executor.submit(job("good", 3))
    assert {result.job.fold for result in gather(executor, 2)} == {2, 3}


def test_a_result_that_cannot_be_read_costs_one_job(executor):
    executor.submit(job("unreadable"))
    (result,) = gather(executor, 1)
    assert "no number" in result.error
    executor.submit(job("good"))
    assert not gather(executor, 1)[0].error


def test_the_working_directory_is_not_imported_from(tmp_path, monkeypatch):
    (tmp_path / "joblib.py").write_text("raise RuntimeError('imported from here')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    runner_class = __import__("test_workers").Runner
    context = ExecutorContext(runner=runner_class(), n_workers=1, n_threads=1)
    made = ProcessExecutor(context, RunDirectory(tmp_path))
    try:
        made.submit(job("good"))
        assert not gather(made, 1)[0].error
    finally:
        made.close()


def test_what_a_learner_prints_does_not_disturb_results(executor):
    executor.submit(job("flood"))
    (result,) = gather(executor, 1)
    assert not result.error


def test_a_learner_cannot_write_into_the_shared_data(executor):
    executor.submit(job("write"))
    (result,) = gather(executor, 1)
    assert "read-only" in result.error


def test_close_may_be_called_twice_and_ends_the_processes(executor):
    executor.submit(job("good"))
    (result,) = gather(executor, 1)
    executor.close()
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.fit_seconds), 0)


@pytest.mark.parametrize("name", ["inline", "processes"])
def test_shared_features_are_removed_at_the_end(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    runner_class = __import__("test_workers").Runner
    run = RunDirectory(tmp_path)
    files = FeatureFiles(run)
    context = ExecutorContext(runner=runner_class(), n_workers=1, n_threads=1)
    executor = open_executor(name, context, run, Plugins())
    with files.lock(0, "codes"):
        features = Matrix.numbers(np.ones((2, 1)), ["a"])
        files.write(0, "codes", (features, features))
    run.seals.dump(run.encoder("codes", 0), "an encoder")
    executor.close()
    assert files.read(0, "codes") is None
    assert [path.name for path in run.encoder("codes", 0).parent.iterdir()] == ["codes.fold-0.pkl"]


def test_inline_runs_when_asked_for_results():
    executor = InlineExecutor(Runner())
    executor.submit(job("good", 0))
    executor.submit(job("good", 1))
    executor.cancel(job("good", 0))
    assert executor.idle == 0
    assert [result.job.fold for result in executor.collect(0.0)] == [1]
    assert executor.collect(0.0) == []
    assert executor.idle == 1


def test_an_unknown_executor_is_refused(tmp_path):
    context = ExecutorContext(runner=Runner(), n_workers=1, n_threads=1)
    with pytest.raises(SettingsError, match="processes, inline"):
        open_executor("cluster", context, RunDirectory(tmp_path), Plugins())


def test_an_executor_whose_dependency_is_missing_says_what_installs_it(tmp_path):
    context = ExecutorContext(runner=Runner(), n_workers=1, n_threads=1)
    lack = MissingExtra(
        name="cluster", kind="executor", plugin="p", modules=("clusterlib",), mend="pip install it"
    )
    with pytest.raises(SettingsError, match="needs clusterlib, not installed: pip install it"):
        open_executor("cluster", context, RunDirectory(tmp_path), Plugins(missing=(lack,)))


def test_built_in_executors_refuse_options(tmp_path):
    context = ExecutorContext(runner=Runner(), n_workers=1, n_threads=1, options={"address": "a"})
    with pytest.raises(SettingsError, match="has address, and executor='processes' takes none"):
        open_executor("processes", context, RunDirectory(tmp_path), Plugins())


def test_workers_that_started_are_ended_where_one_cannot(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    runner_class = __import__("test_workers").Runner
    started = []

    def start(number, *arguments):
        if number == 1:
            raise RunError("no more processes")
        started.append(Worker(number, *arguments))
        return started[-1]

    monkeypatch.setattr(executors, "Worker", start)
    context = ExecutorContext(runner=runner_class(), n_workers=2, n_threads=1)
    with pytest.raises(RunError, match="no more processes"):
        ProcessExecutor(context, RunDirectory(tmp_path))
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


def test_a_system_that_refuses_a_process_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr("automl_fuse.workers.process.sys.executable", str(tmp_path / "nothing"))
    context = ExecutorContext(runner=Runner(), n_workers=1, n_threads=1)
    with pytest.raises(RunError, match="worker process cannot be started: No such file"):
        ProcessExecutor(context, RunDirectory(tmp_path))


def test_a_new_worker_imports_only_for_learners_that_have_worked(tmp_path, executor):
    executor.submit(job("good"))
    gather(executor, 1)
    for learner in ("crash", "crash"):
        executor.submit(job(learner))
        gather(executor, 1)

    def printed():
        return "".join(log.read_text() for log in (tmp_path / "workers").iterdir())

    for _ in range(200):  # an idle worker imports when it has started
        if "imports for ['good']" in printed():
            break
        time.sleep(0.1)
    executor.submit(job("good", 1))
    executor.submit(job("good", 2))
    gather(executor, 2)
    executor.close()
    assert "imports for ['good']" in printed()
    assert "['crash" not in printed()


def test_a_job_that_is_written_into_is_still_known(executor):
    asked = Job(member="m-0", learner="rewrite", params={"a": [1]}, fold=0, seconds=60.0)
    executor.submit(asked)
    (result,) = gather(executor, 1)
    assert result.job is asked
    assert asked.params == {"a": [1]}
    assert executor.idle == 2


def test_it_is_told_whether_a_job_has_begun(executor):
    sleeper = job("sleep")
    assert not executor.has_begun(sleeper)
    executor.submit(sleeper)
    for _ in range(200):
        if has_begun(executor, sleeper):
            break
        time.sleep(0.1)
    assert executor.has_begun(sleeper)
    executor.submit(job("good"))
    gather(executor, 1)
    executor.submit(job("slow start"))
    assert not executor.has_begun(job("slow start"))
    executor.cancel(sleeper)
    assert not executor.has_begun(sleeper)


def test_an_executor_that_cannot_tell_has_begun_and_printed_nothing():
    inline = InlineExecutor(Runner())
    assert has_begun(inline, job("good"))
    assert last_output(inline, job("good")) == ""
