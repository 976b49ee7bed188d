"""Tokens in shards read like one array, and tokenize writes the same however it is done."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import read_split
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.splits import SPLITS
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.encode import tokenize_corpus
from tinyllm.tokens.shards import Tokens, load_tokens
from tinyllm.tokens.tokenizer import load_tokenizer

SHARDS = st.lists(
    st.lists(st.integers(0, 250), max_size=20).map(lambda found: np.array(found, dtype=np.uint8)),
    min_size=1,
    max_size=6,
)


@given(SHARDS, st.integers(-40, 130), st.integers(-40, 130))
def test_a_slice_is_that_of_the_joined_shards(shards, start, stop):
    whole, tokens = np.concatenate(shards), Tokens(shards, 251)
    assert len(tokens) == len(whole)
    assert tokens.dtype == whole.dtype
    assert np.array_equal(tokens[start:stop], whole[start:stop])
    assert np.array_equal(np.asarray(tokens), whole)


@given(SHARDS, st.integers(1, 5), st.data())
def test_windows_are_those_of_the_joined_shards(shards, length, data):
    whole = np.concatenate(shards)
    if len(whole) < length:
        return
    places = st.integers(0, len(whole) - length)
    starts = np.array(data.draw(st.lists(places, min_size=1, max_size=9)), dtype=np.int64)
    expected = np.stack([whole[start : start + length] for start in starts])
    assert np.array_equal(Tokens(shards, 251).windows(starts, length), expected)
    assert np.array_equal(Tokens.of(whole).windows(starts, length), expected)


@given(SHARDS, st.integers(1, 30), st.integers(0, 9))
def test_blocks_are_the_tokens_in_order_and_overlap(shards, size, overlap):
    whole = np.concatenate(shards)
    blocks = list(Tokens(shards, 251).blocks(size, overlap))
    for number, block in enumerate(blocks):
        first = max(0, number * size - overlap)
        assert np.array_equal(block, whole[first : (number + 1) * size])
    assert len(blocks) == -(-len(whole) // size)


def test_a_slice_within_a_shard_is_no_copy():
    shard = np.arange(9, dtype=np.uint8)
    assert np.shares_memory(Tokens([shard, shard], 9)[10:12], shard)


def mapped_bytes():
    """Of files, in the memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"RssFile:\s+(\d+) kB", status)[1]) * 1000


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's figures of memory")
def test_what_is_read_all_over_a_file_does_not_stay_in_memory(tmp_path):
    path = tmp_path / "tokens.bin"
    with path.open("wb") as file:
        for number in range(300):
            file.write(bytes([number % 200]) * 1_000_000)
    tokens = Tokens([np.memmap(path, dtype=np.uint8, mode="r")], 200)
    first, before = tokens[5:50], mapped_bytes()
    for start in range(0, len(tokens), 50_000):
        assert tokens[start : start + 2].tolist() == [start // 1_000_000 % 200] * 2
    for few in np.split(np.arange(0, len(tokens), 50_000), 600):
        assert np.array_equal(tokens.windows(few, 1)[:, 0], few // 1_000_000 % 200)
    assert mapped_bytes() - before < 100_000_000
    # a view that was given out reads on
    assert first.tolist() == [0] * 45


def test_a_token_beyond_the_vocabulary_is_refused_where_it_is_read():
    tokens = Tokens([np.array([1, 2], dtype=np.uint8), np.array([7], dtype=np.uint8)], 7, "tokens")
    assert tokens[:2].tolist() == [1, 2]
    for read in (lambda: tokens[1:], lambda: tokens.windows(np.array([1]), 2)):
        with pytest.raises(TinyLLMError, match="tokens holds the token 7, but there are only 7"):
            read()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A prepared folder of many shards, in three languages."""
    folder = tmp_path_factory.mktemp("shards")
    lines = "The sea is wide.\n", "Das Meer ist groß.\n", "Θάλασσα, θάλασσα 😀.\n"
    text = "".join(line * 40 for line in lines * 9)
    (folder / "raw.txt").write_text(text, encoding="utf-8")
    config = PrepareConfig(source=str(folder / "raw.txt"))
    prepare_corpus(config, folder / "prepared", unit=3000)
    assert len(list((folder / "prepared").iterdir())) > 8
    return folder / "prepared"


def test_shards_of_text_become_shards_of_tokens(shards, tmp_path):
    meta = tokenize_corpus(TokenizeConfig(), shards, tmp_path / "out")
    tokenizer = load_tokenizer(tmp_path / "out/tokenizer.json")
    for name in SPLITS:
        tokens = load_tokens(tmp_path / "out", name)
        assert tokenizer.decode(tokens[:]) == read_split(shards, name)
        assert len(meta["splits"][name]["shards"]) == len(list(shards.glob(f"{name}-*.txt")))


@pytest.mark.medium
def test_any_number_of_workers_gives_the_same_tokens(shards, tmp_path):
    for workers in (1, 2, 4):
        runtime = RuntimeConfig(workers=workers)
        tokenize_corpus(TokenizeConfig(), shards, tmp_path / f"{workers}", runtime)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    for workers in (2, 4):
        found = {path.name: path.read_bytes() for path in (tmp_path / f"{workers}").iterdir()}
        assert found == expected


def test_finished_shards_are_not_encoded_again(shards, tmp_path):
    broken = max(shards.glob("test-*.txt"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1])
    try:
        for _ in range(2):
            with pytest.raises(TinyLLMError, match="was changed after the prepare stage"):
                tokenize_corpus(TokenizeConfig(), shards, tmp_path / "out")
        (kept,) = tmp_path.glob(".*.parts.unfinished")
        before = {path: path.stat().st_mtime_ns for path in kept.glob("*.json")}
        assert len(before) > 8
    finally:
        broken.write_bytes(whole)
    marks = {path.name: path.stat().st_mtime_ns for path in kept.glob("train-*.bin")}
    tokenize_corpus(TokenizeConfig(), shards, tmp_path / "out")
    assert not list(tmp_path.glob(".*.unfinished"))
    # the same files, under their second name
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in marks} == marks
