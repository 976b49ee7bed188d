"""Texts of others: normalized like `unicodedata` does it, in linear time."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.base.text import normalize

# starters that are marks when decomposed, marks that are several, of many classes
MARKS = "\u0301\u0323\u0f73\u0f71\u0344\u0345\u05b0\u3099\u0327\u1dce"


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@given(st.text(), st.text(MARKS, min_size=60, max_size=300), st.text(MARKS + "e\u00e9\uac00"))
@settings(deadline=None, max_examples=200)
def test_a_text_is_normalized_as_unicode_says(form, before, marks, after):
    text = before + marks + after
    assert normalize(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("pair", ["\u0301\u0323", "\u0f73", "\u0344\u0323", "e\u0301", "\u0301"])
def test_many_marks_take_linear_time(pair):
    since = time.process_time()
    normalize("NFC", "e" + pair * 100_000)
    assert time.process_time() - since < 3
