"""Texts of records: the same in JSON Lines and Parquet, and in memory that does not grow."""

import bz2
import gzip
import json
import lzma
import random
import tracemalloc

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import read_split
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.splits import SPLITS
from tinyllm.corpus import records as records_module
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.corpus.read import read_chunks
from tinyllm.corpus.source import local_file

RECORDS = [f"Record {number}: é😀\nand more" for number in range(500)]


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet"])
def records(request, tmp_path):
    path = tmp_path / f"records.{request.param}"
    if request.param == "parquet":
        parquet.write_table(pa.table({"id": range(500), "body": RECORDS}), path, row_group_size=99)
    else:
        lines = "".join(json.dumps({"id": 1, "body": text}) + "\n" for text in RECORDS)
        data = lines.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_records_are_read_in_order_each_ended_by_a_newline(records, tmp_path):
    config = PrepareConfig(source=str(records), text_column="body")
    prepare_corpus(config, tmp_path / "out")
    found = "".join(read_split(tmp_path / "out", split) for split in SPLITS)
    assert found == "".join(f"{text}\n" for text in RECORDS)


COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_records_are_read_from_every_compression(tmp_path, name, suffix):
    store(["One.", "Two."] * 50, tmp_path / name)
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(COMPRESS[suffix]((tmp_path / name).read_bytes()))
    assert "".join(chunks_of(path)) == "One.\nTwo.\n" * 50


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: b"no such thing" + data])
def test_what_does_not_decompress_is_damaged(tmp_path, name, suffix, spoil):
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(spoil(COMPRESS[suffix](random.Random(0).randbytes(5000).hex().encode())))
    with pytest.raises(TinyLLMError, match=r"is damaged: it does not decompress .*fetch it again"):
        list(chunks_of(path))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": "a\\ud800"}', "line 1, has half of a surrogate pair in 'text', at character 2"),
        ('{"body": "a", "id": 1}', r"has no text in 'text'; .*text_column .*, of body, id\."),
        ("{}", r"has no text in 'text'; .*, of none\."),
        ("[1, 2]", "is no JSON object in UTF-8"),
    ],
)
def test_a_line_that_is_no_record_is_told_what_it_is(tmp_path, line, why):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(TinyLLMError, match=why):
        list(chunks_of(tmp_path / "a.jsonl"))


def store(texts, path):
    """Write records with these texts."""
    if path.suffix == ".parquet":
        table = pa.table({"text": pa.array(texts, pa.string())})
        # a page ends after so many rows at the earliest
        parquet.write_table(table, path, write_batch_size=2)
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def chunks_of(path, **params):
    return read_chunks(local_file(path, path.name), PrepareConfig(**params))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_records_without_text_give_none(tmp_path, name):
    store(["a", "", None, "b\n", "\n"], tmp_path / name)
    assert "".join(chunks_of(tmp_path / name)) == "a\nb\n\n"


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
def test_every_type_of_text_in_parquet_is_read(kind, tmp_path):
    texts = pa.array(["One.", None, "Two.", "One."]).cast(kind)
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert "".join(chunks_of(tmp_path / "a.parquet")) == "One.\nTwo.\nOne.\n"


def test_a_parquet_column_of_numbers_is_no_text(tmp_path):
    parquet.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(TinyLLMError, match="has int64 in 'text', not text"):
        list(chunks_of(tmp_path / "a.parquet"))


def test_a_parquet_text_that_is_no_utf_8_is_refused(tmp_path):
    good = pa.array([b"a", b"\xff"])
    texts = pa.Array.from_buffers(pa.string(), len(good), good.buffers())
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    with pytest.raises(TinyLLMError, match=r"a\.parquet has a text in 'text' that is not UTF-8"):
        list(chunks_of(tmp_path / "a.parquet"))


@pytest.mark.parametrize("size", [1000, 400_000])
def test_a_group_of_rows_is_not_read_at_once(tmp_path, size):
    rng = random.Random(0)
    texts = [rng.randbytes(size // 2).hex() for _ in range(24_000_000 // size)]
    store(texts, tmp_path / "a.parquet")
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 1
    before, count = pa.total_allocated_bytes(), 0
    # the file is read by Python, and decoded by pyarrow
    tracemalloc.start()
    for chunk in chunks_of(tmp_path / "a.parquet"):
        count += len(chunk)
        assert pa.total_allocated_bytes() - before < 8_000_000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == sum(len(text) + 1 for text in texts)
    assert most < 8_000_000


def test_a_record_of_the_longest_length_is_read_and_a_longer_one_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    store(["x" * 100] * 3, path)
    length = path.stat().st_size // 3
    monkeypatch.setattr(records_module, "_LONGEST_RECORD", length)
    assert "".join(chunks_of(path)) == ("x" * 100 + "\n") * 3
    store(["x" * 100, "x" * 101], path)
    with pytest.raises(TinyLLMError, match=rf"a\.jsonl, line 2, is longer than the {length} bytes"):
        list(chunks_of(path))


def test_records_are_read_as_utf_8_whatever_is_detected(tmp_path):
    store(["Über alles.\n" * 99], tmp_path / "a.jsonl")
    told = []
    config = PrepareConfig(source=str(tmp_path / "a.jsonl"), encoding="detect")
    prepare_corpus(config, tmp_path / "out", told.append)
    assert told[1:] == ["  read as utf-8: a.jsonl"]


def test_a_column_that_is_not_there_is_named(records, tmp_path):
    config = PrepareConfig(source=str(records), text_column="content")
    with pytest.raises(TinyLLMError, match=r"'content'.*prepare\.text_column"):
        prepare_corpus(config, tmp_path / "out")
