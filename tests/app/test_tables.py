"""Tables and lines show text as it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.app.tables import literal, make_table, show
from tinyllm.base.text import plain


@pytest.mark.parametrize(
    "text",
    [
        "[/x]",
        "[red]a[/red]",
        ":smile:",
        "[link=http://x]a",
        "\\[a]",
        "{a}",
        "%s",
        "`x`",
        "\\",
        "*a*",
    ],
)
def test_what_looks_like_markup_is_shown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(make_table((text, "b"), [(text, "1")], title=text), text)
    assert capsys.readouterr().out.count(text) == 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb", "a\\rb"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud83d", "\\ud83d"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_controls_are_shown_as_escapes(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(make_table(("a",), [(text,)]))
    assert shown in capsys.readouterr().out


def test_a_passage_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show(literal("one\n\x1b[31mtwo", passage=True))
    assert capsys.readouterr().out == "one\n\\x1b[31mtwo\n"


def test_lines_are_not_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    show("word " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1


@given(st.text())
def test_nothing_shown_can_steer_a_terminal(text: str) -> None:
    assert not {unicodedata.category(c) for c in plain(text)} & {"Cc", "Cs", "Zl", "Zp"}


@given(st.text().filter(str.isprintable))
def test_what_can_be_printed_is_left_alone(text: str) -> None:
    assert plain(text) == text
