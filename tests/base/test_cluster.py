"""Jobs on a cluster of two real nodes: as here, and with nodes and workers lost."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.base.some_jobs import SomeJob, attempts, do
from tests.base.test_jobs import jobs
from tests.conftest import ROOT
from tests.ray_nodes import two_nodes
from tests.waiting import live, wait_until
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.jobs import run_jobs
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.work import ATTEMPTS, Needs
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.encode import tokenize_corpus

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

RAY = RuntimeConfig(engine="ray")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with two_nodes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def lives(folder: Path, number: int) -> bool:
    found = [pid for pid in attempts(folder, number) if psutil.pid_exists(pid)]
    return bool(live([psutil.Process(pid) for pid in found]))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_results_come_in_the_order_of_the_jobs(nodes, tmp_path):
    told, read = [], []
    found = run_jobs(do, jobs(tmp_path, "takes a second", "", ""), RAY, read.append, told.append)
    assert found == told == ["result 0", "result 1", "result 2"]
    assert sum(read) == 30
    assert os.getpid() not in attempts(tmp_path, 0)


def test_both_nodes_work_at_once(nodes, tmp_path):
    fates = ["meets the other"] * 2
    assert run_jobs(do, jobs(tmp_path, *fates), RAY) == ["result 0", "result 1"]


def test_the_number_of_workers_bounds_what_runs_at_once(nodes, tmp_path):
    run_jobs(do, jobs(tmp_path, *["takes a second"] * 2), RuntimeConfig(engine="ray", workers=1))
    begun = [next(tmp_path.glob(f"{number}-*")).stat().st_mtime for number in range(2)]
    assert abs(begun[0] - begun[1]) >= 1


def test_a_lost_worker_costs_only_its_job_which_is_tried_again(nodes, tmp_path, capfd):
    assert run_jobs(do, jobs(tmp_path, "is lost once", ""), RAY) == ["result 0", "result 1"]
    assert [len(attempts(tmp_path, number)) for number in range(2)] == [2, 1]
    # which belongs to the command
    assert capfd.readouterr().out == ""


def test_what_is_lost_again_and_again_is_given_up(nodes, tmp_path):
    with pytest.raises(
        TinyLLMError, match=r"^Workers of the Ray cluster ended 4 times .*run it again"
    ):
        run_jobs(do, jobs(tmp_path, "is lost"), RAY)
    assert len(attempts(tmp_path, 0)) == ATTEMPTS


def test_an_error_of_a_job_is_the_sentence_that_it_is_here(nodes, tmp_path):
    with pytest.raises(TinyLLMError) as caught:
        run_jobs(do, jobs(tmp_path, "fails", "waits"), RAY)
    assert type(caught.value) is TinyLLMError
    assert str(caught.value) == "Job 0 failed; mend it."
    wait_until(lambda: not lives(tmp_path, 1))


def test_more_cores_than_any_node_has_are_refused(nodes, tmp_path):
    with pytest.raises(TinyLLMError, match="2 cores are needed at once, and no machine"):
        run_jobs(do, jobs(tmp_path, ""), RAY, needs=Needs(cores=2))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", r"There is no Ray cluster at 127\.0\.0\.1:1 "),
        ("", "RAY_ADDRESS names no cluster; start one"),
    ],
)
def test_no_cluster_is_a_sentence(nodes, tmp_path, monkeypatch, address, said):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(TinyLLMError, match=said):
        run_jobs(do, jobs(tmp_path, ""), RAY)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_process_leaves_no_jobs(nodes, tmp_path, ending):
    command = [sys.executable, "-m", "tests.base.some_jobs", str(tmp_path), "0", "ray"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    begun = partial(attempts, tmp_path)
    wait_until(lambda: process.poll() is not None or (begun(0) and begun(1)))
    assert process.poll() is None
    process.send_signal(ending)
    process.wait()
    wait_until(lambda: not lives(tmp_path, 0) and not lives(tmp_path, 1))


@pytest.fixture(scope="module")
def raw(tmp_path_factory, text) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(4):
        (folder / f"{number}.txt").write_text(text[number * 500 :], encoding="utf-8")
    return folder


def made(folder: Path, raw: Path, runtime: RuntimeConfig) -> dict[str, bytes]:
    """What prepare and tokenize write."""
    config = PrepareConfig(source=str(raw))
    prepare_corpus(config, folder / "prepared", runtime=runtime, unit=9000)
    tokenize_corpus(TokenizeConfig(), folder / "prepared", folder / "tokens", runtime)
    return contents(folder / "prepared") | contents(folder / "tokens")


def test_prepare_and_tokenize_write_the_bytes_that_they_write_here(nodes, raw, tmp_path):
    engines = {
        "ray": RAY,
        **{str(workers): RuntimeConfig(workers=workers) for workers in (1, 2, 4)},
    }
    found = {name: made(tmp_path / name, raw, runtime) for name, runtime in engines.items()}
    assert len(found["1"]) > 15
    assert found["ray"] == found["1"] == found["2"] == found["4"]


def test_a_corpus_that_cannot_be_read_is_the_same_sentence(nodes, raw, tmp_path):
    (raw / "bad.txt").write_bytes(b"\xff" * 100)
    said = []
    try:
        for name, runtime in (("here", RuntimeConfig(workers=1)), ("there", RAY)):
            with pytest.raises(TinyLLMError) as caught:
                made(tmp_path / name, raw, runtime)
            said.append(str(caught.value))
    finally:
        (raw / "bad.txt").unlink()
    assert said[0] == said[1]
    assert "bad.txt" in said[0]


def test_a_lost_node_costs_only_its_jobs_which_are_tried_again_elsewhere(nodes, tmp_path):
    """The last test: it leaves one node."""
    fates = ("takes a second", "takes a second")
    waiting = [SomeJob(str(tmp_path), number, fate) for number, fate in enumerate(fates * 3)]
    told = []

    def lose(result: str) -> None:
        told.append(result)
        if len(told) == 1:
            nodes[1].kill()

    assert run_jobs(do, waiting, RAY, tell=lose) == [f"result {number}" for number in range(6)]
