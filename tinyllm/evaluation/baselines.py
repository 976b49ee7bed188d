"""An n-gram model of characters: the baseline that a neural model has to beat.

Interpolated Kneser-Ney smoothing with the discounts of Chen & Goodman 1999 ("An empirical study
of smoothing techniques for language modeling"), on sorted integer codes, so that a million
characters take a second.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.tokens.shards import Tokens
from tinyllm.tokens.spread import Spread

Codes = NDArray[np.int64]

# characters of a passage at least, since no n-gram reaches across two
_SHORTEST = 4096
# characters of a text that are worked on at once
_BLOCK = 1 << 18


class KneserNeyModel:
    """Interpolated Kneser-Ney over tokens 0 .. vocab_size - 1.

    The highest order counts occurrences; each lower order counts in how many different contexts
    an n-gram was seen.
    """

    def __init__(
        self, tokens: Tokens | NDArray[Any], vocab_size: int, order: int, most: int = 0
    ) -> None:
        """Count the n-grams of `tokens` [characters].

        Args:
            tokens: the training text.
            vocab_size: of its tokenizer.
            order: of the n-grams, but at most the length of the text.
            most: characters to count at most, in evenly spread passages; 0: all.

        Raises:
            ValueError: the order is below one, or the codes of n-grams do not fit into 63 bits.
        """
        if order < 1 or len(tokens) == 0:
            raise ValueError(f"order {order} is too low, or there is no text to count")
        passages = Spread.over(len(tokens), most, _SHORTEST)
        order = min(order, passages.length)
        if order > highest_order(vocab_size):
            raise ValueError(f"order {order} is too high for {vocab_size} tokens")
        self.vocab_size = vocab_size
        self.order = order
        self.counted = len(passages)
        grams, counts = _distinct(_all_codes(Tokens.of(tokens), passages, vocab_size, order))
        self._levels = [_Level(grams, counts, vocab_size)]
        for length in range(order - 1, 0, -1):
            # dropping the first token of each distinct longer n-gram counts its contexts
            grams, counts = _distinct(grams % vocab_size**length)
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

    def bits_per_token(
        self, tokens: Tokens | NDArray[Any], ranges: Iterable[tuple[int, int]] | None = None
    ) -> float:
        """Mean loss in bits.

        Args:
            tokens: the held-out text, [characters].
            ranges: first and end of the tokens to predict; all but the first by default.
        """
        sums, count = [], 0
        for start, end in ranges or [(1, len(tokens))]:
            for first in range(start, end, _BLOCK):
                last = min(first + _BLOCK, end)
                known = tokens[max(0, first - max(1, self.order - 1)) : last]
                losses = -np.log2(self.probabilities(known)[first - last :])
                sums.append(float(losses.sum()))
                count += last - first
        return math.fsum(sums) / count


def highest_order(vocab_size: int) -> int:
    """The longest n-grams of a vocabulary that are numbers of 63 bits."""
    return math.ceil(63 / math.log2(vocab_size)) - 1


class _Level:
    """The n-grams of one length with their counts and discounts."""

    def __init__(self, grams: Codes, counts: NDArray[Any], vocab_size: int) -> None:
        self._grams, self._counts, self._vocab_size = grams, counts, vocab_size
        self._discounts = _discounts(counts)
        contexts = grams // vocab_size
        starts = _changes(contexts)
        self._contexts = contexts[starts]
        self._totals = np.add.reduceat(counts, starts, dtype=counts.dtype)
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


def _discounts(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Discounts of n-grams seen 0, 1, 2 and 3 or more times; Chen & Goodman, equation 26."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    values = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # unusual counts can push a discount out of its range and leave nothing for the unseen
    within = (values > 0) & (values < np.array([1.0, 1.0, 2.0, 3.0]))
    return np.where(within, values, [0.0, 0.5, 0.5, 0.5])


def _all_codes(tokens: Tokens, passages: Spread, vocab_size: int, length: int) -> Codes:
    """The n-grams of all passages, none of which reaches across two."""
    codes = np.empty(passages.pieces * (passages.length - length + 1), dtype=np.int64)
    filled = 0
    for start, end in passages.ranges():
        for first in range(start, end - length + 1, _BLOCK):
            block = tokens[first : min(first + _BLOCK + length - 1, end)]
            found = _codes(block, vocab_size, length)
            codes[filled : filled + len(found)] = found
            filled += len(found)
    return codes


def _codes(tokens: NDArray[Any], vocab_size: int, length: int) -> Codes:
    """Each n-gram as one integer, its first token most significant."""
    tokens = tokens.astype(np.int64)
    count = len(tokens) - length + 1
    codes = np.zeros(max(count, 0), dtype=np.int64)
    for place in range(length):
        codes = codes * vocab_size + tokens[place : place + len(codes)]
    return codes


def _distinct(codes: Codes) -> tuple[Codes, NDArray[Any]]:
    """Distinct codes in their order, and how often each occurs; sorts its argument in place."""
    codes.sort()
    starts = _changes(codes)
    # no sum of counts is more than there are codes
    small = np.int32 if len(codes) < 2**31 else np.int64
    return codes[starts], np.diff(starts, append=len(codes)).astype(small)


def _changes(codes: Codes) -> NDArray[np.int64]:
    """Where sorted codes begin to be others."""
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(codes[1:] != codes[:-1]) + 1])


def _look_up(keys: Codes, values: NDArray[Any], wanted: Codes) -> NDArray[Any]:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
