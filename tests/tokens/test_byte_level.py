"""Bytes as tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizers import DIFFICULT
from tinyllm.tokens.byte_level import PRINTABLE, ByteTokenizer, spelled, whole_text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_tokens_are_the_bytes_of_utf8(text):
    assert ByteTokenizer().encode(text).tolist() == list(text.encode())


@given(st.binary())
def test_bytes_that_are_no_text_become_replacement_characters(data):
    assert ByteTokenizer().decode(list(data)) == data.decode("utf-8", "replace")


@pytest.mark.parametrize("text", DIFFICULT)
def test_difficult_texts_round_trip(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800", "\U0001f600\ud83d"])
def test_half_of_a_surrogate_pair_becomes_a_replacement_character(text):
    tokenizer = ByteTokenizer()
    expected = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    assert tokenizer.decode(tokenizer.encode(text)) == whole_text(text) == expected


def test_a_character_arrives_when_its_last_byte_does():
    stream = ByteTokenizer().stream()
    pieces = [stream.push(byte) for byte in "a\u00e9\U0001f600".encode()]
    assert pieces == ["a", "", "\u00e9", "", "", "", "\U0001f600"]
    assert stream.finish() == ""


def test_a_text_that_ends_inside_a_character_ends_in_a_replacement_character():
    stream = ByteTokenizer().stream()
    assert [stream.push(byte) for byte in "\U0001f600".encode()[:3]] == ["", "", ""]
    assert stream.finish() == "\ufffd"


def test_encoded_tokens_can_be_written_to():
    tokens = ByteTokenizer().encode("abc")
    tokens[0] = 98
    assert tokens.tolist() == [98, 98, 99]


def test_every_byte_has_a_printable_character_of_its_own():
    assert len(set(PRINTABLE)) == 256
    assert all(char.isprintable() and not char.isspace() for char in PRINTABLE)
    assert spelled(b" the\n") == "\u0120the\u010a"
    assert spelled(b"!~\xff\xa0") == "!~\u00ff\u0142"
