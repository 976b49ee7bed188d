"""However a corpus is cut to be read, cleaned and written: the splits are those of whole texts."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import read_split
from tests.corpus.oracle import split
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.splits import SPLITS
from tinyllm.corpus.clean import clean_stream, clean_text, strip_gutenberg
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.cut import begins_anew, begins_text, find_cut
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.corpus.read import read_chunks
from tinyllm.corpus.shards import describe
from tinyllm.corpus.source import local_file
from tinyllm.corpus.units import divide

START = "*** START OF THE PROJECT GUTENBERG EBOOK X ***"
END = "*** END OF THIS PROJECT GUTENBERG"
# whatever a step of cleaning may find on both sides of a cut
PIECES = st.sampled_from(
    [
        *("a", "E", ".", ":", "*", "[", "]", "[a]", "Enter x.", "ACT I", "Exit", START, END),
        *("\r", "\n", "\r\n", "\n\n\n", " ", "\t", "\u00a0", "\u3000", "\ufeff", "😀"),
        *("é", "e\u0301", "\u0301\u0323", "\u212b", "\u09be", "\u09c7", "ﬁ"),
        *("\u1100", "\u1161", "\u11a8", "가"),
    ]
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)
CONFIGS = st.builds(
    PrepareConfig,
    normalize_newlines=st.booleans(),
    unicode_form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "none"]),
    strip_gutenberg=st.booleans(),
    strip_stage_directions=st.booleans(),
    strip_headings=st.booleans(),
    collapse_blank_lines=st.booleans(),
    split_by=st.sampled_from(["file", "corpus", "lines"]),
    val_fraction=st.sampled_from([0.1, 0.3]),
    test_fraction=st.sampled_from([0.0, 0.2]),
)


def in_chunks(text, size):
    return [text[start : start + size] for start in range(0, len(text), size)]


@given(TEXTS, CONFIGS, st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=1000)
def test_cleaning_in_pieces_is_cleaning_the_text(text, config, chunk, size):
    found = "".join(clean_stream(in_chunks(text, chunk), config, size))
    assert found == clean_text(text, config)


@given(
    st.lists(st.sampled_from(["a", "\n", "*", START, END, "x" * 501, "y" * 66_000]), max_size=12),
    st.sampled_from([700, 1000, 5000, 70_000]),
)
@settings(max_examples=200)
def test_a_book_is_the_same_however_it_is_read(parts, size):
    text = "".join(parts)
    whole = "".join(strip_gutenberg([text]))
    assert "".join(strip_gutenberg(in_chunks(text, size))) == whole


@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4), CONFIGS, st.integers(10, 90))
@settings(max_examples=150)
def test_small_units_and_shards_give_the_splits_of_whole_texts(
    tmp_path_factory, texts, config, unit
):
    folder = tmp_path_factory.mktemp("corpus") / "raw"
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(text.encode())
    clean = [clean_text(text.removeprefix("\ufeff"), config) for text in texts]
    expected = split(clean, config)
    config = config.model_copy(update={"source": str(folder)})
    out = folder.parent / "out"
    wanted = [name for name in SPLITS if name != "test" or config.test_fraction]
    if not all(expected[name] for name in wanted) or not "".join(clean).strip():
        with pytest.raises(TinyLLMError, match=r"too few to leave any|is empty"):
            prepare_corpus(config, out, unit=unit)
        return
    summary = prepare_corpus(config, out, unit=unit)
    for name in SPLITS:
        assert read_split(out, name) == expected[name]
        facts = describe(expected[name])
        assert {key: summary[name][key] for key in facts if key != "fingerprint"} == {
            key: value for key, value in facts.items() if key != "fingerprint"
        }
    assert not list(folder.parent.glob(".*unfinished"))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=2))
@settings(max_examples=500)
def test_normalization_does_not_reach_across_a_place_to_cut(text):
    from unicodedata import normalize

    for place in range(1, len(text)):
        if begins_anew(text, place):
            for form in ("NFC", "NFD", "NFKC", "NFKD"):
                parts = normalize(form, text[:place]), normalize(form, text[place:])
                assert "".join(parts) == normalize(form, text)


def test_a_line_is_a_better_place_than_any_other():
    assert find_cut("ab\ncd ef", begins_text) == 3
    assert find_cut("abcdef", begins_text) == 5
    assert find_cut("a\n\n \n", begins_text) == 0


CORPUS = "Où êtes-vous, ma chère?\r\n\r\n\r\nVoilà l'été 😀.\n" * 300


def spans_of(folder, unit):
    files = [local_file(path, path.name) for path in sorted(folder.iterdir())]
    units = divide(files, PrepareConfig(), unit)
    return [span for one in units for span in one.spans]


@pytest.mark.parametrize("unit", [64, 1000, 5001, 1 << 20])
def test_the_parts_of_a_large_file_are_the_file(tmp_path, unit):
    (tmp_path / "a.txt").write_text(CORPUS, encoding="utf-8", newline="")
    spans = spans_of(tmp_path, unit)
    assert len(spans) == 1 or len(spans) > len(CORPUS.encode()) / unit / 2
    parts = [
        "".join(read_chunks(span.file, PrepareConfig(), (span.begin, span.end))) for span in spans
    ]
    assert "".join(parts) == CORPUS


STORED = {
    "a.txt": lambda data: data,
    "a.txt.gz": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]),
    "a.txt.bz2": bz2.compress,
    "a.txt.xz": lzma.compress,
    "a.txt.zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("name", STORED)
def test_a_compressed_file_is_its_text(tmp_path, name):
    (tmp_path / name).write_bytes(STORED[name](CORPUS.encode()))
    config = PrepareConfig(source=str(tmp_path / name), normalize_newlines=False)
    config = config.model_copy(update={"collapse_blank_lines": False})
    prepare_corpus(config, tmp_path / "out")
    assert "".join(read_split(tmp_path / "out", split) for split in SPLITS) == CORPUS


@pytest.mark.parametrize("name", [name for name in STORED if name != "a.txt"])
def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(STORED[name](CORPUS.encode())[:-5])
    with pytest.raises(TinyLLMError) as caught:
        prepare_corpus(PrepareConfig(source=str(tmp_path / name)), tmp_path / "out")
    assert str(tmp_path / name) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_corpus_at_an_address_is_read(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for name in ("b.txt", "a.txt", "c.md", ".hidden.txt"):
        system.pipe(f"/corpus/{name}", f"{name} {CORPUS}".encode())
    config = PrepareConfig(source="memory://corpus", split_by="corpus", collapse_blank_lines=False)
    told = []
    prepare_corpus(config, tmp_path / "out", told.append)
    clean = "".join(clean_text(f"{name} {CORPUS}", config) for name in ("a.txt", "b.txt"))
    assert "".join(read_split(tmp_path / "out", split) for split in SPLITS) == clean
    assert told == ["memory://corpus: taken 2 of 4 files"]
    with pytest.raises(TinyLLMError, match=r"Nothing was found at memory://none"):
        prepare_corpus(PrepareConfig(source="memory://none"), tmp_path / "out")
    with pytest.raises(TinyLLMError, match=r"prepare\.source is nonsense://x"):
        prepare_corpus(PrepareConfig(source="nonsense://x"), tmp_path / "out")


@pytest.mark.parametrize("address", ["zip://x.txt", "ftp://host.invalid/x.txt"])
def test_an_address_that_cannot_be_reached_is_refused(tmp_path, address):
    with pytest.raises(TinyLLMError, match=rf"{address}, which cannot be reached .*check the"):
        prepare_corpus(PrepareConfig(source=address), tmp_path / "out")


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_an_address_on_this_machine_is_a_place_that_the_out_keeps_clear_of(tmp_path, scheme):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.txt").write_text(CORPUS, encoding="utf-8", newline="")
    config = PrepareConfig(source=f"{scheme}://{tmp_path}/raw")
    for out in ("raw", "raw/out"):
        with pytest.raises(ConfigError, match=r"lie in each other"):
            prepare_corpus(config, tmp_path / out)
    assert prepare_corpus(config, tmp_path / "out")["files"] == 1
