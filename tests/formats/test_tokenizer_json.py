"""The tokenizer in Hugging Face's format round-trips."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.tokenizer_json import (
    huggingface_tokenizer,
    huggingface_tokenizer_config,
    tokenizer_from_huggingface,
)
from tinyllm.tokens.characters import UNKNOWN_ID, UNKNOWN_TOKEN, CharacterTokenizer

ALPHABET = "\n\r\t !<>abknuzé😀\u0301"


@pytest.fixture(scope="module")
def rust():
    """The tokenizer of `ALPHABET` as Hugging Face's own library reads it."""
    description = huggingface_tokenizer(CharacterTokenizer(ALPHABET))
    tokenizer = Tokenizer.from_str(json.dumps(description))
    # as transformers does, by `split_special_tokens` in the configuration
    tokenizer.encode_special_tokens = True
    return tokenizer


@given(st.text())
@settings(max_examples=50)
def test_a_tokenizer_comes_back_from_its_file(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "hf-tokenizer.json"
    tokenizer = CharacterTokenizer(text)
    path.write_text(json.dumps(huggingface_tokenizer(tokenizer)), encoding="utf-8")
    assert tokenizer_from_huggingface(path).alphabet == tokenizer.alphabet


def test_the_vocabulary_numbers_characters_as_ours_does(text):
    tokenizer = CharacterTokenizer(text)
    vocabulary = huggingface_tokenizer(tokenizer)["model"]["vocab"]
    assert len(vocabulary) == tokenizer.vocab_size
    assert vocabulary.pop(UNKNOWN_TOKEN) == UNKNOWN_ID
    for char, token in vocabulary.items():
        assert tokenizer.encode(char).tolist() == [token]


@given(st.text(st.sampled_from(ALPHABET)) | st.text())
def test_their_library_gives_the_same_tokens(rust, text):
    assert rust.encode(text).ids == CharacterTokenizer(ALPHABET).encode(text).tolist()


@pytest.mark.parametrize("text", ["<unk>", "a <unk> b", "a  b", "ab\r\n\r\nba", " a ", "😀e\u0301"])
def test_their_library_sees_no_special_tokens(rust, text):
    expected = CharacterTokenizer(ALPHABET).encode(text).tolist()
    assert rust.encode(text).ids == expected


@given(st.text(st.sampled_from(ALPHABET)))
def test_their_library_joins_characters_without_spaces(rust, text):
    tokens = CharacterTokenizer(ALPHABET).encode(text).tolist()
    assert rust.decode(tokens, False) == text


def test_their_library_leaves_padding_out_of_texts(rust):
    assert rust.decode([UNKNOWN_ID, UNKNOWN_ID, 5, UNKNOWN_ID]) == rust.decode([5])


def test_the_configuration_names_what_programs_ask_for():
    config = huggingface_tokenizer_config(CharacterTokenizer(ALPHABET), 48)
    assert config["model_max_length"] == 48
    assert config["clean_up_tokenization_spaces"] is False
    for token in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert config[token] == UNKNOWN_TOKEN


def refusal(path):
    """The error message for a file."""
    with pytest.raises(TinyLLMError) as caught:
        tokenizer_from_huggingface(path)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert message.endswith(".")
    return message


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "none.json"
    assert refusal(path) == f"Cannot read {path}: No such file or directory."


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"vocab": {"<unk>": 0, "a"')
    assert refusal(path).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize(
    "description",
    [[], {}, None, {"model": None}, {"model": {}}, {"model": {"vocab": {"a": 1}}}],
)
def test_a_file_of_another_kind_is_refused(tmp_path, description):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(description))
    assert refusal(path) == f"{path} is not a tokenizer that this program wrote."
