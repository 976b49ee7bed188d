"""Runs that a crash left half opened."""

import pytest

from tests.app.tracking.test_delivery_faults import FINGERPRINT, add_run, deliver, only_run
from tinyllm.app.tracking.journal import Journal


@pytest.fixture
def journal(workspace):
    return Journal(workspace / ".tinyllm" / "journal", FINGERPRINT)


def test_a_run_whose_first_line_was_torn_is_delivered_when_a_later_stage_names_it(journal):
    add_run(journal)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[: len(whole) // 2])
    torn = Journal(journal.path.parent, FINGERPRINT)
    torn.add_metrics(1, {"loss": 3.0})
    assert deliver(torn) is None
    add_run(torn, stage="evaluate")
    torn.add("figures", step=1, values={"test_loss": 2.5})
    assert deliver(torn) is not None
    assert only_run().data.metrics == {"loss": 3.0, "test_loss": 2.5}


def test_a_run_that_a_crash_left_running_is_ended_by_the_next_delivery(journal, monkeypatch):
    add_run(journal, stage="evaluate")

    def crash(*_, **__):
        raise OSError("the power went")

    with monkeypatch.context() as broken:
        broken.setattr("mlflow.MlflowClient.set_terminated", crash)
        with pytest.raises(OSError, match="power"):
            deliver(journal)
    assert only_run().info.status == "RUNNING"
    deliver(journal)
    assert only_run().info.status == "FINISHED"


def test_a_run_that_goes_on_is_not_ended_by_its_evaluation(journal):
    add_run(journal)
    journal.add("status", value="RUNNING")
    add_run(journal, stage="evaluate")
    deliver(journal)
    assert only_run().info.status == "RUNNING"
