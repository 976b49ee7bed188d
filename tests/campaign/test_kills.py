"""A few of the kills of `python -m tests.campaign.kills`, which does many more."""

import json
import random
import sqlite3

import pytest

from tests.campaign.contents import missing
from tests.campaign.killing import repro_command, run_and_kill
from tests.campaign.kills import Reference, Round, run_round

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return Reference.make(tmp_path_factory.mktemp("kills") / "reference")


def test_five_kills_leave_everything_well(reference, tmp_path):
    outcomes = run_round(reference, tmp_path / "round", 5, seed=5)
    assert len(outcomes) == 5
    assert not [str(outcome) for outcome in outcomes if outcome.faults]


def test_a_kill_happens_and_what_it_spoils_is_seen(reference, tmp_path):
    here = Round(reference, tmp_path / "round", random.Random(1))
    project = tmp_path / "round"
    started = run_and_kill(project, repro_command("train"), "kill -9 group", 3.0)
    assert started.running in ("train", "between")
    assert started.code == -9
    (project / "notes.txt").unlink()
    (project / "README.md").write_text("not yours")
    outcome = here.kill("prepare")
    assert {"notes.txt is gone", "README.md is changed"} <= set(outcome.faults)
    (project / "data/prepared/train-00000.txt").write_text("other")
    assert here._differences("prepare") == ["data/prepared/train-00000.txt differs"]


def test_what_the_store_lacks_is_seen(reference, tmp_path):
    here = Round(reference, tmp_path / "round", random.Random(1))
    project = tmp_path / "round"
    assert not here.kill("train").faults
    assert here.end() == []
    (journal,) = (project / ".tinyllm/journal").glob("*.jsonl")
    event = {"kind": "metrics", "time": 1, "step": 10**6, "values": {"train_loss": 1.0}}
    with journal.open("a") as file:
        file.write(json.dumps(event) + "\n")
    with sqlite3.connect(project / "mlflow.db") as store:
        store.execute("DELETE FROM params")
    lacks = " ".join(missing(project))
    assert "1 of" in lacks
    assert "no parameters" in lacks
