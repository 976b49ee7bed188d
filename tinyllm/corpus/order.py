"""Is a corpus a list in some order, so that its end is not like its beginning?"""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

# below this, chance looks like order
_FEWEST = 100
_SORTED = 0.9
_DRIFT = 0.3


def is_in_order(texts: Sequence[str]) -> bool:
    """Whether almost every line of the texts sorts after, or before, the one above it."""
    rising = falling = 0
    for text in texts:
        lines = [line.strip().casefold() for line in text.split("\n")]
        lines = [line for line in lines if line]
        for one, other in pairwise(lines):
            rising += one < other
            falling += one > other
    count = rising + falling
    return count >= _FEWEST and max(rising, falling) >= _SORTED * count


def drifts(train: str, held_out: str) -> bool:
    """Whether the lines of two splits begin with other characters, as in a dictionary cut in two.

    Lines drawn at random say how much two parts of this corpus differ by chance.
    """
    one, other = _firsts(train), _firsts(held_out)
    if min(len(one), len(other)) < _FEWEST:
        return False
    drawn = one + other
    random.Random(0).shuffle(drawn)  # noqa: S311 - not for a secret
    chance = _distance(drawn[len(other) :], drawn[: len(other)])
    return _distance(one, other) - chance > _DRIFT


def _firsts(text: str) -> list[str]:
    lines = (line.lstrip() for line in text.split("\n"))
    return [line[0].casefold() for line in lines if line]


def _distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Half the sum of the differences of shares: 0 for the same, 1 for nothing in common."""
    mine, others = Counter(one), Counter(other)
    shares = (mine[key] / len(one) - others[key] / len(other) for key in mine.keys() | others)
    return sum(map(abs, shares)) / 2
