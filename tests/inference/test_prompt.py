"""Prompts as tokens: in the form that the model knows, with one warning for what it does not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.inference.prompt import encode_prompts, in_known_form
from tinyllm.tokens.characters import UNKNOWN_ID, CharacterTokenizer

FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@pytest.mark.parametrize(
    ("alphabet", "prompt", "form"),
    [
        ("caf\u00e9", "cafe\u0301", "caf\u00e9"),
        ("cafe\u0301", "caf\u00e9", "cafe\u0301"),
        ("fin1", "\ufb01n\uff11", "fin1"),
        ("a\n", "a\r\na\ra", "a\na\na"),
        ("a\r", "a\r\na\na", "a\ra\ra"),
        ("a\r\n", "a\r\na\ra\n", "a\r\na\ra\n"),
        ("e\u0301\u00e9", "e\u0301\u00e9", "e\u0301\u00e9"),
        ("\ud55c", "\u1112\u1161\u11ab", "\ud55c"),
        ("x", "\u2602", "\u2602"),
        ("e\u0301\n", "\u00e9\u2602\r\n", "e\u0301\u2602\n"),
    ],
)
def test_a_prompt_takes_the_form_that_is_known_best(alphabet, prompt, form):
    assert in_known_form(prompt, CharacterTokenizer(alphabet)) == form


@given(st.text(), st.sampled_from(FORMS))
def test_a_text_prepared_in_a_form_is_known_in_every_equal_form(text, form):
    tokenizer = CharacterTokenizer(unicodedata.normalize(form, text))
    for other in (unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
        assert not tokenizer.unknown(in_known_form(other, tokenizer))


@given(st.text(), st.frozensets(st.characters()))
def test_no_form_has_more_unknown_characters_than_the_prompt(text, known):
    def count(one):
        return sum(character not in known for character in one)

    assert count(in_known_form(text, CharacterTokenizer("".join(known)))) <= count(text)


def test_what_is_unknown_in_any_prompt_is_warned_of_in_one_line(caplog):
    tokenizer = CharacterTokenizer("ab")
    assert encode_prompts(tokenizer, ["a\u2602", "\u2603b", "ab"]) == [[1, 0], [0, 2], [1, 2]]
    (record,) = caplog.records
    assert "'\u2602' '\u2603'" in record.getMessage()


def test_an_empty_prompt_is_a_line_break():
    assert encode_prompts(CharacterTokenizer("a\n"), [""]) == [[1]]
    assert encode_prompts(CharacterTokenizer("a"), [""]) == [[UNKNOWN_ID]]
