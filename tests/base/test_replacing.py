"""Folders and files are replaced completely, or not at all."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.out_folders import FILE, FOLDER, make, names, put, refusal, snapshot
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.base.outs import check_places
from tinyllm.base.replacing import new_directory, remove_out, write_out


@pytest.fixture
def folder(tmp_path):
    """A folder written earlier."""
    make(tmp_path / "folder", "old")
    return tmp_path / "folder"


def test_a_new_folder_replaces_the_old_one(tmp_path, folder):
    with new_directory(folder, FOLDER) as temporary:
        assert names(temporary) == []
        assert temporary.parent == folder.parent
        (temporary / "mark").write_text("by test")
        assert (folder / "deep/file").read_text() == "old"
    assert names(folder) == ["mark"]
    assert names(tmp_path) == ["folder"]


def test_a_new_folder_is_created_with_its_parents(tmp_path):
    make(tmp_path / "a/b")
    assert names(tmp_path / "a") == ["b"]
    assert (tmp_path / "a/b/deep/file").read_text() == "new"


def test_a_new_folder_may_be_read_by_everybody(tmp_path):
    make(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("prepare", [Path.mkdir, lambda path: None])
def test_an_empty_folder_is_replaced(tmp_path, prepare):
    prepare(tmp_path / "out")
    make(tmp_path / "out")
    assert names(tmp_path / "out") == ["deep", "mark"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("no"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (TinyLLMError("no"), TinyLLMError),
        (OSError(28, "No space left on device"), TinyLLMError),
    ],
)
def test_a_block_that_raises_leaves_the_old_folder_untouched(tmp_path, folder, error, raised):
    before = snapshot(folder)

    def fail():
        with new_directory(folder, FOLDER) as temporary:
            (temporary / "mark").write_text("half")
            raise error

    with pytest.raises(raised):
        fail()
    assert names(tmp_path) == ["folder"]
    assert snapshot(folder) == before


def test_a_block_that_raises_creates_no_folder(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        new_directory(tmp_path / "new", FOLDER) as temporary,
    ):
        (temporary / "file").write_text(str(1 / 0))
    assert names(tmp_path) == []


@pytest.mark.parametrize("below", ["file/new", "file/a/new"])
def test_a_folder_below_a_file_cannot_be_written(tmp_path, below):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(TinyLLMError, match=f"^Cannot write {tmp_path / below}: "):
        make(tmp_path / below)
    assert names(tmp_path) == ["file"]
    message = refusal(check_places, {"--out": (tmp_path / below, FOLDER)})
    assert message.endswith(f"cannot be written, since {tmp_path / 'file'} is not a folder.")


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert refusal(make, tmp_path / "file") == f"{tmp_path / 'file'} is not a folder."
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_full_disk_is_explained_in_one_sentence(folder):
    def fail():
        with new_directory(folder, FOLDER):
            raise OSError(28, "No space left on device")

    with pytest.raises(TinyLLMError) as caught:
        fail()
    assert str(caught.value) == f"Cannot write {folder}: No space left on device."


def test_two_folders_of_the_same_name_do_not_interfere(tmp_path):
    with new_directory(tmp_path / "new", FOLDER) as one:
        (one / "mark").write_text("by test")
        (one / "file").write_text(json.dumps(1))
        with new_directory(tmp_path / "new", FOLDER) as two:
            (two / "mark").write_text("by test")
            (two / "file").write_text(json.dumps(2))
        assert read_json(tmp_path / "new/file") == 2
    assert read_json(tmp_path / "new/file") == 1
    assert names(tmp_path) == ["new"]


def test_a_new_folder_keeps_the_gitignore(folder):
    (folder / ".gitignore").write_text("/curves.png\n", encoding="utf-8")
    make(folder)
    assert (folder / ".gitignore").read_text(encoding="utf-8") == "/curves.png\n"
    assert (folder / "deep/file").read_text() == "new"


def test_a_folder_with_only_a_gitignore_counts_as_empty(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.gitignore").write_text("/curves.png\n", encoding="utf-8")
    make(tmp_path / "out")
    assert names(tmp_path / "out") == [".gitignore", "deep", "mark"]


def test_files_that_appear_while_the_command_works_stay(tmp_path, folder):
    def fail():
        with new_directory(folder, FOLDER):
            put("thesis.txt")(folder)

    assert "'thesis.txt'" in refusal(fail)
    assert (folder / "thesis.txt").read_text() == "mine"
    assert (folder / "deep/file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_link_to_the_commands_folder_is_followed_and_stays(tmp_path, folder):
    (tmp_path / "link").symlink_to("folder")
    make(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (folder / "deep/file").read_text() == "new"


def test_a_link_to_a_folder_of_others_is_refused(tmp_path):
    put("home/thesis.txt")(tmp_path)
    (tmp_path / "link").symlink_to("home")
    assert "'thesis.txt'" in refusal(make, tmp_path / "link")
    assert (tmp_path / "home/thesis.txt").read_text() == "mine"


def test_files_that_dvc_links_from_its_cache_count_as_the_commands(tmp_path, folder):
    cached = tmp_path / "cached"
    (folder / "deep/file").rename(cached)
    (folder / "deep/file").symlink_to(cached)
    make(folder)
    assert cached.read_text() == "old"
    assert (folder / "deep/file").read_text() == "new"


def test_the_old_folder_is_restored_if_the_new_one_cannot_be_renamed(tmp_path, folder, monkeypatch):
    before = snapshot(folder)
    rename, renamed = Path.rename, []

    def second_fails(path, target):
        renamed.append(path)
        if len(renamed) == 2:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(TinyLLMError, match="Input/output error"):
        make(folder)
    assert snapshot(folder) == before
    assert names(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tinyllm.base.replacing import new_directory
from tinyllm.base.outs import OutFolder
kind = OutFolder("tinyllm test", ("mark", "file", "deep/*"), mark="mark", sign=(b"by test",))
rename, renamed = Path.rename, []
def dies(path, target):
    renamed.append(path)
    if len(renamed) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = dies
with new_directory(Path(sys.argv[1]), kind) as folder:
    (folder / "mark").write_text("by test")
"""


@pytest.mark.parametrize("moment", [1, 2])
def test_a_kill_between_old_and_new_loses_neither(tmp_path, folder, moment):
    before = snapshot(folder)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(moment)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with new_directory(folder, FOLDER) as temporary:
        # the next one restores the old folder before it starts
        assert snapshot(folder) == before
        (temporary / "mark").write_text("by test")
    assert names(tmp_path) == ["folder"]


def test_files_of_a_place_with_a_longer_name_are_not_cleared(tmp_path):
    with new_directory(tmp_path / "out.999999", FOLDER) as other:
        (other / "mark").write_text("by test")
        make(tmp_path / "out")
    assert names(tmp_path) == ["out", "out.999999"]


def test_files_of_a_living_process_are_not_cleared(tmp_path):
    with new_directory(tmp_path / "out", FOLDER) as one, new_directory(tmp_path / "out", FOLDER):
        (one / "mark").write_text("by test")
        assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("before", [None, "", "by test, a sign"])
def test_a_file_replaces_an_empty_one_and_its_predecessor(tmp_path, before):
    if before is not None:
        (tmp_path / "page").write_text(before)
    check_places({"--out": (tmp_path / "page", FILE)})
    write_out(tmp_path / "page", b"new", FILE)
    assert (tmp_path / "page").read_bytes() == b"new"
    assert names(tmp_path) == ["page"]


@pytest.mark.parametrize(
    "content",
    [
        "mine",
        "by test, without it",
        "my words on what is by test, a sign",
        "by test" + 2000 * " " + "sign",
    ],
)
def test_a_file_of_others_stays(tmp_path, content):
    (tmp_path / "notes").write_text(content)
    message = refusal(write_out, tmp_path / "notes", b"new", FILE)
    assert message.startswith(f"{tmp_path / 'notes'} was not written by 'tinyllm test'; ")
    assert f"--out {message}" == refusal(check_places, {"--out": (tmp_path / "notes", FILE)})
    assert (tmp_path / "notes").read_text() == content


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link").symlink_to("notes")
    assert "was not written" in refusal(write_out, tmp_path / "link", b"new", FILE)
    (tmp_path / "notes").write_text("by test, a sign")
    write_out(tmp_path / "link", b"new", FILE)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "notes").read_bytes() == b"new"


@pytest.mark.parametrize("place", ["/dev/null", "pipe"])
def test_a_device_or_a_pipe_is_not_replaced(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert "is not a regular file" in refusal(write_out, Path(place), b"new", FILE)
    assert not Path(place).is_file()


def test_a_name_may_be_as_long_as_the_file_system_permits(tmp_path):
    for _ in range(2):
        make(tmp_path / ("x" * 250))
    assert names(tmp_path) == ["x" * 250]


def test_the_mode_of_the_old_folder_stays(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    make(tmp_path / "private")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700


def test_files_that_appear_just_before_the_rename_stay(tmp_path, folder, monkeypatch):
    rename = Path.rename

    def late(path, target):
        monkeypatch.undo()
        put("thesis.txt")(folder)
        return rename(path, target)

    def fail():
        with new_directory(folder, FOLDER) as temporary:
            (temporary / "mark").write_text("by test")
            monkeypatch.setattr(Path, "rename", late)

    assert "'thesis.txt'" in refusal(fail)
    assert (folder / "thesis.txt").read_text() == "mine"
    assert names(tmp_path) == ["folder"]


def test_removing_deletes_the_commands_folder_and_accepts_a_missing_one(tmp_path, folder):
    remove_out(folder, FOLDER)
    remove_out(folder, FOLDER)
    assert names(tmp_path) == []
