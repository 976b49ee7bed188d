"""The journal: whole events, torn lines, steps once, what was delivered where, kept files."""

import json
import logging
import math
import os

import pytest

from tinyllm.app.tracking.journal import Journal, all_journals

HERE, THERE = "sqlite:///here.db", "http://there:5000"


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal", "a" * 32)


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What the journal warned of."""
    logger = logging.getLogger("tinyllm")
    for name, value in (("propagate", False), ("handlers", [caplog.handler])):
        monkeypatch.setattr(logger, name, value)
    return caplog


def again(journal):
    """The same journal as another process opens it."""
    return Journal(journal.path.parent, journal.fingerprint)


def note(journal, text):
    """Add an event that is told by its text."""
    journal.add("text", text=text, file="note.txt")


def notes(journal, offset=0):
    """The texts of events, and the kinds of those without."""
    return [event.get("text", event["kind"]) for event, _ in journal.events(offset)]


def points(journal):
    return [(e["step"], e["values"]) for e, _ in journal.events() if e["kind"] == "metrics"]


def test_making_a_journal_writes_nothing(journal):
    assert not journal.path.parent.exists()
    assert list(journal.events()) == []
    assert journal.pending(HERE) == 0
    assert journal.state(HERE) == {"offset": 0, "run_id": None}


def test_an_event_comes_back_with_its_time(journal, monkeypatch):
    monkeypatch.setattr("tinyllm.app.tracking.journal.time.time", lambda: 1_700_000_000.125)
    journal.add("text", text="two\nlines é", file="a.txt")
    ((event, end),) = again(journal).events()
    assert event == {
        "kind": "text",
        "time": 1_700_000_000_125,
        "text": "two\nlines é",
        "file": "a.txt",
    }
    assert end == journal.path.stat().st_size


def test_offsets_lead_to_the_events_behind_them(journal):
    for number in range(4):
        note(journal, f"event {number}")
    ends = [end for _, end in journal.events()]
    assert notes(journal, ends[1]) == ["event 2", "event 3"]
    assert [end for _, end in journal.events(ends[1])] == ends[2:]
    assert notes(journal, ends[3]) == []


def test_a_torn_last_line_is_not_there_yet(journal):
    note(journal, "one")
    note(journal, "two")
    whole = journal.path.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):
        journal.path.write_bytes(whole[:size])
        assert notes(journal) == ["one"]
    journal.path.write_bytes(whole)
    assert notes(journal) == ["one", "two"]


def test_a_torn_line_in_the_middle_costs_that_event_only(journal):
    for number in range(3):
        note(journal, f"event {number}")
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    assert notes(journal) == ["event 0", "event 2"]
    *_, (_, end) = journal.events()
    assert end == journal.path.stat().st_size


def test_after_a_torn_last_line_the_next_event_is_whole(journal):
    note(journal, "one")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"kind": "tw')
    resumed = again(journal)
    note(resumed, "three")
    resumed.add_metrics(1, {"loss": 1.0})
    assert notes(journal) == ["one", "three", "metrics"]
    assert notes(journal, len(whole)) == ["three", "metrics"]
    *_, (_, end) = journal.events()
    assert end == journal.path.stat().st_size


def test_a_last_line_that_lacks_but_its_end_is_kept(journal):
    note(journal, "one")
    journal.path.write_bytes(journal.path.read_bytes().removesuffix(b"\n"))
    note(again(journal), "two")
    assert notes(journal) == ["one", "two"]


def test_steps_are_kept_once(journal):
    for step in (1, 2, 2, 1, 3, 0):
        journal.add_metrics(step, {"loss": step / 10})
    assert points(journal) == [(1, {"loss": 0.1}), (2, {"loss": 0.2}), (3, {"loss": 0.3})]


def test_a_run_that_resumes_takes_steps_again_without_a_second_point(journal):
    for step in range(5):
        journal.add_metrics(step, {"loss": 1.0})
    resumed = again(journal)
    for step in range(3, 8):
        resumed.add_metrics(step, {"loss": 1.0})
    assert [step for step, _ in points(journal)] == list(range(8))


def test_each_curve_has_its_own_steps(journal):
    journal.add_metrics(10, {"train": 1.0})
    journal.add_metrics(10, {"train": 1.0, "val": 2.0})
    journal.add_metrics(5, {"train": 1.0, "test": 3.0})
    assert points(again(journal)) == [(10, {"train": 1.0}), (10, {"val": 2.0}), (5, {"test": 3.0})]


def test_a_step_whose_line_was_torn_is_recorded_anew(journal):
    journal.add_metrics(1, {"loss": 1.0})
    journal.add_metrics(2, {"loss": 2.0})
    first, second = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(first + second[:-9] + b"\n")
    resumed = again(journal)
    resumed.add_metrics(2, {"loss": 2.0})
    assert points(resumed) == [(1, {"loss": 1.0}), (2, {"loss": 2.0})]


def test_a_loss_that_is_no_number_survives(journal):
    journal.add_metrics(1, {"loss": math.nan, "norm": math.inf})
    ((_, values),) = points(journal)
    assert math.isnan(values["loss"])
    assert values["norm"] == math.inf


def test_every_store_has_a_state_of_its_own(journal):
    for number in range(3):
        note(journal, f"event {number}")
    first, second, third = (end for _, end in journal.events())
    journal.save_state(HERE, {"offset": first, "run_id": "r1"})
    journal.save_state(THERE, {"offset": second, "run_id": "r2"})
    journal.save_state(HERE, {"offset": third, "run_id": "r1"})
    assert again(journal).state(HERE) == {"offset": third, "run_id": "r1"}
    assert again(journal).state(THERE) == {"offset": second, "run_id": "r2"}
    assert again(journal).state("another") == {"offset": 0, "run_id": None}


def test_pending_counts_what_a_store_has_not_got(journal):
    for number in range(3):
        note(journal, f"event {number}")
    (_, end), *_ = journal.events()
    journal.save_state(HERE, {"offset": end, "run_id": "r"})
    assert journal.pending(HERE) == 2
    assert journal.pending(THERE) == 3


def test_a_line_of_the_journal_is_one_line_of_json(journal):
    journal.add("text", text="a\r\nb\u2028c\x00")
    (line,) = journal.path.read_bytes().splitlines()
    assert json.loads(line)["text"] == "a\r\nb\u2028c\x00"


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_the_owner_alone_may_read_it(journal, tmp_path, mask):
    before = os.umask(mask)
    try:
        note(journal, "one")
        journal.files.keep_bytes({"patch": b"x"}, "lineage")
        journal.save_state(HERE, {"offset": 0, "run_id": None})
    finally:
        os.umask(before)
    folders = [journal.path.parent, *(p for p in journal.path.parent.rglob("*") if p.is_dir())]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    files = [path for path in journal.path.parent.iterdir() if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_journal_that_others_could_read_is_closed_to_them(journal):
    journal.path.parent.mkdir(mode=0o755)
    journal.path.write_text("")
    journal.path.chmod(0o644)
    note(journal, "one")
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_password_does_not_stand_in_the_state(journal):
    note(journal, "one")
    (_, end), *_ = journal.events()
    journal.save_state("postgresql://me:{}@db/x".format("hunter2"), {"offset": end, "run_id": "s"})
    state_file = journal.path.with_name(f"{journal.fingerprint}.state.json")
    assert set(json.loads(state_file.read_text())) == {"postgresql://db/x"}


def test_the_state_of_a_store_in_the_project_moves_with_it(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    journal = Journal(before / ".tinyllm" / "journal", "a" * 32)
    note(journal, "one")
    journal.save_state(f"sqlite:///{before}/mlflow.db", {"offset": 0, "run_id": "r"})
    before.rename(after)
    moved = Journal(after / ".tinyllm" / "journal", "a" * 32)
    assert moved.state(f"sqlite:///{after}/mlflow.db")["run_id"] == "r"
    assert moved.state(f"sqlite:///{tmp_path}/mlflow.db")["run_id"] is None


def test_a_journal_of_an_earlier_version_is_closed_to_others(journal):
    journal.close_to_others()
    assert not journal.path.parent.exists()
    note(journal, "one")
    state_file = journal.path.with_name(f"{journal.fingerprint}.state.json")
    state_file.write_text("{}")
    for path in (journal.path.parent, journal.path, state_file):
        path.chmod(0o755)
    journal.close_to_others()
    modes = [p.stat().st_mode & 0o777 for p in (journal.path.parent, journal.path, state_file)]
    assert [mode & 0o077 for mode in modes] == [0, 0, 0]


@pytest.mark.parametrize(
    "text",
    ["[1]", "", "null", '{"sqlite:///here.db": 3}', '{"sqlite:///here.db": {"offset": "1"}}'],
)
def test_a_damaged_state_counts_as_none_and_is_told(journal, warnings, text):
    note(journal, "one")
    state_file = journal.path.with_name(f"{journal.fingerprint}.state.json")
    state_file.write_text(text)
    assert journal.pending(HERE) == 1
    assert str(state_file) in warnings.messages[0]
    journal.save_state(HERE, {"offset": 0, "run_id": "r"})
    assert journal.state(HERE)["run_id"] == "r"


@pytest.mark.parametrize("offset", [5, 10**9])
def test_a_state_of_another_journal_counts_from_the_beginning(journal, offset):
    note(journal, "one")
    journal.save_state(HERE, {"offset": offset, "run_id": "r"})
    assert journal.state(HERE) == {"offset": 0, "run_id": "r"}


DAMAGED = [
    b"{}",
    b"[]",
    b"3",
    b"\xff\xfe",
    b'{"kind": "magic", "time": 1}',
    b'{"kind": ["text"], "time": 1}',
    b'{"kind": "text", "time": "now", "text": "x", "file": "x"}',
    b'{"kind": "metrics", "time": 1, "step": 1.5, "values": {"loss": 1}}',
    b'{"kind": "metrics", "time": 1, "step": 1, "values": [1]}',
    b'{"kind": "status", "time": 1, "value": "GONE"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: repr(line[:30]))
def test_a_damaged_line_costs_only_itself_and_is_told_once(journal, warnings, line):
    note(journal, "one")
    journal.path.write_bytes(journal.path.read_bytes() + line + b"\n")
    opened = again(journal)
    note(opened, "two")
    assert notes(opened) == notes(opened) == ["one", "two"]
    (message,) = warnings.messages
    assert f"{journal.path}, line 2" in message


def test_secrets_do_not_enter_the_journal(journal, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wonderland-9876")
    params = {"prepare.source": "https://duke:{}@host/a?token={}".format(*["hunter2"] * 2)}
    journal.add("run", stage="train", experiment="e", params=params, tags={"t": "wonderland-9876"})
    text = journal.path.read_text()
    assert "hunter2" not in text
    assert "wonderland" not in text
    assert "https://host/a" in text


def test_the_journals_of_a_folder_come_by_their_first_event(tmp_path, monkeypatch):
    for name, now in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        monkeypatch.setattr("tinyllm.app.tracking.journal.time.time", lambda now=now: now)
        note(Journal(tmp_path, name), "first")
    (tmp_path / "d.jsonl").write_text("damaged\n")
    assert [journal.fingerprint for journal in all_journals(tmp_path)] == ["d", "b", "c", "a"]
