"""The journal: whole events, torn lines, steps once, what was delivered where, kept files."""

import json
import math
import os
from pathlib import Path

import pytest

from tinyllm.app.tracking.journal import Journal
from tinyllm.base.errors import TinyLLMError

HERE, THERE = "sqlite:///here.db", "http://there:5000"


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal", "a" * 32)


def again(journal):
    """The same journal as another process opens it."""
    return Journal(journal.path.parent, journal.fingerprint)


def kinds(journal, offset=0):
    return [event["kind"] for event, _ in journal.events(offset)]


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
        journal.add(f"event {number}")
    ends = [end for _, end in journal.events()]
    assert kinds(journal, ends[1]) == ["event 2", "event 3"]
    assert [end for _, end in journal.events(ends[1])] == ends[2:]
    assert kinds(journal, ends[3]) == []


def test_a_torn_last_line_is_not_there_yet(journal):
    journal.add("one")
    journal.add("two")
    whole = journal.path.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):
        journal.path.write_bytes(whole[:size])
        assert kinds(journal) == ["one"]
    journal.path.write_bytes(whole)
    assert kinds(journal) == ["one", "two"]


def test_a_torn_line_in_the_middle_costs_that_event_only(journal):
    for number in range(3):
        journal.add(f"event {number}")
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    assert kinds(journal) == ["event 0", "event 2"]
    *_, (_, end) = journal.events()
    assert end == journal.path.stat().st_size


def test_after_a_torn_last_line_the_next_event_is_whole(journal):
    journal.add("one")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"kind": "tw')
    resumed = again(journal)
    resumed.add("three")
    resumed.add_metrics(1, {"loss": 1.0})
    assert kinds(journal) == ["one", "three", "metrics"]
    assert kinds(journal, len(whole)) == ["three", "metrics"]
    *_, (_, end) = journal.events()
    assert end == journal.path.stat().st_size


def test_a_last_line_that_lacks_but_its_end_is_kept(journal):
    journal.add("one")
    journal.path.write_bytes(journal.path.read_bytes().removesuffix(b"\n"))
    again(journal).add("two")
    assert kinds(journal) == ["one", "two"]


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
    journal.add("one")
    journal.save_state(HERE, {"offset": 7, "run_id": "r1"})
    journal.save_state(THERE, {"offset": 3, "run_id": "r2"})
    journal.save_state(HERE, {"offset": 9, "run_id": "r1"})
    assert again(journal).state(HERE) == {"offset": 9, "run_id": "r1"}
    assert again(journal).state(THERE) == {"offset": 3, "run_id": "r2"}
    assert again(journal).state("another") == {"offset": 0, "run_id": None}


def test_pending_counts_what_a_store_has_not_got(journal):
    for number in range(3):
        journal.add(f"event {number}")
    (_, end), *_ = journal.events()
    journal.save_state(HERE, {"offset": end, "run_id": "r"})
    assert journal.pending(HERE) == 2
    assert journal.pending(THERE) == 3


def test_a_kept_file_outlives_the_one_it_was_copied_from(journal, tmp_path):
    source = tmp_path / "figure.png"
    copies = []
    for contents in ("first", "second"):
        source.write_text(contents)
        copies.append(journal.keep(source))
        source.unlink()
    assert [Path(copy).read_text() for copy in copies] == ["first", "second"]
    assert [Path(copy).name for copy in copies] == ["figure.png"] * 2


def test_a_kept_folder_is_copied_with_all_below_it(journal, tmp_path):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "weights").write_bytes(b"\x00\x01")
    copy = Path(journal.keep(tmp_path / "model"))
    assert copy.name == "model"
    assert (copy / "sub" / "weights").read_bytes() == b"\x00\x01"


def test_forgetting_deletes_the_copies_and_nothing_else(journal, tmp_path):
    source = tmp_path / "figure.png"
    source.write_text("x")
    other = Journal(journal.path.parent, "b" * 32)
    copy, second, kept = journal.keep(source), journal.keep(source), other.keep(source)
    journal.add("artifact", path=copy)
    for path in (copy, copy, kept, str(source), str(journal.path)):
        journal.forget(path)
    assert not Path(copy).parent.exists()
    assert all(Path(path).read_text() == "x" for path in (second, kept, source))
    assert kinds(journal) == ["artifact"]


def test_forgetting_deletes_a_folder_with_all_below_it(journal, tmp_path):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "weights").write_bytes(b"numbers")
    copy = journal.keep(tmp_path / "model")
    again(journal).forget(copy)
    assert not Path(copy).parent.exists()
    assert (tmp_path / "model" / "sub" / "weights").exists()


def test_kept_bytes_lie_under_their_name_until_they_are_forgotten(journal):
    copies = [journal.keep_bytes("kept.patch", data) for data in (b"\x00\r\n\xe9", b"")]
    assert [Path(copy).read_bytes() for copy in copies] == [b"\x00\r\n\xe9", b""]
    assert [Path(copy).name for copy in copies] == ["kept.patch"] * 2
    journal.forget(copies[0])
    assert [Path(copy).exists() for copy in copies] == [False, True]


def test_a_line_of_the_journal_is_one_line_of_json(journal):
    journal.add("text", text="a\r\nb\u2028c\x00")
    (line,) = journal.path.read_bytes().splitlines()
    assert json.loads(line)["text"] == "a\r\nb\u2028c\x00"


@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_the_owner_alone_may_read_it(journal, tmp_path, mask):
    before = os.umask(mask)
    try:
        journal.add("one")
        journal.keep_bytes("patch", b"x")
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
    journal.add("one")
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_password_does_not_stand_in_the_state(journal):
    journal.add("one")
    (_, end), *_ = journal.events()
    state_file = journal.path.with_name(f"{journal.fingerprint}.state.json")
    # as it was written when passwords still stood there
    state_file.write_text(json.dumps({"http://me:hunter2@there": {"offset": end, "run_id": "r"}}))
    assert journal.state("http://there") == {"offset": end, "run_id": "r"}
    journal.save_state("postgresql://me:hunter2@db/x", {"offset": end, "run_id": "s"})
    assert set(json.loads(state_file.read_text())) == {"http://there", "postgresql://db/x"}


def test_a_journal_of_an_earlier_version_is_closed_and_forgets_passwords(journal):
    journal.close_to_others()
    assert not journal.path.parent.exists()
    journal.add("one")
    state_file = journal.path.with_name(f"{journal.fingerprint}.state.json")
    state_file.write_text('{"http://me:hunter2@there": {"offset": 0, "run_id": "r"}}')
    for path in (journal.path.parent, journal.path, state_file):
        path.chmod(0o755)
    journal.close_to_others()
    assert "hunter2" not in state_file.read_text()
    assert journal.state("http://there")["run_id"] == "r"
    modes = [p.stat().st_mode & 0o777 for p in (journal.path.parent, journal.path, state_file)]
    assert [mode & 0o077 for mode in modes] == [0, 0, 0]


def test_a_state_that_holds_no_stores_is_told(journal):
    journal.add("one")
    journal.path.with_name(f"{journal.fingerprint}.state.json").write_text("[1]")
    with pytest.raises(TinyLLMError, match="is damaged"):
        journal.pending(HERE)


def test_a_path_of_a_hostile_line_deletes_nothing(journal):
    kept = Path(journal.keep_bytes("file", b"x"))
    journal.forget(str(kept.parent.parent / ".." / "x"))
    assert kept.exists()
