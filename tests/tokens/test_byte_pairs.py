"""Byte pairs as tokens: what the library makes of a text, faster, and the same from every state."""

import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers import DIFFICULT, learned
from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.byte_level import spelled
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.learn_pairs import new_library
from tinyllm.tokens.pieces import PIECE


def alone(tokenizer, text):
    """What the library makes of the whole text by itself."""
    vocabulary = {spelled(token): number for number, token in enumerate(tokenizer.token_bytes)}
    library = new_library(vocabulary, tokenizer.spelled_merges())
    return library.encode(text, add_special_tokens=False).ids


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab \n\t,.'s\u3000\u00e9"))
def test_the_tokens_are_those_of_the_library(text):
    tokenizer = learned("bpe")
    assert tokenizer.encode(text).tolist() == alone(tokenizer, text)


@pytest.mark.parametrize("text", DIFFICULT)
def test_difficult_texts_are_those_of_the_library_and_round_trip(text):
    tokenizer = learned("bpe")
    tokens = tokenizer.encode(text)
    assert tokens.tolist() == alone(tokenizer, text)
    assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([*range(0x3100), *range(0x3100, 0x110000, 97)], id="some"),
        pytest.param(range(0x110000), id="all", marks=[pytest.mark.slow, pytest.mark.exhaustive]),
    ],
)
def test_characters_are_split_as_the_library_splits_them(points):
    tokenizer = learned("bpe")
    known = [code for code in points if not 0xD800 <= code < 0xE000]
    random.Random(1).shuffle(known)
    for first in range(0, len(known), 50_000):
        text = "".join(f"e{chr(code)} the" for code in known[first : first + 50_000])
        assert tokenizer.encode(text).tolist() == alone(tokenizer, text)


def test_a_long_text_has_the_tokens_of_the_library(text):
    tokenizer = learned("bpe")
    long = (text * 20)[: 3 * PIECE + 17]
    assert tokenizer.encode(long).tolist() == alone(tokenizer, long)


@pytest.mark.parametrize("unit", ["a", " ", "\u6f22", "a\u3001", "\n"])
def test_a_text_without_places_to_cut_round_trips(unit):
    tokenizer = learned("bpe")
    text = (unit * 3 * PIECE)[: 3 * PIECE]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_joined_tokens_follow_the_bytes():
    tokenizer = BytePairTokenizer([("t", "h"), ("th", "e"), ("\u0120", "the")])
    assert tokenizer.token_bytes[256:] == [b"th", b"the", b" the"]
    assert tokenizer.encode("the the").tolist() == [257, 258]
    assert tokenizer.encode("th\u00e9").tolist() == [256, 0xC3, 0xA9]
    assert tokenizer.vocab_size == 259
    assert tokenizer.dtype == np.uint16


def test_two_pairs_may_make_one_token():
    tokenizer = BytePairTokenizer([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")])
    assert tokenizer.vocab_size == 256 + 3
    assert tokenizer.encode("abc").tolist() == [258]
    assert tokenizer.decode([258]) == "abc"


def test_without_pairs_the_tokens_are_bytes():
    tokenizer = BytePairTokenizer()
    assert tokenizer.encode("h\u00e9").tolist() == list("h\u00e9".encode())
    assert tokenizer.dtype == np.uint8


@pytest.mark.parametrize(
    ("merges", "why"),
    [
        ([("ab", "c")], "no token yet"),
        ([("a", "b"), ("a", "b")], "comes twice"),
        ([("a", "\u6f22")], "no token yet"),
    ],
)
def test_pairs_that_join_nothing_are_refused(merges, why):
    with pytest.raises(ValueError, match=why):
        BytePairTokenizer(merges)


@pytest.mark.parametrize(
    "merges",
    ['["ab c"]', '["a b", "a b"]', '["ab"]', '["a b c"]', '[["a", "b"]]', "[1]", "null", '" "'],
)
def test_a_damaged_state_is_refused(tmp_path, merges):
    path = tmp_path / "tokenizer.json"
    path.write_text(f'{{"format": "tinyllm-byte-pairs-1", "merges": {merges}}}')
    with pytest.raises(TinyLLMError) as caught:
        BytePairTokenizer.load_state(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is damaged: ")
    assert message.endswith("run the tokenize stage again.")


def test_a_tokenizer_can_be_sent_to_another_process(text):
    tokenizer = learned("bpe")
    sent = pickle.loads(pickle.dumps(tokenizer))
    assert sent == tokenizer
    assert sent.encode(text).tolist() == tokenizer.encode(text).tolist()


def test_words_beyond_those_that_are_kept_have_the_same_tokens(monkeypatch, text):
    expected = learned("bpe").encode(text).tolist()
    monkeypatch.setattr("tinyllm.tokens.byte_pairs._CACHED", 7)
    tokenizer = BytePairTokenizer(learned("bpe").spelled_merges())
    assert tokenizer.encode(text).tolist() == expected
    assert len(tokenizer._words) <= 7
