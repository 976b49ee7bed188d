"""Files that are kept for delivery: copies, their originals, and what is never touched."""

from pathlib import Path

import pytest

from tinyllm.app.tracking.kept import KeptFiles, place_in_project


@pytest.fixture
def files(workspace):
    return KeptFiles(workspace / ".tinyllm" / "journal" / "a.files")


def test_a_kept_file_outlives_the_one_it_was_copied_from(files, workspace):
    source = workspace / "figure.png"
    copies = []
    for contents in ("first", "second"):
        source.write_text(contents)
        copies.append(files.keep(source))
        source.unlink()
    found = [files.find(copy) for copy in copies]
    assert [path.read_text() for path in found] == ["first", "second"]
    assert [path.name for path in found] == ["figure.png"] * 2


def test_a_kept_folder_is_copied_with_all_below_it(files, workspace):
    (workspace / "model" / "sub").mkdir(parents=True)
    (workspace / "model" / "sub" / "weights").write_bytes(b"\x00\x01")
    found = files.find(files.keep(workspace / "model"))
    assert found.name == "model"
    assert (found / "sub" / "weights").read_bytes() == b"\x00\x01"


def test_kept_bytes_lie_in_a_folder_under_their_names(files):
    facts = files.keep_bytes({"a.patch": b"\x00\r\n\xe9", "b": b""}, "lineage")
    place = files.find(facts)
    assert place.name == "lineage"
    assert [(place / name).read_bytes() for name in ("a.patch", "b")] == [b"\x00\r\n\xe9", b""]
    files.forget(facts)
    assert files.find(facts) == place


def test_small_copies_stay_and_large_ones_are_found_where_they_were_made(files, workspace):
    (workspace / "model").mkdir()
    (workspace / "model" / "weights").write_bytes(bytes(1_000_001))
    (workspace / "small").write_bytes(bytes(1_000_000))
    large, small = files.keep(workspace / "model"), files.keep(workspace / "small")
    other = KeptFiles(files._folder.with_name("b.files"))
    untouched = other.keep(workspace / "model")
    for facts in (large, small, large):
        files.forget(facts)
    assert files.find(large) == workspace / "model"
    assert files.find(small) != workspace / "small"
    assert other.find(untouched) != workspace / "model"
    (workspace / "model" / "more").write_text("x")
    assert files.find(large) is None


def test_a_file_from_elsewhere_is_not_looked_for_there(files, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "large"
    elsewhere.write_bytes(bytes(1_000_001))
    facts = files.keep(elsewhere)
    files.forget(facts)
    assert files.find(facts) is None


def test_a_moved_project_finds_its_files(workspace, tmp_path_factory):
    after = tmp_path_factory.mktemp("moved") / "project"
    (workspace / "small").write_text("x")
    facts = KeptFiles(workspace / ".tinyllm" / "journal" / "a.files").keep(workspace / "small")
    (workspace / ".tinyllm").rename(after.parent / ".tinyllm")
    found = KeptFiles(after.parent / ".tinyllm" / "journal" / "a.files").find(facts)
    assert found.read_text() == "x"


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../a.jsonl", "x/..", "hostname", "/", "../../../../../etc/hostname"]
)
def test_a_hostile_path_reads_and_deletes_nothing(files, workspace, path):
    files.keep_bytes({"file": b"x"}, "lineage")
    (files._folder.parent / "a.jsonl").write_text("x")
    facts = {"path": path, "origin": "../../etc/hostname", "digest": ""}
    assert files.find(facts) is None
    before = sorted(workspace.rglob("*"))
    files.forget(facts)
    assert sorted(workspace.rglob("*")) == before


def test_a_place_in_the_project_is_noted_from_there(workspace):
    assert place_in_project(Path("data/train.bin")) == "data/train.bin"
    assert place_in_project(workspace / "data") == "data"
    assert place_in_project(Path("/data/train.bin")) == "/data/train.bin"
