"""Files are written completely, or not at all."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import (
    LARGEST_TEXT,
    read_csv,
    read_json,
    sha256,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)


def refusal(call, *arguments):
    """The error message."""
    with pytest.raises(TinyLLMError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert message.endswith(".")
    return message


def names(folder):
    """All entries of a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", b"x" * 1_000_000])
def test_bytes_are_written_as_they_are(tmp_path, data):
    write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert names(tmp_path) == ["file"]


def test_parent_folders_are_created(tmp_path):
    write_bytes(tmp_path / "a/b/file", b"x")
    assert (tmp_path / "a/b/file").read_bytes() == b"x"


def test_a_file_is_replaced_and_not_written_into(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    os.link(path, tmp_path / "link")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "link").read_bytes() == b"old and longer"


def test_text_is_written_in_utf8_with_its_newlines(tmp_path):
    write_text(tmp_path / "file", "é😀\r\n\n\r")
    assert (tmp_path / "file").read_bytes() == "é😀\r\n\n\r".encode()


def test_json_is_indented_readable_and_ends_in_a_newline(tmp_path):
    write_json(tmp_path / "file", {"é": [1, None]})
    assert (tmp_path / "file").read_text("utf-8") == '{\n  "é": [\n    1,\n    null\n  ]\n}\n'


@pytest.mark.parametrize("value", [None, [], "é😀\n", {"a": {"b": [1.5, True]}}, 1e-300])
def test_json_reads_back(tmp_path, value):
    write_json(tmp_path / "file", value)
    assert read_json(tmp_path / "file") == value


def test_a_folder_at_the_path_of_a_file_is_refused_and_nothing_is_left_behind(tmp_path):
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


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "file", "old")
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {1, 2})
    assert read_json(tmp_path / "file") == "old"
    assert names(tmp_path) == ["file"]


def test_reading_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "none"
    assert refusal(read_json, path) == f"Cannot read {path}: No such file or directory."


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense"])
def test_a_file_that_is_not_json_is_refused(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    message = refusal(read_json, tmp_path / "file")
    assert message.startswith(f"{tmp_path / 'file'} is damaged: it is not JSON (")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"{\xff")
    message = refusal(read_json, tmp_path / "file")
    assert message == f"{tmp_path / 'file'} is damaged: it is not UTF-8 at byte 1."


def test_a_file_that_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / "file").write_text("[" * 100_000, encoding="utf-8")
    assert "nested too deeply" in refusal(read_json, tmp_path / "file")


def test_a_folder_a_pipe_and_a_device_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "it is not a regular file"),
        (Path("/dev/zero"), "it is not a regular file"),
    ):
        for read in (read_json, sha256):
            assert refusal(read, path) == f"Cannot read {path}: {what}."


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    assert "more than the 200,000,000" in refusal(read_json, tmp_path / "file")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


@st.composite
def tables(draw):
    keys = draw(st.lists(st.text('abc_," \n', min_size=1, max_size=5), min_size=1, unique=True))
    values = st.lists(NUMBERS, min_size=len(keys), max_size=len(keys))
    rows = draw(st.lists(values, min_size=1, max_size=5))
    return [dict(zip(keys, row, strict=True)) for row in rows]


@settings(max_examples=30)
@given(tables())
def test_a_table_of_numbers_reads_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, rows)
    columns = list(rows[0])
    assert read_csv(path, columns) == rows
    assert [list(row) for row in read_csv(path, columns)] == [list(row) for row in rows]


def test_a_table_has_a_header_and_quotes_what_needs_it(tmp_path):
    write_csv(tmp_path / "file", [{"step": 1, "text": "a,b"}, {"step": 2, "text": "c"}])
    assert (tmp_path / "file").read_bytes() == b'step,text\n1,"a,b"\n2,c\n'
    assert names(tmp_path) == ["file"]


def test_a_table_with_only_a_header_has_no_rows(tmp_path):
    write_text(tmp_path / "file", "step,loss\n")
    assert read_csv(tmp_path / "file", ("step", "loss")) == []


@pytest.mark.parametrize(
    "data",
    [b"step,loss\n1,abc\n", b"step,loss\n1\n", b"step\n1\n", b"step,loss\n1,nan\n", b"a\n\0\n"],
)
def test_a_file_that_is_not_a_table_of_numbers_is_refused(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    message = refusal(read_csv, tmp_path / "file", ("step", "loss"))
    assert message == (
        f"{tmp_path / 'file'} is damaged: it is not a table of numbers with the columns step, loss."
    )


def test_reading_a_missing_table_is_refused(tmp_path):
    message = refusal(read_csv, tmp_path / "none", ("step",))
    assert message == f"Cannot read {tmp_path / 'none'}: No such file or directory."
