"""Writing and reading token files."""

import hashlib
import json

import numpy as np
import pytest

from tests.conftest import read_split, write_prepared
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.splits import SPLITS
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.encode import tokenize_corpus
from tinyllm.tokens.shards import load_tokens


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
def splits(tmp_path):
    """Writes a prepared folder with the given texts."""

    def write(train="aab\r\n", val="ab", test="ba"):
        return write_prepared(tmp_path / "splits", train=train, val=val, test=test)

    return write


@pytest.mark.parametrize("split", SPLITS)
def test_the_tokens_of_a_split_decode_to_its_text(prepared, tokens, split):
    tokenizer = CharacterTokenizer.load_state(tokens / "tokenizer.json")
    assert tokenizer.decode(load_tokens(tokens, split)) == read_split(prepared, split)


def test_the_alphabet_is_that_of_the_training_split_only(splits, tmp_path):
    meta = tokenize_corpus(TokenizeConfig(), splits(val="axé", test="x"), tmp_path / "out")
    assert CharacterTokenizer.load_state(tmp_path / "out/tokenizer.json").alphabet == "\n\rab"
    assert meta["vocab_size"] == 5
    assert load_tokens(tmp_path / "out", "val")[:].tolist() == [3, 0, 0]


def test_the_metadata_describe_the_splits(splits, tmp_path):
    folder = splits(val="axéx", test="")
    meta = tokenize_corpus(TokenizeConfig(), folder, tmp_path / "out")
    assert json.loads((tmp_path / "out/meta.json").read_text(encoding="utf-8")) == meta
    assert meta["dtype"] == "uint8"
    assert meta["splits"]["train"]["unknown_characters"] == {}
    assert meta["splits"]["train"]["coverage"] == 1.0
    assert meta["splits"]["val"] == {
        "tokens": 4,
        "characters": 4,
        "bytes": 5,
        "fingerprint": hashlib.sha256("axéx".encode()).hexdigest(),
        "unknown_characters": {"x": 2, "é": 1},
        "coverage": 0.25,
        "shards": [
            {
                "file": "val-00000.bin",
                "tokens": 4,
                "sha256": hashlib.sha256(bytes([3, 0, 0, 0])).hexdigest(),
            }
        ],
    }
    assert meta["splits"]["test"]["tokens"] == 0
    assert meta["splits"]["test"]["coverage"] == 1.0


def test_rare_characters_of_the_training_split_become_unknown(splits, tmp_path):
    config = TokenizeConfig(min_count=2)
    meta = tokenize_corpus(config, splits(train="aaab"), tmp_path / "out")
    assert load_tokens(tmp_path / "out", "train")[:].tolist() == [1, 1, 1, 0]
    assert meta["splits"]["train"]["unknown_characters"] == {"b": 1}
    assert meta["splits"]["train"]["coverage"] == 0.75


def test_large_alphabets_are_written_in_two_bytes_little_endian(splits, tmp_path):
    alphabet = "".join(map(chr, range(0x1F300, 0x1F300 + 300)))
    meta = tokenize_corpus(TokenizeConfig(), splits(train=alphabet), tmp_path / "out")
    assert meta["dtype"] == "uint16"
    data = (tmp_path / "out/train-00000.bin").read_bytes()
    assert data == np.arange(1, 301, dtype="<u2").tobytes()
    assert load_tokens(tmp_path / "out", "train")[:].tolist() == list(range(1, 301))


def test_the_same_splits_give_the_same_bytes(prepared, tokens, tmp_path):
    tokenize_corpus(TokenizeConfig(), prepared, tmp_path / "again")
    names = sorted(path.name for path in tokens.iterdir())
    assert names == [
        "meta.json",
        "test-00000.bin",
        "tokenizer.json",
        "train-00000.bin",
        "val-00000.bin",
    ]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tokens / name).read_bytes()


def test_loaded_tokens_cannot_be_written_to(tokens):
    with pytest.raises(ValueError, match="read-only"):
        load_tokens(tokens, "train")[:9][0] = 1


def test_an_empty_split_loads_as_no_tokens(splits, tmp_path):
    tokenize_corpus(TokenizeConfig(), splits(test=""), tmp_path / "out")
    loaded = load_tokens(tmp_path / "out", "test")
    assert len(loaded) == len(loaded[:]) == 0
    assert loaded.dtype == np.uint8


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_split_is_refused(splits, tmp_path, split):
    folder = splits()
    (folder / f"{split}-00000.txt").unlink()
    message = refusal(tokenize_corpus, TokenizeConfig(), folder, tmp_path / "out")
    assert message.startswith(f"Cannot read {folder / f'{split}-00000.txt'}: ")
    assert "run the prepare stage again" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"ab", b"bab", b"b", b"\xff\xfe", b""])
def test_a_split_that_was_changed_is_refused(splits, tmp_path, data):
    folder = splits(val="ba")
    (folder / "val-00000.txt").write_bytes(data)
    message = refusal(tokenize_corpus, TokenizeConfig(), folder, tmp_path / "out")
    assert str(folder / "val-00000.txt") in message
    assert "run the prepare stage again" in message


def test_a_training_split_without_a_frequent_character_is_refused(splits, tmp_path):
    message = refusal(tokenize_corpus, TokenizeConfig(min_count=9), splits(), tmp_path / "out")
    assert "lower tokenize.min_count" in message
    assert not (tmp_path / "out").exists()


def test_tokens_without_metadata_are_refused(tmp_path):
    message = refusal(load_tokens, tmp_path, "train")
    assert message.startswith(f"Cannot read {tmp_path / 'meta.json'}: ")


@pytest.fixture
def encoded(splits, tmp_path):
    """A tokens folder with two-byte tokens that may be damaged."""
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    tokenize_corpus(TokenizeConfig(), splits(train=alphabet), tmp_path / "out")
    return tmp_path / "out"


def test_a_missing_token_file_is_refused(encoded):
    (encoded / "train-00000.bin").unlink()
    message = refusal(load_tokens, encoded, "train")
    assert message.startswith(f"Cannot read {encoded / 'train-00000.bin'}: ")


@pytest.mark.parametrize("size", [598, 2, 602])
def test_a_token_file_of_another_length_is_refused(encoded, size):
    (encoded / "train-00000.bin").write_bytes(b"\1\0" * (size // 2))
    message = refusal(load_tokens, encoded, "train")
    assert f"has {size} bytes instead of 600; run the tokenize stage again" in message


@pytest.mark.parametrize("size", [0, 599, 1])
def test_a_token_file_cut_within_a_token_is_refused(encoded, size):
    (encoded / "train-00000.bin").write_bytes(b"\0" * size)
    assert "run the tokenize stage again" in refusal(load_tokens, encoded, "train")
