"""A random permutation of any length, of which only the part that is asked for is computed.

A Feistel network permutes all numbers of some bits (Luby & Rackoff 1988, "How to construct
pseudorandom permutations from pseudorandom functions"). Results that are beyond the length go
through it again until they are not, which permutes the others ("cycle walking" in Black & Rogaway
2002, "Ciphers with arbitrary finite domains"). The round function is the finalizer of SplitMix64
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
"""

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.uint64]

# four are enough in theory, with a perfect round function
_ROUNDS = 8
_MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = np.uint64(31)


class Permutation:
    """A permutation of 0 .. count - 1; slices of it take memory only for themselves."""

    def __init__(self, count: int, random: np.random.Generator) -> None:
        """Draw one of at most 2**62 numbers; takes eight numbers from the generator."""
        self._count = count
        bits = max(2, (count - 1).bit_length())
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64(2 ** (bits // 2) - 1)
        self._high = np.uint64(2 ** (bits - bits // 2) - 1)
        self._keys = random.integers(2**64, size=_ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        """The numbers at the places of a slice."""
        numbers = self._permute(np.arange(*part.indices(self._count)).astype(np.uint64))
        while (beyond := numbers >= self._count).any():
            numbers[beyond] = self._permute(numbers[beyond])
        return numbers.astype(np.int64)

    def _permute(self, numbers: _Numbers) -> _Numbers:
        high, low = numbers >> self._low_bits, numbers & self._low
        for even, odd in self._keys.reshape(-1, 2):
            high = high ^ (_mix(low + even) & self._high)
            low = low ^ (_mix(high + odd) & self._low)
        return (high << self._low_bits) | low


def _mix(numbers: _Numbers) -> _Numbers:
    for shift, factor in _MIXERS:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> _LAST_SHIFT)
