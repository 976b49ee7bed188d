"""Processes that were killed: the next command that sees it ends their runs."""

import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from filelock import FileLock

from tests.app.tracking.test_delivery_faults import FINGERPRINT, add_run, only_run
from tests.conftest import ROOT
from tinyllm.app.commands.runs import runs
from tinyllm.app.commands.sync import sync
from tinyllm.app.tracking.abandoned import deliver_abandoned, end_abandoned, recording
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal

pytestmark = pytest.mark.medium

# a process that is killed, and its delivery with it, so that nothing but the journal is left
KILLED = """
import os, signal, sys
from tinyllm.app.tracking.abandoned import recording
from tinyllm.app.tracking.journal import Journal
from pathlib import Path
journal = Journal(Path(sys.argv[1]), sys.argv[2])
with recording(journal):
    journal.add("run", stage="train", experiment="plays", name="first", params={}, tags={})
    journal.add("status", value="RUNNING")
    journal.add_metrics(1, {"loss": 2.0})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def journal(workspace):
    return Journal(workspace / ".tinyllm" / "journal", FINGERPRINT)


@pytest.fixture
def killed(journal):
    """The journal of a process that was killed while it recorded."""
    command = [sys.executable, "-c", KILLED, str(journal.path.parent), FINGERPRINT]
    process = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert process.returncode == -signal.SIGKILL
    Delivery(journal).deliver()
    assert only_run().info.status == "RUNNING"
    return journal


def statuses(journal):
    return [event["value"] for event, _ in journal.events() if event["kind"] == "status"]


@pytest.mark.parametrize(
    "command", [(sync, []), (runs, ["--experiment", "plays", "--json"])], ids=["sync", "runs"]
)
def test_the_next_command_ends_the_run_of_a_killed_process(killed, command):
    last_sign = [event["time"] for event, _ in killed.events()][-1]
    result = CliRunner().invoke(*command)
    assert result.exit_code == 0, result.output
    run = only_run()
    assert (run.info.status, run.info.end_time) == ("KILLED", last_sign)
    assert run.data.metrics == {"loss": 2.0}


def test_a_death_is_noted_once(killed):
    assert [journal.fingerprint for journal in end_abandoned()] == [FINGERPRINT]
    assert end_abandoned() == []
    assert statuses(killed) == ["RUNNING", "KILLED"]


def test_a_killed_run_that_is_repeated_is_finished(killed):
    with recording(killed):
        add_run(killed)
        killed.add("status", value="RUNNING")
        assert end_abandoned() == []
        killed.add("status", value="FINISHED")
    deliver_abandoned()
    Delivery(killed).deliver()
    assert statuses(killed) == ["RUNNING", "RUNNING", "FINISHED"]
    assert only_run().info.status == "FINISHED"


def test_a_run_that_goes_on_is_left_alone(journal):
    with recording(journal):
        add_run(journal)
        journal.add("status", value="RUNNING")
        assert end_abandoned() == []
    assert statuses(journal) == ["RUNNING"]


def test_a_death_between_the_last_word_and_the_end_changes_nothing(journal):
    add_run(journal)
    journal.add("status", value="FINISHED")
    with FileLock(journal.path.with_suffix(".recording")):
        pass
    journal.path.with_suffix(".recording").touch()
    end_abandoned()
    assert statuses(journal) == ["FINISHED"]
    assert not journal.path.with_suffix(".recording").exists()
