"""A part of a sequence that stands for the whole: pieces of equal length, evenly spread."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

# enough to see every part of a text, and few enough to be read one by one
_MOST_PIECES = 1024


@dataclass(frozen=True)
class Spread:
    """Pieces of `length` elements, evenly spread over `total`; a single one is the whole."""

    total: int
    pieces: int
    length: int

    @classmethod
    def over(cls, total: int, most: int, shortest: int = 1) -> Self:
        """The whole, if it has at most `most` elements or `most` is 0; else as many at most.

        Args:
            total: elements of the sequence.
            most: elements in all pieces.
            shortest: elements of a piece at least, as far as `most` allows.
        """
        if not 0 < most < total:
            return cls(total, 1, total)
        length = min(most, max(shortest, -(-most // _MOST_PIECES)))
        pieces = most // length
        return cls(total, pieces, most // pieces)

    def __len__(self) -> int:
        """Elements in all pieces."""
        return self.pieces * self.length

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return len(self) == self.total

    def place(self, index: int) -> int:
        """Where an element of the pieces, counted through, is in the sequence."""
        piece, within = divmod(index, self.length)
        return piece * self.total // self.pieces + within

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Start and end of each piece, in order."""
        for piece in range(self.pieces):
            start = piece * self.total // self.pieces
            yield start, start + self.length
