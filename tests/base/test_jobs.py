"""Jobs side by side on this machine: order, errors, losses, interruptions."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.base.some_jobs import SomeJob, attempts, do
from tests.conftest import ROOT
from tests.waiting import live, wait_until
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.jobs import run_jobs
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.work import ATTEMPTS, Needs


def jobs(folder: Path, *fates: str) -> list[SomeJob]:
    return [SomeJob(str(folder), number, fate) for number, fate in enumerate(fates)]


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def waiting(tmp_path):
    """A process that does jobs in two workers, both of which are at it."""
    command = [sys.executable, "-m", "tests.base.some_jobs", str(tmp_path), "2", "local"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: attempts(tmp_path, 0) and attempts(tmp_path, 1))
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_jobs(tmp_path, workers):
    told, read = [], []
    fates = ["takes a second" if workers > 1 else "", "", "", ""]
    runtime = RuntimeConfig(workers=workers)
    found = run_jobs(do, jobs(tmp_path, *fates), runtime, read.append, told.append)
    assert found == told == [f"result {number}" for number in range(4)]
    assert sum(read) == 40


def test_no_jobs_are_done_at_once():
    assert run_jobs(do, [], RuntimeConfig(workers=2)) == []


def test_no_more_processes_than_jobs_or_than_cores_have_room_for(tmp_path):
    run_jobs(do, jobs(tmp_path, "", ""), RuntimeConfig(), needs=Needs(cores=4096))
    assert attempts(tmp_path, 0) == attempts(tmp_path, 1) == [os.getpid()]
    run_jobs(do, jobs(tmp_path, "takes a second"), RuntimeConfig(workers=8))
    assert attempts(tmp_path, 0) == [os.getpid()]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_is_raised_as_it_is_and_stops_the_others(tmp_path, workers):
    fates = ("fails", "waits") if workers == 2 else ("fails", "")
    with pytest.raises(TinyLLMError) as caught:
        run_jobs(do, jobs(tmp_path, *fates), RuntimeConfig(workers=workers))
    assert str(caught.value) == "Job 0 failed; mend it."
    assert not multiprocessing.active_children()


def test_a_mistake_in_a_job_shows_where_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught:
        run_jobs(do, jobs(tmp_path, "is wrong", "waits"), RuntimeConfig(workers=2))
    assert "some_jobs.py" in "".join(caught.value.__notes__)


def test_a_connection_that_a_job_loses_is_its_error_and_no_lost_worker(tmp_path):
    with pytest.raises(ConnectionResetError, match="the store hung up"):
        run_jobs(do, jobs(tmp_path, "loses its connection", "waits"), RuntimeConfig(workers=2))
    assert len(attempts(tmp_path, 0)) == 1


def test_what_receives_a_result_may_stop_the_rest(tmp_path):
    def refuse(result: str) -> None:
        raise TinyLLMError(f"{result} is not good enough.")

    with pytest.raises(TinyLLMError, match="result 0 is not"):
        run_jobs(do, jobs(tmp_path, "", "waits"), RuntimeConfig(workers=2), tell=refuse)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("fate", ["is lost once", "is lost in mid-sentence once"])
def test_a_lost_worker_costs_only_its_job_which_is_tried_again(tmp_path, fate):
    read = []
    fates = (fate, "takes a second", "")
    found = run_jobs(do, jobs(tmp_path, *fates), RuntimeConfig(workers=2), read.append)
    assert found == [f"result {number}" for number in range(3)]
    assert [len(attempts(tmp_path, number)) for number in range(3)] == [2, 1, 1]
    assert sum(read) == 30


def test_what_is_lost_again_and_again_is_given_up(tmp_path):
    with pytest.raises(TinyLLMError, match=r"ended 4 times .* \(signal 9\).*runtime\.workers"):
        run_jobs(do, jobs(tmp_path, "is lost", "waits"), RuntimeConfig(workers=2))
    assert len(attempts(tmp_path, 0)) == ATTEMPTS
    assert not multiprocessing.active_children()


def test_a_killed_process_leaves_no_workers(waiting):
    workers = workers_of(waiting)
    assert len(workers) >= 2
    waiting.kill()
    wait_until(lambda: not live(workers))


def test_ctrl_c_stops_all_at_once(waiting):
    workers = workers_of(waiting)
    # a terminal sends it to all processes
    os.killpg(waiting.pid, signal.SIGINT)
    _, said = waiting.communicate(timeout=60)
    wait_until(lambda: not live(workers))
    # one traceback, of the first process, which here is no command
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1


def test_without_ray_the_engine_says_what_to_install(tmp_path, monkeypatch):
    # as if it were not installed
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TinyLLMError, match=r"not installed.*tinyllm\[cluster\].*engine to local"):
        run_jobs(do, jobs(tmp_path, ""), RuntimeConfig(engine="ray"))


def test_workers_have_the_package_of_this_process(tmp_path, monkeypatch):
    # as MLflow does with the code of a model
    (tmp_path / "path/tinyllm").mkdir(parents=True)
    (tmp_path / "path/tinyllm/__init__.py").write_text("raise ImportError('another copy')")
    monkeypatch.syspath_prepend(tmp_path / "path")
    before = list(sys.path)
    found = run_jobs(do, jobs(tmp_path, "", ""), RuntimeConfig(workers=2))
    assert found == ["result 0", "result 1"]
    assert sys.path == before


def test_little_work_is_done_here(tmp_path):
    run_jobs(do, jobs(tmp_path, "", ""), RuntimeConfig())
    assert attempts(tmp_path, 0) == attempts(tmp_path, 1) == [os.getpid()]
