"""From raw files to splits: nothing is lost, nothing is in two of them."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import read_split
from tests.corpus.oracle import split_texts
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.splits import SPLITS, shard_name
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.corpus.shards import describe

FRACTIONS = st.floats(min_value=0.001, max_value=0.499)


def refusal(config, out):
    """The error message for a corpus, after which nothing is written."""
    with pytest.raises(TinyLLMError) as caught:
        prepare_corpus(config, out)
    assert not out.exists()
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in message
    assert message.endswith(".")
    return message


@given(st.text(), FRACTIONS, FRACTIONS)
def test_the_parts_of_a_text_make_the_text(text, val, test):
    parts = split_texts([text], val, test)
    assert list(parts) == list(SPLITS)
    assert "".join(parts.values()) == text
    assert len(parts["val"]) == round(len(text) * val)
    assert len(parts["test"]) == round(len(text) * test)


@given(st.lists(st.text(max_size=30), max_size=6), FRACTIONS, FRACTIONS)
def test_the_parts_of_several_texts_are_joined_in_order(texts, val, test):
    alone = [split_texts([text], val, test) for text in texts]
    together = split_texts(texts, val, test)
    assert together == {name: "".join(parts[name] for parts in alone) for name in SPLITS}


def test_no_share_for_test_leaves_it_empty():
    assert split_texts(["abcdefghij"], 0.2, 0) == {"train": "abcdefgh", "val": "ij", "test": ""}


def test_a_description_counts_characters_bytes_and_lines():
    facts = describe("b\na😀a\n")
    assert facts == {
        "characters": 6,
        "bytes": 9,
        "lines": 2,
        "fingerprint": hashlib.sha256("b\na😀a\n".encode()).hexdigest(),
        "alphabet": {"\n": 2, "a": 2, "b": 1, "😀": 1},
    }
    assert list(facts["alphabet"]) == ["\n", "a", "b", "😀"]


def test_the_splits_on_disk_make_the_corpus(prepared, text):
    assert "".join(read_split(prepared, name) for name in SPLITS) == text
    assert (
        len(read_split(prepared, "val"))
        == len(read_split(prepared, "test"))
        == round(len(text) * 0.1)
    )


def test_the_summary_describes_the_files(prepared):
    summary = json.loads((prepared / "summary.json").read_text(encoding="utf-8"))
    assert summary["files"] == 1
    assert sorted(path.name for path in prepared.iterdir()) == sorted(
        ["summary.json", *(f"{name}-00000.txt" for name in SPLITS)]
    )
    for name in SPLITS:
        facts = describe(read_split(prepared, name))
        shard = {
            "file": f"{name}-00000.txt",
            "characters": facts["characters"],
            "bytes": facts["bytes"],
            "sha256": facts["fingerprint"],
        }
        assert summary[name] == {**facts, "shards": [shard]}


@pytest.fixture
def plays(tmp_path):
    """A folder of two plays of ten characters."""
    folder = tmp_path / "plays"
    folder.mkdir()
    (folder / "1.txt").write_text("abcdefghij")
    (folder / "2.txt").write_text("ABCDEFGHIJ")
    return folder


@pytest.mark.parametrize(
    ("split_by", "train", "val", "test"),
    [("file", "abcdefgABCDEFG", "hH", "ijIJ"), ("corpus", "abcdefghijABCD", "EF", "GHIJ")],
)
def test_each_file_or_the_whole_corpus_is_cut(plays, tmp_path, split_by, train, val, test):
    config = PrepareConfig(
        source=str(plays), split_by=split_by, val_fraction=0.1, test_fraction=0.2
    )
    summary = prepare_corpus(config, tmp_path / "out")
    assert summary["files"] == 2
    assert [read_split(tmp_path / "out", name) for name in SPLITS] == [train, val, test]


def test_the_splits_are_of_clean_text(plays, tmp_path):
    (plays / "1.txt").write_bytes(b"\xef\xbb\xbf" + b"e\xcc\x81\r\n\r\n\r\nx[y] " * 4)
    (plays / "2.txt").unlink()
    config = PrepareConfig(source=str(plays), strip_stage_directions=True)
    prepare_corpus(config, tmp_path / "out")
    assert "".join(read_split(tmp_path / "out", name) for name in SPLITS) == "é\n\nx " * 4


def test_newlines_are_written_as_they_were_read_split(plays, tmp_path):
    raw = "a\r\nb\rc\n" * 10
    (plays / "1.txt").write_bytes(raw.encode())
    config = PrepareConfig(source=str(plays / "1.txt"), normalize_newlines=False)
    prepare_corpus(config, tmp_path / "out")
    assert "".join(read_split(tmp_path / "out", name) for name in SPLITS) == raw


def test_the_same_corpus_gives_the_same_bytes(plays, tmp_path):
    config = PrepareConfig(source=str(plays))
    prepare_corpus(config, tmp_path / "one")
    prepare_corpus(config, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_old_folder_is_replaced_completely(plays, tmp_path):
    out = tmp_path / "out"
    prepare_corpus(PrepareConfig(source=str(plays)), out)
    before = read_split(out, "train")
    (out / "train-00000.txt").write_text("stale")
    prepare_corpus(PrepareConfig(source=str(plays)), out)
    assert read_split(out, "train") == before


def test_a_folder_of_others_stays(plays, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds 'notes\.txt'"):
        prepare_corpus(PrepareConfig(source=str(plays)), tmp_path / "out")
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_shards_are_replaced_but_what_is_only_named_like_one_stays(plays, tmp_path):
    config, out = PrepareConfig(source=str(plays)), tmp_path / "out"
    prepare_corpus(config, out)
    for number in (0, 99_999, 100_000):
        (out / shard_name("train", number, "txt")).write_text("old")
    prepare_corpus(config, out)
    assert len(list(out.iterdir())) == 4
    (out / "train-notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds 'train-notes\.txt'"):
        prepare_corpus(config, out)
    assert (out / "train-notes.txt").read_text() == "mine"


def test_no_share_for_test_writes_no_shard_of_it(plays, tmp_path):
    prepare_corpus(PrepareConfig(source=str(plays), test_fraction=0), tmp_path / "out")
    assert not list((tmp_path / "out").glob("test*"))


def test_what_was_taken_left_out_and_detected_is_told(plays, tmp_path):
    (plays / "3.txt").write_bytes("é und ü\n".encode("utf-16"))
    (plays / "notes.md").write_text("mine")
    told = []
    prepare_corpus(
        PrepareConfig(source=str(plays), encoding="detect"), tmp_path / "out", told.append
    )
    assert told == [
        f"{plays}: taken 3 files, left out 1: 1 not *.txt (notes.md)",
        "  read as utf-8: 1.txt, 2.txt",
        "  read as utf-16: 3.txt",
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("copy.txt", "abcdefghij", ["1.txt", "copy.txt"]),
        ("list.txt", "".join(f"{n:04}\n" for n in range(500)), ["prepare.split_by"]),
        ("book.txt", "*** END OF THE PROJECT GUTENBERG EBOOK", ["prepare.strip_gutenberg"]),
    ],
)
def test_a_corpus_that_misleads_is_warned_of(plays, tmp_path, caplog, name, text, words):
    prepare_corpus(PrepareConfig(source=str(plays)), tmp_path / "out")
    assert caplog.text == ""
    (plays / name).write_text(text)
    if "list" in name:
        (plays / "1.txt").unlink()
    prepare_corpus(PrepareConfig(source=str(plays)), tmp_path / "out")
    assert all(word in caplog.text for word in words)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_a_corpus_without_text_is_refused(tmp_path, content):
    path = tmp_path / "play.txt"
    path.write_text(content)
    message = refusal(PrepareConfig(source=str(path)), tmp_path / "out")
    assert message == f"The corpus at {path} is empty; put some text into it."


@pytest.mark.parametrize(
    ("content", "val", "test", "name"),
    [("abcd", 0.1, 0.1, "val"), ("abcdef", 0.4, 0.01, "test"), ("ab", 0.49, 0.5, "train")],
)
def test_too_little_text_is_refused_with_the_split_that_it_lacks(
    tmp_path, content, val, test, name
):
    path = tmp_path / "play.txt"
    path.write_text(content)
    config = PrepareConfig(source=str(path), val_fraction=val, test_fraction=test)
    message = refusal(config, tmp_path / "out")
    assert message.startswith(f"The corpus at {path} has {len(content)} characters, too few")
    assert f"any for {name};" in message


def test_an_undecodable_byte_is_refused_with_file_and_offset(plays, tmp_path):
    (plays / "2.txt").write_bytes(b"abc\xff")
    message = refusal(PrepareConfig(source=str(plays)), tmp_path / "out")
    assert f"{plays / '2.txt'} is not utf-8: byte 0xff at offset 3" in message


def test_a_missing_corpus_is_refused(tmp_path):
    message = refusal(PrepareConfig(source=str(tmp_path / "none")), tmp_path / "out")
    assert message.startswith("There is no corpus at ")


def test_a_refused_corpus_leaves_the_old_folder(plays, tmp_path):
    out = tmp_path / "out"
    prepare_corpus(PrepareConfig(source=str(plays)), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (plays / "2.txt").write_bytes(b"\xff")
    with pytest.raises(TinyLLMError):
        prepare_corpus(PrepareConfig(source=str(plays)), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
