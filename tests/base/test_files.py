"""Files and folders are there complete, or not at all."""

import hashlib
import os

import pytest

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json, sha256, write_bytes, write_json, write_text


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
