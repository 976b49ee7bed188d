"""Angles from single-precision products are those of double precision."""

import numpy as np
import pytest

from tinyllm.formats.turns import split_turns
from tinyllm.model.transformer import rotary_frequencies

FREQUENCIES = rotary_frequencies(64, 10_000.0)


def angles(positions):
    """As the graph computes them, each step in single precision."""
    masks, parts = split_turns(FREQUENCIES)
    pieces = (positions[:, None] & masks).astype(np.float32)
    turns = np.fmod(pieces[:, :, None] * parts, np.float32(1)).sum(axis=1, dtype=np.float32)
    return turns * np.float32(2 * np.pi)


@pytest.mark.parametrize("first", [0, 4000, 10**5, 2**24 - 300])
def test_they_are_as_exact_late_as_early(first):
    positions = np.arange(first, first + 300)
    exact = positions[:, None] * np.array(FREQUENCIES)
    for function in (np.cos, np.sin):
        assert abs(function(angles(positions)) - function(exact)).max() < 3e-6


def test_one_product_alone_is_not_exact():
    position = 10**5 + 1
    alone = np.float32(position) * np.float32(FREQUENCIES[1])
    assert abs(np.cos(alone) - np.cos(position * FREQUENCIES[1])) > 1e-4
