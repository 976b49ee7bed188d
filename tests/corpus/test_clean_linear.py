"""The fast patterns of cleaning find what the plain ones found, on any text."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.corpus.clean import clean_text, has_gutenberg, strip_gutenberg
from tinyllm.corpus.config import PrepareConfig

# the oracle: a bracket with the blanks before it, as one writes it without a thought of time
PLAIN = re.compile(r"[ \t]*\[[^\[\]]*\]")
PIECES = st.sampled_from([" ", "\t", "[", "]", "\n", "a", "  ", "[a]", " [", "] ", "[[", "\r"])
MARKS = {
    "START": "*** START OF THE PROJECT GUTENBERG EBOOK A ***",
    "END": "***END OF THIS PROJECT GUTENBERG EBOOK A, AND\nITS TITLE***",
}


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(" \t[]\nab"))
@settings(max_examples=2000)
def test_brackets_are_dropped_as_by_the_plain_pattern(text):
    config = PrepareConfig(
        normalize_newlines=False,
        unicode_form="none",
        strip_stage_directions=True,
        collapse_blank_lines=False,
    )
    assert clean_text(text, config) == PLAIN.sub("", text)


@pytest.mark.parametrize(
    "line",
    [" ", "\t ", "[", "]", "[a", " [", "\n", "\n ", ".", ". ", ":", "\r", "*", "*** START OF THE "],
)
@pytest.mark.parametrize("head", ["", "Enter ", "ACT ", "\n"])
def test_cleaning_takes_linear_time(head, line):
    config = PrepareConfig(strip_stage_directions=True, strip_headings=True, strip_gutenberg=True)
    since = time.process_time()
    clean_text(head + line * 200_000 + "x", config)
    assert time.process_time() - since < 2


@pytest.mark.parametrize(
    ("text", "book"),
    [
        ("no book", "no book"),
        ("head\n{START}\nbook\n{END}\nlicence", "\nbook\n"),
        ("head\n{START}\none\n{END}\nx\n{START}\ntwo\n{END}\ny", "\none\n\ntwo\n"),
        ("head\n{START}\nbook", "\nbook"),
        ("book\n{END}\nlicence", "book\n"),
    ],
)
def test_a_book_is_what_lies_between_the_marks(text, book):
    text = text.format(**MARKS)
    assert "".join(strip_gutenberg([text])) == book
    assert has_gutenberg(text) == ("{" in text or "***" in text)
    assert not has_gutenberg(book)
