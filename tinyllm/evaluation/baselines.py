"""An n-gram model of characters: the baseline that a neural model has to beat.

Interpolated Kneser-Ney smoothing with the discounts of Chen & Goodman 1999 ("An empirical study
of smoothing techniques for language modeling"), on sorted integer codes, so that a million
characters take a second.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


class KneserNeyModel:
    """Interpolated Kneser-Ney over tokens 0 .. vocab_size - 1.

    The highest order counts occurrences; each lower order counts in how many different contexts
    an n-gram was seen.
    """

    def __init__(self, tokens: NDArray[Any], vocab_size: int, order: int) -> None:
        """Count the n-grams of `tokens` [characters].

        The order is at most the length of the text.

        Raises:
            ValueError: the order is below one, or the codes of n-grams do not fit into 63 bits.
        """
        if order < 1 or len(tokens) == 0:
            raise ValueError(f"order {order} is too low, or there is no text to count")
        order = min(order, len(tokens))
        if order * math.log2(vocab_size) >= 63:
            raise ValueError(f"order {order} is too high for {vocab_size} tokens")
        self.vocab_size = vocab_size
        self.order = order
        grams, counts = np.unique(_codes(tokens, vocab_size, order), return_counts=True)
        self._levels = [_Level(grams, counts, vocab_size)]
        for length in range(order - 1, 0, -1):
            # dropping the first token of each distinct longer n-gram counts its contexts
            grams, counts = np.unique(grams % vocab_size**length, return_counts=True)
            self._levels.append(_Level(grams, counts, vocab_size))
        self._levels.reverse()

    def probabilities(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of each token but the first, given up to order - 1 tokens before it."""
        probability = np.full(len(tokens) - 1, 1.0 / self.vocab_size)
        for length, level in enumerate(self._levels, start=1):
            first = max(0, length - 2)
            grams = _codes(tokens[1:] if length == 1 else tokens, self.vocab_size, length)
            probability[first:] = level.interpolate(grams, probability[first:])
        return probability

    def bits_per_character(self, tokens: NDArray[Any]) -> float:
        """Mean loss in bits over all tokens but the first."""
        return float(-np.log2(self.probabilities(tokens)).mean())


class _Level:
    """The n-grams of one length with their counts and discounts."""

    def __init__(self, grams: Codes, counts: Codes, vocab_size: int) -> None:
        self._grams, self._counts, self._vocab_size = grams, counts, vocab_size
        self._discounts = _discounts(counts)
        self._contexts, starts = np.unique(grams // vocab_size, return_index=True)
        self._totals = np.add.reduceat(counts, starts)
        self._taken = np.add.reduceat(self._discounts[np.minimum(counts, 3)], starts)

    def interpolate(self, grams: Codes, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix this level's estimate of each n-gram with that of the next shorter one."""
        counts = _look_up(self._grams, self._counts, grams)
        contexts = grams // self._vocab_size
        totals = _look_up(self._contexts, self._totals, contexts)
        taken = _look_up(self._contexts, self._taken, contexts)
        kept = counts - self._discounts[np.minimum(counts, 3)]
        known = totals > 0
        divisor = np.where(known, totals, 1)
        return np.where(known, (kept + taken * lower) / divisor, lower)


def _discounts(counts: Codes) -> NDArray[np.float64]:
    """Discounts of n-grams seen 0, 1, 2 and 3 or more times; Chen & Goodman, equation 26."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    values = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # unusual counts can push a discount out of its range and leave nothing for the unseen
    within = (values > 0) & (values < np.array([1.0, 1.0, 2.0, 3.0]))
    return np.where(within, values, [0.0, 0.5, 0.5, 0.5])


def _codes(tokens: NDArray[Any], vocab_size: int, length: int) -> Codes:
    """Each n-gram as one integer, its first token most significant."""
    tokens = tokens.astype(np.int64)
    count = len(tokens) - length + 1
    codes = np.zeros(max(count, 0), dtype=np.int64)
    for place in range(length):
        codes = codes * vocab_size + tokens[place : place + len(codes)]
    return codes


def _look_up(keys: Codes, values: NDArray[Any], wanted: Codes) -> NDArray[Any]:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
