"""Which part of which file is in which split."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tinyllm.base.splits import SPLITS
from tinyllm.corpus.config import PrepareConfig

# a split, and how many characters from here on belong to it
Slice = tuple[str, int]


@dataclass(frozen=True)
class Shares:
    """What val and test get of a text."""

    val: float
    test: float

    @classmethod
    def of(cls, config: PrepareConfig) -> "Shares":
        """The shares that are set."""
        return cls(config.val_fraction, config.test_fraction)


def slices(characters: int, shares: Shares) -> list[Slice]:
    """Cut a text into train, val and test, in this order: each part is contiguous."""
    test = round(characters * shares.test)
    val = round(characters * shares.val)
    return [("train", characters - test - val), ("val", val), ("test", test)]


class Dealer:
    """Deals the lines of a text out to train, val and test in turn, by characters.

    For lists in some order: each split holds some of every part of them. A text of sentences must
    not be split like this, since test lines would continue training lines.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = {"test": shares.test, "val": shares.val}
        self._seen = 0
        self._sizes = dict.fromkeys(SPLITS, 0)

    def deal(self, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield the split of each line, and the line."""
        for line in lines:
            self._seen += len(line)
            due = (
                name
                for name, share in self._shares.items()
                if self._sizes[name] + len(line) <= self._seen * share
            )
            name = next(due, "train")
            self._sizes[name] += len(line)
            yield name, line


def cut_pieces(
    pieces: Sequence[Sequence[Sequence[int]]], config: PrepareConfig
) -> list[list[Slice]]:
    """Cut each file of the corpus, or all of it together, into splits.

    Args:
        pieces: the segments of each piece of the corpus: the number of a file, and how many
            characters from here on are from it.
        config: the shares, and whether each file or the corpus is cut.

    Returns:
        The slices of each piece; neighbors of the same split are joined.
    """
    together = config.split_by == "corpus"
    totals: Counter[int] = Counter()
    for number, count in chain.from_iterable(pieces):
        totals[0 if together else number] += count
    shares = Shares.of(config)
    left = {number: slices(total, shares) for number, total in totals.items()}
    cut: list[list[Slice]] = []
    for segments in pieces:
        cut.append([])
        for number, count in segments:
            for name, taken in _take(left[0 if together else number], count):
                before = cut[-1].pop() if cut[-1] and cut[-1][-1][0] == name else (name, 0)
                cut[-1].append((name, before[1] + taken))
    return cut


def _take(left: list[Slice], count: int) -> Iterator[Slice]:
    """Take the next characters of a file from what is left of its slices."""
    while count:
        name, there = left.pop(0)
        taken = min(there, count)
        if taken:
            yield name, taken
        if taken < there:
            left.insert(0, (name, there - taken))
        count -= taken


def connected(pieces: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Groups of pieces, none of which ends within a file of the corpus."""
    groups: list[list[dict[str, Any]]] = []
    last = -1
    for piece in pieces:
        first = piece["segments"][0][0]
        if first == last:
            groups[-1].append(piece)
        else:
            groups.append([piece])
        last = piece["segments"][-1][0]
    return groups
