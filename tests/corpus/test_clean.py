"""Cleaning steps, separately and all in order."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.corpus.clean import clean_text
from tinyllm.corpus.config import PrepareConfig

NOTHING = {
    "normalize_newlines": False,
    "unicode_form": "none",
    "strip_stage_directions": False,
    "strip_headings": False,
    "collapse_blank_lines": False,
}
EVERYTHING = {"strip_stage_directions": True, "strip_headings": True}


def clean(text, **steps):
    """The text after only the given steps."""
    return clean_text(text, PrepareConfig(**(NOTHING | steps)))


@given(st.text())
def test_without_steps_the_text_stays_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\r\r\nb", "a\n\nb"),
        ("a\n\rb\r", "a\n\nb\n"),
        ("a\nb\n", "a\nb\n"),
    ],
)
def test_every_newline_becomes_a_line_feed(raw, cleaned):
    assert clean(raw, normalize_newlines=True) == cleaned


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_text_is_normalized_to_the_unicode_form(form):
    raw = "e\u0301 \u00e9 \ufb01 \u2126 \u1e9b\u0323 \U0001d400"
    assert clean(raw, unicode_form=form) == unicodedata.normalize(form, raw)
    assert clean(raw, unicode_form=form) != raw


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Speak [aside] now.", "Speak now."),
        ("Speak. [Exit\nwith both]\nMore", "Speak.\nMore"),
        ("[Thunder.]\nMore", "\nMore"),
        ("One [a] two [b] three", "One two three"),
        ("Enter DUKE and SON.\nDUKE:", "\nDUKE:"),
        ("  Exeunt.  \nMore", "\nMore"),
        ("Re-enter Ghost.", ""),
        ("Flourish. Alarum.", ""),
    ],
)
def test_stage_directions_are_dropped(raw, cleaned):
    assert clean(raw, strip_stage_directions=True) == cleaned


@pytest.mark.parametrize(
    "raw",
    ["Exits are many.\n", "I saw him Enter.\n", "Enter\nthe house", "an open [ bracket", "a ] b"],
)
def test_what_is_not_a_stage_direction_stays(raw):
    assert clean(raw, strip_stage_directions=True) == raw


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("ACT I. SCENE II. A hall.\nDUKE:\n", "\nDUKE:\n"),
        ("  SCENE III.\nGo.", "\nGo."),
        ("Act 1\nGo.", "\nGo."),
        ("PROLOGUE\nGo.", "\nGo."),
        ("EPILOGUE.", ""),
    ],
)
def test_headings_are_dropped(raw, cleaned):
    assert clean(raw, strip_headings=True) == cleaned


@pytest.mark.parametrize("raw", ["PROLOGUE:\nTwo houses", "ACTOR\n", "The SCENE changes.", "act"])
def test_what_is_not_a_heading_stays(raw):
    assert clean(raw, strip_headings=True) == raw


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\n\n\nb", "a\n\nb"),
        ("a\n \n\t\n\n  b", "a\n\n  b"),
        ("a\n\nb", "a\n\nb"),
        ("a\nb", "a\nb"),
        ("\n\n\na", "a"),
        ("a\n\n\n", "a\n\n"),
    ],
)
def test_runs_of_blank_lines_become_one(raw, cleaned):
    assert clean(raw, collapse_blank_lines=True) == cleaned


def test_blank_lines_that_removal_leaves_behind_are_collapsed():
    raw = "ACT I.\r\n\r\nEnter DUKE.\r\n\r\nDUKE:\r\nGo. [Exit]\r\n\r\nExeunt.\r\n\r\nSON:\r\n"
    assert clean_text(raw, PrepareConfig(**EVERYTHING)) == "DUKE:\nGo.\n\nSON:\n"


def test_directions_are_found_in_lines_that_end_in_carriage_returns():
    assert clean_text("a\rExit.\rb", PrepareConfig(**EVERYTHING)) == "a\n\nb"


def test_the_defaults_keep_directions_and_headings(text):
    raw = "ACT I.\nEnter DUKE.\nGo. [Exit]\n"
    assert clean_text(raw, PrepareConfig()) == raw
    assert clean_text(text, PrepareConfig()) == text


@given(st.text("ab[]. \t\n\rACTExit"))
def test_text_that_was_cleaned_by_default_is_clean(text):
    once = clean_text(text, PrepareConfig())
    assert clean_text(once, PrepareConfig()) == once
    assert "\r" not in once
    assert "\n\n\n" not in once
