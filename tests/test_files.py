"""Files and folders are there complete, or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tinyllm.errors import TinyLLMError
from tinyllm.files import new_directory, read_json, sha256, write_bytes, write_json, write_text


def refusal(call, *arguments):
    """The one sentence with which something is refused."""
    with pytest.raises(TinyLLMError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert message.endswith(".")
    return message


def names(folder):
    """All that stands in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", b"x" * 1_000_000])
def test_bytes_are_written_as_they_are(tmp_path, data):
    write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert names(tmp_path) == ["file"]


def test_folders_on_the_way_are_made(tmp_path):
    write_bytes(tmp_path / "a/b/file", b"x")
    assert (tmp_path / "a/b/file").read_bytes() == b"x"


def test_a_file_is_replaced_and_not_written_into(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    os.link(path, tmp_path / "link")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "link").read_bytes() == b"old and longer"


def test_text_is_written_in_utf8_with_newlines_as_they_stand(tmp_path):
    write_text(tmp_path / "file", "é😀\r\n\n\r")
    assert (tmp_path / "file").read_bytes() == "é😀\r\n\n\r".encode()


def test_json_is_indented_readable_and_ends_in_a_newline(tmp_path):
    write_json(tmp_path / "file", {"é": [1, None]})
    assert (tmp_path / "file").read_text("utf-8") == '{\n  "é": [\n    1,\n    null\n  ]\n}\n'


@pytest.mark.parametrize("value", [None, [], "é😀\n", {"a": {"b": [1.5, True]}}, 1e-300])
def test_json_reads_back(tmp_path, value):
    write_json(tmp_path / "file", value)
    assert read_json(tmp_path / "file") == value


def test_a_folder_in_the_place_of_a_file_is_refused_and_nothing_left_behind(tmp_path):
    (tmp_path / "file").mkdir()
    message = refusal(write_bytes, tmp_path / "file", b"x")
    assert message == f"Cannot write {tmp_path / 'file'}: Is a directory."
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("below", ["file/new", "file/a/b/new"])
def test_a_path_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"x")
    message = refusal(write_bytes, tmp_path / below, b"y")
    assert message.startswith(f"Cannot write {tmp_path / below}: ")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_what_json_cannot_hold_leaves_the_file_before_as_it_was(tmp_path):
    write_json(tmp_path / "file", "old")
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {1, 2})
    assert read_json(tmp_path / "file") == "old"
    assert names(tmp_path) == ["file"]


def test_reading_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "none"
    assert refusal(read_json, path) == f"Cannot read {path}: No such file or directory."


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"\xff\xfe"])
def test_a_file_that_is_no_json_is_refused(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    message = refusal(read_json, tmp_path / "file")
    assert message.startswith(f"{tmp_path / 'file'} is damaged: it is not JSON (")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A folder with a file in it."""
    (tmp_path / "folder/sub").mkdir(parents=True)
    (tmp_path / "folder/sub/old").write_text("old")
    return tmp_path / "folder"


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path, folder):
    with new_directory(folder) as temporary:
        assert names(temporary) == []
        assert temporary.parent == folder.parent
        (temporary / "deep").mkdir()
        (temporary / "deep/new").write_text("new")
        assert (folder / "sub/old").read_text() == "old"
    assert names(folder) == ["deep"]
    assert (folder / "deep/new").read_text() == "new"
    assert names(tmp_path) == ["folder"]


def test_a_new_folder_is_made_with_those_on_the_way(tmp_path):
    with new_directory(tmp_path / "a/b") as temporary:
        (temporary / "file").touch()
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "a/b") == ["file"]


def test_a_new_folder_may_be_read_by_everybody(tmp_path):
    with new_directory(tmp_path / "new"):
        pass
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


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
    def fail():
        with new_directory(folder) as temporary:
            (temporary / "new").write_text("half")
            raise error

    with pytest.raises(raised):
        fail()
    assert names(tmp_path) == ["folder"]
    assert names(folder) == ["sub"]
    assert (folder / "sub/old").read_text() == "old"


def test_a_block_that_raises_makes_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "new") as temporary:
        (temporary / "file").write_text(str(1 / 0))
    assert names(tmp_path) == []


def make(path):
    """A new folder with a file in it."""
    with new_directory(path) as temporary:
        (temporary / "file").touch()


@pytest.mark.parametrize("below", ["file/new", "file/a/new"])
def test_a_folder_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_bytes(b"x")
    assert refusal(make, tmp_path / below).startswith(f"Cannot write {tmp_path / below}: ")
    assert names(tmp_path) == ["file"]


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert refusal(make, tmp_path / "file").startswith(f"Cannot write {tmp_path / 'file'}: ")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_full_disk_is_explained_in_one_sentence(folder):
    def fail():
        with new_directory(folder):
            raise OSError(28, "No space left on device")

    assert refusal(fail) == f"Cannot write {folder}: No space left on device."


def test_two_folders_of_one_name_do_not_get_in_each_others_way(tmp_path):
    with new_directory(tmp_path / "new") as one:
        (one / "file").write_text(json.dumps(1))
        with new_directory(tmp_path / "new") as two:
            (two / "file").write_text(json.dumps(2))
        assert read_json(tmp_path / "new/file") == 2
    assert read_json(tmp_path / "new/file") == 1
    assert names(tmp_path) == ["new"]


def test_a_new_folder_keeps_the_list_of_what_git_ignores(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".gitignore").write_text("/curves.png\n", encoding="utf-8")
    (out / "old").touch()
    with new_directory(out) as folder:
        (folder / "new").touch()
    assert sorted(path.name for path in out.iterdir()) == [".gitignore", "new"]


def test_what_a_killed_process_left_is_cleared_away_and_a_living_ones_work_is_not(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tinyllm.files import new_directory\n"
        "with new_directory(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with new_directory(tmp_path / "out") as one, new_directory(tmp_path / "out") as two:
        assert sorted(tmp_path.iterdir()) == sorted([one, two])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
