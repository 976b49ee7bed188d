"""A keeper ends an experiment with all of its processes, whoever is killed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from filelock import Timeout

from tests.app.experiments.tiny import make_tiny
from tests.conftest import ROOT
from tests.project import run_in
from tests.waiting import live, wait_until
from tinyllm.app.experiments.copies import Snapshot, take_snapshot
from tinyllm.app.experiments.experiment import Experiment, run_experiment
from tinyllm.app.experiments.keeper import Keeper, Order, lock_of

pytestmark = pytest.mark.slow

# does what the order on standard input says, until it is killed
PROGRAM = """
import json, sys
from tinyllm.app.experiments.copies import Snapshot
from tinyllm.app.experiments.keeper import Keeper, Order
order = json.loads(sys.stdin.readline())
with Keeper(Order(**{**order, "snapshot": Snapshot(**order["snapshot"])})) as keeper:
    while keeper.wait(1):
        pass
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    found = make_tiny(tmp_path / "repository")
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def snapshot(project) -> Snapshot:
    return take_snapshot()


def order(snapshot: Snapshot, folder: Path, seconds: float, name: str = "one") -> Order:
    return Order(
        name=name,
        snapshot=snapshot,
        folder=str(folder / "copies" / name),
        overrides=(f"++train.seconds={seconds}",),
        target="work",
        keep=True,
        log=str(folder / "log"),
        environment={},
    )


def processes(folder: Path) -> list[psutil.Process]:
    """The stage, all above it, and the keeper, once the stage waits."""
    pid = folder / "pid"
    wait_until(lambda: pid.is_file() and pid.read_text())
    stage = psutil.Process(int(pid.read_text()))
    above = [one for one in stage.parents() if one.pid != 1]
    ours = [one for one in above if "exp" in one.cmdline() or "keeper" in " ".join(one.cmdline())]
    assert len(ours) >= 2
    return [stage, *ours]


def keeper_among(found: list[psutil.Process]) -> psutil.Process:
    return next(one for one in found if "keeper" in " ".join(one.cmdline()))


def nothing_is_left(folder: Path) -> bool:
    with lock_of(folder / "copies" / "one"):
        return not (folder / "copies" / "one").exists()


@pytest.mark.exhaustive
def test_a_result_is_an_experiment_of_the_project(project, snapshot, tmp_path):
    with Keeper(order(snapshot, tmp_path, 0.1)) as keeper:
        while keeper.wait(1):
            pass
        assert keeper.code == 0
    assert run_in(project, "git", "rev-parse", snapshot.ref("one")).stdout
    assert nothing_is_left(tmp_path)
    assert not (project / "out.txt").exists()


@pytest.fixture
def in_the_background():
    """As a shell starts what it runs there."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def ignores(process: psutil.Process, number: int) -> bool:
    words = Path(f"/proc/{process.pid}/status").read_text().partition("SigIgn:")[2].split()
    return bool(int(words[0], 16) >> (number - 1) & 1)


@pytest.mark.usefixtures("in_the_background")
def test_stopping_ends_all_processes(snapshot, tmp_path):
    with Keeper(order(snapshot, tmp_path, 600)) as keeper:
        keeper.wait(60)
        found = processes(tmp_path)
        # DVC itself ignores it as long as a stage runs
        assert not ignores(found[0], signal.SIGINT)
        with pytest.raises(Timeout), lock_of(tmp_path / "copies" / "one").acquire(timeout=0):
            pass
    wait_until(lambda: not live(found))
    assert keeper.code not in (0, None)
    assert nothing_is_left(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("whom", ["giver", "keeper", "dvc"])
def test_a_kill_leaves_no_processes(snapshot, tmp_path, whom):
    given = order(snapshot, tmp_path, 600)
    giver = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        text=True,
    )
    giver.stdin.write(json.dumps(asdict(given)) + "\n")
    giver.stdin.flush()
    found = processes(tmp_path)
    dvc = next(one for one in found[1:] if "exp" in one.cmdline())
    victim = {"giver": giver.pid, "keeper": keeper_among(found).pid, "dvc": dvc.pid}[whom]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not live(found))
    giver.wait(60)


@pytest.mark.exhaustive
def test_an_experiment_waits_for_itself_to_end(snapshot, tmp_path):
    with Keeper(order(snapshot, tmp_path, 600)) as first:
        first.wait(60)
        found = processes(tmp_path)
        (tmp_path / "pid").unlink()
        with Keeper(order(snapshot, tmp_path, 0)) as second:
            assert second.wait(3)
            assert not (tmp_path / "pid").exists()
            first.stop()
            while second.wait(1):
                pass
            assert second.code == 0
            wait_until(lambda: not live(found))


@pytest.mark.exhaustive
def test_what_git_says_is_in_the_log(snapshot, tmp_path):
    with Keeper(order(replace(snapshot, commit="f" * 40), tmp_path, 0)) as keeper:
        while keeper.wait(1):
            pass
    assert keeper.code == 1
    assert (tmp_path / "log").read_text().startswith("Error: git failed in ")


def test_a_copy_that_cannot_be_made_is_told_in_a_sentence_and_tried_once(snapshot, tmp_path):
    (tmp_path / "copies").write_text("in the way", encoding="utf-8")
    outcome = run_experiment(Experiment("one", {}, snapshot, str(tmp_path)))
    assert outcome.state == "failed"
    assert outcome.reason == f"'one' cannot go on: {tmp_path / 'copies'}: File exists."
    assert (tmp_path / "copies").read_text() == "in the way"
