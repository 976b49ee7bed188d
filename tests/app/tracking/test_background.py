"""The delivering process: it ends with the command, in good order or not, and in bounded time."""

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests.app.tracking.test_delivery_faults import FINGERPRINT, add_run, only_run
from tests.conftest import ROOT
from tests.waiting import wait_until
from tinyllm.app.tracking.background import ELSEWHERE_VARIABLE, BackgroundDelivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.store import tracking_uri

pytestmark = pytest.mark.medium

# a process that dies without a word while its delivery lives on
DIES = """
import os, signal, sys
from tinyllm.app.config import TrackingConfig
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.base.events import RunStarted
with Tracker(RunStarted("train", sys.argv[1], {}), TrackingConfig(experiment="plays")) as tracker:
    tracker.metrics(1, {"loss": 2.0})
    print(tracker._delivery._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def journal(workspace):
    return Journal(workspace / ".tinyllm" / "journal", FINGERPRINT)


@pytest.fixture
def deaf_server(monkeypatch):
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield


def is_over(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_delivery_of_a_killed_process_ends_its_run(workspace):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", DIES, FINGERPRINT],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL
    pid = int(result.stdout.split()[0])
    wait_until(lambda: is_over(pid))
    run = only_run()
    assert run.info.status == "KILLED"
    assert run.data.metrics["loss"] == 2.0


def test_a_server_that_does_not_answer_is_given_up_in_time(journal, deaf_server):
    add_run(journal)
    delivery = BackgroundDelivery(FINGERPRINT, "train")
    assert "not done after 1 seconds" in delivery.finish(1.0)
    assert not psutil.pid_exists(delivery._process.pid)


def test_what_is_delivered_elsewhere_only_stays_in_the_journal(journal, monkeypatch):
    add_run(journal)
    monkeypatch.setenv(ELSEWHERE_VARIABLE, "yes")
    assert BackgroundDelivery(FINGERPRINT, "train").finish(30.0) == ""
    assert journal.pending(tracking_uri()) > 0
    monkeypatch.delenv(ELSEWHERE_VARIABLE)
    assert BackgroundDelivery(FINGERPRINT, "evaluate").finish(60.0) == ""
    assert journal.pending(tracking_uri()) == 0


def test_beside_training_it_takes_spare_time_only(journal):
    delivery = BackgroundDelivery(FINGERPRINT, "train")
    pid = delivery._process.pid
    wait_until(lambda: os.sched_getscheduler(pid) == os.SCHED_IDLE)
    assert delivery.finish(120.0) == ""
