"""Pieces of a stream: the same however it is divided, and cut where no word is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokens import pieces as module
from tinyllm.tokens.pieces import CHUNK, pieces

TEXTS = st.text(st.sampled_from("ab \n,'\u3001\u6f22")) | st.text()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pieces of ten to twenty characters."""
    monkeypatch.setattr(module, "PIECE", 10)
    monkeypatch.setattr(module, "_LONGEST", 20)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 100)))
def test_pieces_do_not_depend_on_how_the_text_is_divided(text, cuts):
    text *= 5
    ends = sorted({min(cut, len(text)) for cut in cuts})
    parts = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    found = list(pieces(parts))
    assert found == list(pieces([text]))
    assert "".join(found) == text
    assert all(10 <= len(piece) <= 20 for piece in found[:-1])


def test_a_piece_ends_in_front_of_white_space():
    assert list(pieces(["one two three four five six"])) == ["one two three", " four five six"]


def test_without_white_space_a_piece_ends_in_front_of_a_mark():
    text = "\u6f22" * 12 + "\u3001" + "\u6f22" * 12
    assert list(pieces([text])) == ["\u6f22" * 12, "\u3001" + "\u6f22" * 12]


def test_without_any_place_a_piece_ends_anywhere():
    assert [len(piece) for piece in pieces(["a" * 50])] == [20, 20, 10]


@given(st.text())
def test_chunks_make_the_text(text):
    assert "".join(CHUNK.findall(text)) == text
