"""Texts of others: normalized like `unicodedata` does it, in linear time."""

import sys
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.base.code_points import code_points
from tinyllm.base.normalization import normalize

FORMS = ["NFC", "NFD", "NFKC", "NFKD"]
# starters that are marks when decomposed, marks that are several, of many classes
MARKS = "\u0301\u0323\u0f73\u0f71\u0344\u0345\u05b0\u3099\u0327\u1dce"
# what joins, changes or stays: syllables of Korean and their parts, vowel signs of Indian scripts
# in two parts, characters that become others, that become several, that compose to none
JOINING = (
    "e\u00e9\u0041\uac00\u1100\u1161\u11a8\u09c7\u09be\u0bc6\u0bd7\u212b\u2126\u0958\ufb01\u00a0"
)
TEXTS = st.text(st.characters() | st.sampled_from(MARKS + JOINING))


@pytest.mark.parametrize("form", FORMS)
@given(TEXTS, st.text(MARKS, max_size=300), TEXTS)
@settings(max_examples=300)
def test_a_text_is_normalized_as_unicode_says(form, before, marks, after):
    text = before + marks + after
    assert normalize(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["", "a", "\u0301", "\u1161", "\u1100\u1161"])
def test_every_character_is_normalized_as_unicode_says(form, around):
    text = around.join(map(chr, range(sys.maxunicode + 1)))
    assert normalize(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("pair", ["\u0301\u0323", "\u0f73", "\u0344\u0323", "e\u0301", "\u0301"])
def test_many_marks_take_linear_time(pair):
    since = time.process_time()
    normalize("NFC", "e" + pair * 100_000)
    assert time.process_time() - since < 3


@given(st.text(st.characters() | st.sampled_from("\ud800\udc00\xff\uffff\U00010000")))
def test_code_points_have_the_smallest_type_that_holds_them(text):
    codes = code_points(text)
    assert codes.tolist() == [ord(character) for character in text]
    largest = max(map(ord, text), default=0)
    assert codes.dtype == np.min_scalar_type(largest)
