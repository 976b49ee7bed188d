"""Choosing a character: argmax, truncation, frequencies, reproducibility."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.sampling import next_token, truncate, uniform
from tinyllm.tokens.characters import UNKNOWN_ID

WHOLE = 1024
LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=20)


@st.composite
def shares(draw):
    """Integers that sum to 1024: exact as probabilities in every float format."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=1, max_size=12)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, WHOLE], strict=True)]


def kept_by_reference(weights, top_k, share):
    """The tokens kept, adding them up one at a time, the likeliest first."""
    kept, reached = set(), 0
    for token in sorted(range(len(weights)), key=lambda token: -weights[token]):
        if kept and ((top_k and len(kept) == top_k) or reached >= share):
            break
        kept.add(token)
        reached += weights[token]
    return kept


def draw_many(logits, config, count):
    return [next_token(logits, config, index, UNKNOWN_ID) for index in range(count)]


@given(logits=LOGITS)
def test_temperature_zero_takes_the_likeliest_known_token(logits):
    token = next_token(np.array(logits), SamplingConfig(temperature=0), 0, UNKNOWN_ID)
    known = logits[UNKNOWN_ID + 1 :]
    assert token == known.index(max(known)) + 1


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-37, 1e-38, 1e-40, 1e-44])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_a_temperature_close_to_zero_takes_the_likeliest_token(temperature, scale):
    logits = np.array([9.0, -3.0, 2.5, -np.inf, 2.0, -8.0]) * scale
    config = SamplingConfig(temperature=temperature, seed=1)
    assert set(draw_many(logits, config, 50)) == {2}
    assert set(draw_many(logits - 1e4 * scale, config, 50)) == {2}


@given(logits=LOGITS, seed=st.integers(0, 2**32), temperature=st.floats(0.01, 100))
def test_a_drawn_token_is_one_of_the_vocabulary_and_never_the_unknown_one(
    logits, seed, temperature
):
    logits[UNKNOWN_ID] = 50.0
    config = SamplingConfig(temperature=temperature, seed=seed)
    token = next_token(np.array(logits), config, 0, UNKNOWN_ID)
    assert UNKNOWN_ID < token < len(logits)


@given(weights=shares(), top_k=st.integers(0, 15), share=st.integers(1, WHOLE))
def test_truncation_agrees_with_adding_up_one_at_a_time(weights, top_k, share):
    config = SamplingConfig(top_k=top_k, top_p=share / WHOLE)
    result = truncate(np.array(weights) / WHOLE, config)
    kept = kept_by_reference(weights, top_k, share)
    expected = [weight if token in kept else 0 for token, weight in enumerate(weights)]
    assert (result * WHOLE).tolist() == expected


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (0, 1.0, [0.125, 0.5, 0.25, 0.125]),
        (1, 1.0, [0, 0.5, 0, 0]),
        (3, 1.0, [0.125, 0.5, 0.25, 0]),
        (99, 1.0, [0.125, 0.5, 0.25, 0.125]),
        (0, 0.5, [0, 0.5, 0, 0]),
        (0, 0.51, [0, 0.5, 0.25, 0]),
        (0, 1e-9, [0, 0.5, 0, 0]),
        (1, 0.9, [0, 0.5, 0, 0]),
        (3, 0.6, [0, 0.5, 0.25, 0]),
    ],
)
def test_truncation_of_a_small_distribution(top_k, top_p, expected):
    probabilities = np.array([0.125, 0.5, 0.25, 0.125])
    config = SamplingConfig(top_k=top_k, top_p=top_p)
    assert truncate(probabilities, config).tolist() == expected


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_probabilities(temperature):
    logits = np.array([9.0, 0.0, 1.0, 2.0, -1.0])
    count = 4000
    drawn = draw_many(logits, SamplingConfig(temperature=temperature, seed=1), count)
    weights = np.exp(logits[1:] / temperature)
    wanted = (weights / weights.sum()).tolist()
    for token, share in enumerate(wanted, start=1):
        four_deviations = 4 * (share * (1 - share) / count) ** 0.5
        assert drawn.count(token) / count == pytest.approx(share, abs=four_deviations)


def test_only_what_truncation_left_is_drawn():
    logits = np.array([9.0, 0.0, 0.2, 0.4, 0.6])
    assert set(draw_many(logits, SamplingConfig(top_k=2), 300)) == {3, 4}
    assert set(draw_many(logits, SamplingConfig(top_p=0.5, temperature=1), 300)) == {3, 4}


def test_the_last_token_can_be_drawn_and_one_of_zero_probability_cannot():
    logits = np.array([0.0, -np.inf, 1.0, -np.inf, 1.0, -np.inf])
    assert set(draw_many(logits, SamplingConfig(), 300)) == {2, 4}


def test_same_seed_same_tokens_and_another_seed_others():
    logits = np.zeros(20)
    first = draw_many(logits, SamplingConfig(seed=7), 50)
    assert draw_many(logits, SamplingConfig(seed=7), 50) == first
    assert draw_many(logits, SamplingConfig(seed=8), 50) != first


def test_drawing_does_not_change_the_logits():
    logits = np.array([3.0, 1.0, 2.0])
    draw_many(logits, SamplingConfig(temperature=0.5, top_k=1), 5)
    assert logits.tolist() == [3.0, 1.0, 2.0]


def test_the_token_at_a_place_does_not_depend_on_those_before():
    logits = np.zeros(9)
    in_order = draw_many(logits, SamplingConfig(seed=3), 40)
    backwards = [
        next_token(logits, SamplingConfig(seed=3), index, UNKNOWN_ID) for index in range(39, -1, -1)
    ]
    assert backwards[::-1] == in_order


def test_random_numbers_are_those_of_splitmix64():
    """Its published sequence for the seed 1234567, as 64-bit integers."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [uniform(1234567, index) for index in range(5)] == [
        (number >> 11) / 2**53 for number in published
    ]


def test_random_numbers_are_spread_evenly_over_places_and_seeds():
    for numbers in ([uniform(0, i) for i in range(5000)], [uniform(s, 0) for s in range(5000)]):
        counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
        assert counts.sum() == 5000
        assert abs(counts - 500).max() < 5 * (500 * 0.9) ** 0.5
