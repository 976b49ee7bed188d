"""Characters to numbers and back, for every alphabet."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.characters import UNKNOWN_ID, CharacterTokenizer

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(CHARACTERS)
ASTRAL = st.text(st.characters(min_codepoint=0x10000), min_size=1)


def refusal(path):
    """The error message for a file."""
    with pytest.raises(TinyLLMError) as caught:
        CharacterTokenizer.load_state(path)
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert message.endswith(".")
    return message


@given(TEXTS | ASTRAL)
def test_a_text_of_known_characters_round_trips(text):
    tokenizer = CharacterTokenizer(text)
    tokens = tokenizer.encode(text)
    assert len(tokens) == len(text)
    assert UNKNOWN_ID not in tokens
    assert tokenizer.decode(tokens) == text


@given(TEXTS, TEXTS | ASTRAL)
def test_unknown_characters_become_the_replacement_character(alphabet, text):
    tokenizer = CharacterTokenizer(alphabet)
    tokens = tokenizer.encode(text)
    assert [token == UNKNOWN_ID for token in tokens] == [char not in alphabet for char in text]
    expected = "".join(char if char in alphabet else "\ufffd" for char in text)
    assert tokenizer.decode(tokens) == expected


@given(TEXTS)
def test_decoded_tokens_encode_to_the_same_tokens(alphabet):
    tokenizer = CharacterTokenizer(alphabet)
    tokens = np.arange(1, tokenizer.vocab_size)
    assert tokenizer.encode(tokenizer.decode(tokens)).tolist() == tokens.tolist()


@given(TEXTS | ASTRAL)
@settings(max_examples=40)
def test_a_saved_tokenizer_loads_as_the_same_one(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    tokenizer = CharacterTokenizer(text)
    tokenizer.save_state(path)
    loaded = CharacterTokenizer.load_state(path)
    assert loaded.alphabet == tokenizer.alphabet
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.dtype == tokenizer.dtype
    assert np.array_equal(loaded.encode(text), tokenizer.encode(text))


def test_a_null_character_in_a_text_is_encoded_like_any_other():
    assert CharacterTokenizer("a\0b").encode("\0ab").tolist() == [1, 2, 3]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_unknown_rather_than_an_error(text):
    tokens = CharacterTokenizer("ab\uffff").encode(text)
    assert tokens.tolist().count(UNKNOWN_ID) == 1
    assert len(tokens) == len(text)


def test_neighbors_of_known_characters_are_unknown():
    tokenizer = CharacterTokenizer("bd")
    assert tokenizer.encode("abcde").tolist() == [0, 1, 0, 2, 0]
    assert tokenizer.encode("\U0010ffff").tolist() == [0]


def test_characters_are_numbered_by_code_point_whatever_their_order():
    assert CharacterTokenizer("cabbage").alphabet == "abceg"
    assert CharacterTokenizer("😀aé").encode("aé😀").tolist() == [1, 2, 3]


def test_an_empty_tokenizer_knows_nothing():
    tokenizer = CharacterTokenizer()
    assert tokenizer.vocab_size == 1
    assert tokenizer.encode("abc").tolist() == [0, 0, 0]
    assert tokenizer.encode("").tolist() == []
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "uint8"), (255, "uint8"), (256, "uint16"), (65_536, "uint32")]
)
def test_tokens_have_the_smallest_type_that_holds_them(size, dtype):
    first = 0xF0000
    alphabet = "".join(map(chr, range(first, first + size)))
    tokenizer = CharacterTokenizer(alphabet)
    assert tokenizer.dtype == np.dtype(dtype)
    tokens = tokenizer.encode(alphabet)
    assert tokens.dtype == np.dtype(dtype)
    assert tokens[-1] == size
    assert tokenizer.decode(tokens[-3:]) == alphabet[-3:]


@pytest.mark.parametrize("tokens", [[-1], [4], [0, 1, 99], np.array([[1, 4]])])
def test_tokens_beyond_the_vocabulary_are_refused(tokens):
    with pytest.raises(ValueError, match="tokens must lie between 0 and 3"):
        CharacterTokenizer("abc").decode(tokens)


def test_tokens_of_any_shape_and_type_are_decoded():
    tokenizer = CharacterTokenizer("abc")
    assert tokenizer.decode(np.array([[1, 2], [3, 0]], dtype=np.uint8)) == "abc\ufffd"
    assert tokenizer.decode((3, 3)) == "cc"


def test_learning_takes_the_characters_of_a_text(text):
    tokenizer = CharacterTokenizer.learn(Counter(text))
    assert tokenizer.alphabet == "".join(sorted(set(text)))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("min_count", "alphabet"), [(1, "abc😀"), (2, "bc😀"), (3, "c😀"), (4, "😀")]
)
def test_learning_leaves_rare_characters_out(min_count, alphabet):
    assert CharacterTokenizer.learn(Counter("abbccc😀😀😀😀"), min_count).alphabet == alphabet


@pytest.mark.parametrize(("text", "min_count"), [("", 1), ("abc", 2)])
def test_learning_without_a_frequent_character_is_refused(text, min_count):
    with pytest.raises(TinyLLMError) as caught:
        CharacterTokenizer.learn(Counter(text), min_count)
    assert f"occurs {min_count} times" in str(caught.value)
    assert "tokenize.min_count" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_saved_tokenizer_is_plain_json(tmp_path):
    CharacterTokenizer("é\na").save_state(tmp_path / "tokenizer.json")
    state = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert state == {
        "format": "tinyllm-characters-1",
        "unknown": "<unk>",
        "alphabet": ["\n", "a", "é"],
    }


def test_a_missing_tokenizer_is_refused(tmp_path):
    path = tmp_path / "none.json"
    assert refusal(path) == f"Cannot read {path}: No such file or directory."


@pytest.mark.parametrize("content", ["", "{", '{"format": "tinyllm-charac', "\udcff"])
def test_a_damaged_tokenizer_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert refusal(path).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"format": "other", "alphabet": []}'])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    assert refusal(path) == f"{path} was not written by this program; run the tokenize stage again."


def test_a_character_is_unknown_if_the_alphabet_lacks_it():
    tokenizer = CharacterTokenizer("abc")
    assert tokenizer.unknown("cab") == []
    assert tokenizer.unknown("xa\u2603x") == ["x", "\u2603"]
    assert tokenizer.unknown_id == UNKNOWN_ID


def test_a_text_arrives_character_by_character():
    tokenizer = CharacterTokenizer("a\u00e9\U0001f600")
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokenizer.encode("\U0001f600\u00e9x")]
    assert [*pieces, stream.finish()] == ["\U0001f600", "\u00e9", "\ufffd", ""]


def test_tokenizers_are_equal_if_their_alphabets_are():
    assert CharacterTokenizer("ab") == CharacterTokenizer("ba")
    assert CharacterTokenizer("ab") != CharacterTokenizer("abc")
    assert len({CharacterTokenizer("ab"), CharacterTokenizer("bab")}) == 1
