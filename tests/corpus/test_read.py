"""Finding and decoding raw text, with errors that name file and byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.corpus.detect import detect_encoding
from tinyllm.corpus.find import find_files
from tinyllm.corpus.read import read_text

FRENCH = "Où êtes-vous, ma chère? Voilà l'été, la forêt, le château et le garçon.\n" * 20


def refusal(call, *arguments):
    """The error message."""
    with pytest.raises(TinyLLMError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.fixture
def play(tmp_path):
    """Writes a file with the given bytes."""

    def write(data):
        path = tmp_path / "play.txt"
        path.write_bytes(data)
        return path

    return write


def test_a_file_is_its_own_corpus_whatever_the_pattern(tmp_path):
    path = tmp_path / "play.md"
    path.touch()
    assert find_files(path, "*.txt") == [path]


def test_files_of_a_folder_come_in_order_of_their_relative_paths(tmp_path):
    names = ["b.txt", "a/z.txt", "a.txt", "a/b/c.txt", "Z.txt", "a-b.txt"]
    for name in [*names, "other.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / "folder.txt").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_files(tmp_path, "*.txt")]
    assert found == sorted(names)


def test_a_pattern_may_name_a_folder(tmp_path):
    for name in ("one/a.txt", "two/a.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("text", encoding="utf-8")
    assert find_files(tmp_path, "two/*.txt") == [tmp_path / "two/a.txt"]


def test_a_missing_source_is_refused(tmp_path):
    message = refusal(find_files, tmp_path / "none", "*.txt")
    assert message.startswith(f"There is no corpus at {tmp_path / 'none'}, which cannot be found;")
    assert "prepare.source" in message


def test_a_folder_without_a_match_is_refused(tmp_path):
    (tmp_path / "play.md").touch()
    message = refusal(find_files, tmp_path, "*.txt")
    assert message.startswith(f"No file in {tmp_path} matches '*.txt' and holds text: ")
    assert "1 not *.txt (play.md)" in message
    assert "prepare.pattern" in message


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        (b"", "utf-8", ""),
        ("é€😀".encode(), "utf-8", "é€😀"),
        ("é€😀".encode(), "UTF8", "é€😀"),
        (b"\xe9\x80", "cp1252", "é€"),
        (b"\xe9", "latin-1", "é"),
        ("é😀".encode("utf-16"), "utf-16", "é😀"),
        ("é😀".encode("utf-32-be"), "utf-32-be", "é😀"),
        (b"a\r\nb\rc\n", "utf-8", "a\r\nb\rc\n"),
    ],
)
def test_bytes_are_decoded_and_newlines_kept(play, data, encoding, text):
    assert read_text(play(data), encoding) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_is_dropped(play, encoding):
    data = "\ufefftext \ufeff".encode(encoding.removesuffix("-sig"))
    assert read_text(play(data), encoding) == "text \ufeff"


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
@settings(max_examples=50)
def test_what_was_encoded_is_read_back(tmp_path_factory, text, encoding):
    path = tmp_path_factory.getbasetemp() / "encoded.txt"
    path.write_bytes(text.encode(encoding))
    assert read_text(path, encoding) == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("data", "encoding", "byte", "offset"),
    [
        (b"good \xff bad", "utf-8", "0xff", 5),
        (b"\x80", "utf-8", "0x80", 0),
        ("é".encode() * 1000 + b"\xc3", "utf-8", "0xc3", 2000),
        (b"good \x81 bad", "cp1252", "0x81", 5),
        ("abcé".encode(), "ascii", "0xc3", 3),
    ],
)
def test_an_undecodable_byte_is_named_with_file_and_offset(play, data, encoding, byte, offset):
    path = play(data)
    message = refusal(read_text, path, encoding)
    assert message.startswith(
        f"{path} is not {encoding}: byte {byte} at offset {offset} does not decode;"
    )
    assert "prepare.encoding" in message


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "zlib", "ünï"])
def test_what_is_not_a_text_encoding_is_refused(play, encoding):
    message = refusal(read_text, play(b"text"), encoding)
    assert message.startswith(f"prepare.encoding is {encoding!r}, which is not an encoding")


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "none.txt"
    assert refusal(read_text, path, "utf-8") == f"Cannot read {path}: No such file or directory."


def test_a_folder_cannot_be_read_as_text(tmp_path):
    assert refusal(read_text, tmp_path, "utf-8") == f"Cannot read {tmp_path}: it is a folder."


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encoding_of_a_file_is_detected(play, text, encoding):
    content = text[:2000] if encoding == "ascii" else FRENCH
    assert read_text(play(content.encode(encoding)), "detect") == content


def test_an_empty_file_has_an_encoding_too(play):
    assert read_text(play(b""), "detect") == ""


def test_bytes_without_a_detectable_encoding_are_refused(play):
    path = play(bytes(range(256)) * 4)
    message = refusal(read_text, path, "detect")
    assert message.startswith(f"The encoding of {path} could not be detected;")


def test_a_language_in_two_encodings_that_read_alike_is_refused(play):
    # cp1253 and ISO 8859-7 differ in the first letter alone
    text = "\u0386\u03bd\u03b4\u03c1\u03b1 \u03bc\u03bf\u03b9 \u03ad\u03bd\u03b5\u03c0\u03b5\n"
    path = play((text * 40).encode("cp1253"))
    message = refusal(read_text, path, "detect")
    assert message.startswith(f"The encoding of {path} is doubtful: it may be ")
    assert "prepare.encoding" in message


def test_the_beginning_of_a_file_may_end_within_a_character():
    text = "日本語の文章を読みます。ここに色々な漢字があります。\n学校へ行きました。\n"
    data = (text * 40).encode("shift_jis")
    for cut in range(4, 12):
        found = detect_encoding("a.txt", data[:-cut], whole=False)
        assert data.decode(found) == text * 40
