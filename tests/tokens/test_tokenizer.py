"""The kinds of tokenizers: learned by params, opened by what they wrote, alike in promises."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers import KINDS, learned
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.tokens.byte_level import ByteTokenizer
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.tokenizer import TOKENIZERS, learn_tokenizer, load_tokenizer

# U+FFFD is what unknown characters become
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"))


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
@settings(max_examples=50)
def test_a_text_of_known_characters_round_trips(kind, text):
    tokenizer = CharacterTokenizer(text) if kind == "char" else learned(kind)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
@settings(max_examples=50)
def test_tokens_are_within_the_vocabulary_and_its_type(kind, text):
    tokenizer = learned(kind)
    tokens = tokenizer.encode(text)
    assert tokens.dtype == tokenizer.dtype
    assert all(0 <= token < tokenizer.vocab_size for token in tokens.tolist())
    assert np.iinfo(tokenizer.dtype).max >= tokenizer.vocab_size - 1


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
@settings(max_examples=50)
def test_a_text_that_arrives_token_by_token_is_the_text(kind, text):
    tokenizer = learned(kind)
    tokens = tokenizer.encode(text).tolist()
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokens]
    assert "".join([*pieces, stream.finish()]) == tokenizer.decode(tokens)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=50)
def test_whatever_tokens_a_model_writes_are_text(kind, data):
    tokenizer = learned(kind)
    tokens = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokens]
    assert "".join([*pieces, stream.finish()]) == tokenizer.decode(tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_only_characters_can_be_unknown(kind):
    tokenizer = learned(kind)
    if kind == "char":
        assert tokenizer.unknown("a\u2603") == ["\u2603"]
        assert tokenizer.unknown_id is not None
    else:
        assert tokenizer.unknown("a\u2603") == []
        assert tokenizer.unknown_id is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_is_opened_by_what_it_wrote(kind, tmp_path):
    tokenizer = learned(kind)
    tokenizer.save_state(tmp_path / "tokenizer.json")
    opened = load_tokenizer(tmp_path / "tokenizer.json")
    assert type(opened) is type(tokenizer)
    assert opened == tokenizer
    assert opened.unit == tokenizer.unit
    opened.save_state(tmp_path / "again.json")
    again = (tmp_path / "again.json").read_bytes()
    assert again == (tmp_path / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_beyond_the_vocabulary_are_refused(kind):
    tokenizer = learned(kind)
    for tokens in ([-1], [0, tokenizer.vocab_size]):
        with pytest.raises(ValueError, match=f"between 0 and {tokenizer.vocab_size - 1}"):
            tokenizer.decode(tokens)


def test_no_two_kinds_are_equal():
    tokenizers = [learned(kind) for kind in KINDS]
    assert len(set(tokenizers)) == len(KINDS)


@pytest.mark.parametrize(
    ("kind", "kind_of"),
    [("char", CharacterTokenizer), ("byte", ByteTokenizer), ("bpe", BytePairTokenizer)],
)
def test_a_tokenizer_is_learned_by_its_params(kind, kind_of):
    text = "to be or not to be " * 9
    config = TokenizeConfig(kind=kind, min_count=10, vocab_size=270)
    found = learn_tokenizer(config, Counter(text), iter([text]))
    assert type(found) is kind_of
    if kind == "char":
        assert found.alphabet == " beot"
    if kind == "bpe":
        assert found == BytePairTokenizer.learn([text], 270)


def test_only_byte_pairs_read_the_text():
    def unread():
        raise AssertionError
        yield

    for kind in ("char", "byte"):
        learn_tokenizer(TokenizeConfig(kind=kind), {"a": 1}, unread())


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match=r"tokenize\.kind"):
        TokenizeConfig.parse({"kind": "words"})


@pytest.mark.parametrize(
    "state",
    [
        {"format": "tinyllm-words-1", "alphabet": ["a"]},
        {"format": None, "alphabet": ["a"]},
        {"alphabet": ["a"]},
        {},
        [],
        "tinyllm-characters-1",
    ],
)
def test_a_tokenizer_of_an_unknown_kind_is_refused(tmp_path, state):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(state), encoding="utf-8")
    for opening in (load_tokenizer, *[kind.load_state for kind in TOKENIZERS.values()]):
        with pytest.raises(TinyLLMError) as caught:
            opening(path)
        assert str(caught.value).startswith(f"{path} was not written by this program; ")
