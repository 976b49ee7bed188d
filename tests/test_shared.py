"""What a session makes once, whichever process is first, and however it ends."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.shared import make_once


def factory(folder):
    folder.mkdir(exist_ok=True)
    return SimpleNamespace(getbasetemp=lambda: folder)


def test_processes_of_a_session_share_what_the_first_one_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    made = []

    def make(folder):
        made.append(folder)
        (folder / "file").write_text("whole")

    workers = [factory(tmp_path / name) for name in ("gw0", "gw1", "gw2")]
    with ThreadPoolExecutor(3) as pool:
        places = set(pool.map(lambda worker: make_once(worker, "thing", make), workers))
    assert places == {tmp_path / "thing"} == set(made)
    assert len(made) == 1
    assert (tmp_path / "thing/file").read_text() == "whole"


def test_without_other_processes_it_is_in_the_own_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    place = make_once(factory(tmp_path / "base"), "thing", lambda _: None)
    assert place == tmp_path / "base/thing"


def test_what_was_not_finished_is_recreated(tmp_path):
    def fail(folder):
        (folder / "torn").touch()
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        make_once(factory(tmp_path / "base"), "thing", fail)
    place = make_once(factory(tmp_path / "base"), "thing", lambda folder: (folder / "new").touch())
    assert [path.name for path in place.iterdir()] == ["new"]
