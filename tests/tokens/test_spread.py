"""Parts that stand for the whole: bounded, in order, and evenly spread."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokens.spread import Spread

SIZES = st.integers(1, 10**13)


@given(total=SIZES, most=SIZES, shortest=st.integers(1, 10**6))
def test_pieces_lie_in_the_sequence_one_after_the_other(total, most, shortest):
    spread = Spread.over(total, most, shortest)
    ranges = list(spread.ranges())
    assert ranges[0][0] == 0
    assert all(end - start == spread.length > 0 for start, end in ranges)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
    assert ranges[-1][1] <= total
    assert len(spread) == sum(end - start for start, end in ranges) <= max(most, 1)


@given(total=SIZES, most=SIZES, shortest=st.integers(1, 10**6))
def test_pieces_are_as_far_apart_and_as_large_as_they_can_be(total, most, shortest):
    spread = Spread.over(total, most, shortest)
    apart = {b[0] - a[0] for a, b in itertools.pairwise(spread.ranges())}
    assert not apart or max(apart) - min(apart) <= 1
    assert len(spread) > min(most, total) - min(spread.length, spread.pieces)
    assert spread.pieces == 1 or spread.length >= shortest
    assert spread.pieces <= 1024


@given(total=SIZES, more=st.integers(0, 10))
def test_what_is_not_longer_than_allowed_is_taken_whole(total, more):
    for most in (0, total + more):
        spread = Spread.over(total, most)
        assert list(spread.ranges()) == [(0, total)]
        assert spread.is_whole
    assert not Spread.over(total + 1, total).is_whole


@given(total=st.integers(1, 3000), most=st.integers(1, 3000))
def test_places_are_those_of_the_pieces(total, most):
    spread = Spread.over(total, most)
    places = [spread.place(index) for index in range(len(spread))]
    assert places == [place for start, end in spread.ranges() for place in range(start, end)]


def test_a_million_of_a_terabyte_are_a_thousand_passages():
    spread = Spread.over(10**12, 10**6)
    assert (spread.pieces, spread.length, len(spread)) == (1023, 977, 999_471)


def test_an_empty_sequence_is_whole():
    assert Spread.over(0, 5).is_whole
    assert list(Spread.over(0, 0).ranges()) == [(0, 0)]


@pytest.mark.parametrize("shortest", [11, 10**9])
def test_a_part_shorter_than_a_piece_is_one_piece(shortest):
    assert list(Spread.over(100, 10, shortest).ranges()) == [(0, 10)]
