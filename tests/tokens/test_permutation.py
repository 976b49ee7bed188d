"""Permutations computed on demand: every number once, the same for the same seed, in no order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.tokens.permutation import Permutation


def permutation(count, seed=0):
    return Permutation(count, np.random.default_rng(seed))


@given(count=st.integers(1, 3000), seed=st.integers(0, 2**64))
def test_every_number_comes_once(count, seed):
    assert np.array_equal(np.sort(permutation(count, seed)[:]), np.arange(count))
    assert len(permutation(count, seed)) == count


@pytest.mark.parametrize("count", [2**20 - 1, 2**20, 2**20 + 1, 3_000_000])
def test_every_number_of_millions_comes_once(count):
    assert np.array_equal(np.bincount(permutation(count)[:], minlength=count), np.ones(count))


@given(data=st.data(), count=st.integers(1, 2**62), seed=st.integers(0, 2**32))
def test_a_part_is_the_same_however_it_is_read(data, count, seed):
    start = data.draw(st.integers(0, count - 1))
    whole = permutation(count, seed)[start : start + 50]
    assert ((whole >= 0) & (whole < count)).all()
    assert len(set(whole.tolist())) == min(50, count - start)
    cut = data.draw(st.integers(0, 50))
    again = permutation(count, seed)
    parts = [again[start + cut : start + 50], again[start : min(start + cut, start + 50)]]
    assert np.array_equal(np.concatenate(parts[::-1]), whole)


def test_the_order_is_part_of_the_bytes_of_a_run():
    found = permutation(10**9, seed=7)[:5].tolist()
    assert found == [937279931, 915004738, 187366251, 769586485, 612917153]


def test_seeds_give_other_orders():
    orders = [permutation(10_000, seed)[:] for seed in range(20)]
    for one in range(20):
        for other in range(one):
            # by chance one of ten thousand stays
            assert np.count_nonzero(orders[one] == orders[other]) < 12


@pytest.mark.parametrize("count", [1000, 4097, 10**7])
def test_what_comes_is_independent_of_where_it_comes(count):
    # sixteen parts of the places, sixteen of the numbers: equally many in each, as by chance
    places = np.arange(min(count, 100_000))
    numbers = permutation(count, seed=3)[: len(places)]
    cells = places * 16 // len(places) * 16 + numbers * 16 // count
    expected = len(places) / 256
    squares = ((np.bincount(cells, minlength=256) - expected) ** 2 / expected).sum()
    # 225 degrees of freedom: five standard deviations
    assert abs(squares - 225) < 5 * np.sqrt(2 * 225)


def test_neighbors_come_from_anywhere():
    steps = np.diff(permutation(10**8, seed=5)[:100_000])
    assert np.abs(steps).min() < 10**5
    assert abs(np.abs(steps).mean() / 10**8 - 1 / 3) < 0.005
    assert abs((steps > 0).mean() - 0.5) < 0.01
