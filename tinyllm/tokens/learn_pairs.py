"""Learning byte pairs from a stream of text, by the `tokenizers` library."""

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tinyllm.tokens.byte_level import PRINTABLE, whole_text
from tinyllm.tokens.pieces import WORD, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

# characters to learn from at most, unless told otherwise
MOST_CHARACTERS = 100_000_000
# a pair seen only once says nothing about other texts
_MIN_COUNT = 2
# bytes of distinct words: the library takes about 85 bytes of memory for each
_MOST_WORD_BYTES = 4 << 20
_log = logging.getLogger(__name__)


def learn_pairs(
    texts: Iterable[str], vocab_size: int, most: int = MOST_CHARACTERS
) -> list[tuple[str, str]]:
    """The pairs of tokens that are most frequent, each after those before it were joined.

    The result depends on the whole text only: not on how it is divided, and not on the number of
    threads. Pairs that occur once are not learned, so a short text may give fewer tokens. Of a long
    text, or of one whose words are hardly ever the same, such as Chinese, a part is read that is
    evenly spread over it and keeps the memory below about 600 MB.

    Args:
        texts: the text in parts, each read once.
        vocab_size: the 256 bytes and the tokens to learn.
        most: characters to learn from.

    Returns:
        Pairs of tokens as GPT-2 spells them, the first learned first.
    """
    from tokenizers.trainers import BpeTrainer  # noqa: PLC0415 - only this kind needs the package

    sample = _Sample(most)
    for piece in pieces(map(whole_text, texts)):
        sample.add(piece)
    sample.tell()
    library = new_library({}, ())
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_COUNT,
        initial_alphabet=PRINTABLE,
        show_progress=False,
    )
    library.train_from_iterator(sample.take(), trainer)
    model = json.loads(library.to_str())["model"]
    return [(first, second) for first, second in model["merges"]]


class _Sample:
    """Every first, second, fourth, ... piece of a text: as many as the limits allow."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, bytes] = {}
        self._sizes: dict[int, int] = {}
        # of each word the largest power of two that divides the number of a piece which holds it
        self._words: dict[str, int] = {}
        self._word_bytes = 0
        self._stride, self._number, self._seen = 1, 0, 0

    def add(self, piece: str) -> None:
        """Keep the next piece, unless it lies between those that are kept."""
        number, power = self._number, _power(self._number)
        self._number += 1
        self._seen += len(piece)
        if power < self._stride:
            return
        self._kept[number], self._sizes[number] = piece.encode(), len(piece)
        for word in set(WORD.findall(piece)):
            known = self._words.get(word, 0)
            if not known:
                self._word_bytes += len(word.encode())
            if known < power:
                self._words[word] = power
        while self._is_too_much() and len(self._kept) > 1:
            self._halve()

    def tell(self) -> None:
        """Say it if a part was left out."""
        kept = sum(self._sizes.values())
        if kept < self._seen:
            _log.info(
                "Byte pairs are learned from %s of %s characters, evenly spread.",
                f"{kept:,}",
                f"{self._seen:,}",
            )

    def take(self) -> Iterator[str]:
        """The pieces, which are forgotten one by one."""
        self._words.clear()
        kept = deque(self._kept.values())
        self._kept.clear()
        while kept:
            yield kept.popleft().decode()

    def _is_too_much(self) -> bool:
        return sum(self._sizes.values()) > self._most or self._word_bytes > _MOST_WORD_BYTES

    def _halve(self) -> None:
        self._stride *= 2
        for number in [number for number in self._kept if _power(number) < self._stride]:
            del self._kept[number], self._sizes[number]
        self._words = {word: power for word, power in self._words.items() if power >= self._stride}
        self._word_bytes = sum(len(word.encode()) for word in self._words)


def _power(number: int) -> int:
    """The largest power of two that divides a number."""
    return number & -number if number else 1 << 62


def new_library(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> "Library":
    """The library's tokenizer of some tokens as GPT-2 spells them, with GPT-2's pattern."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415 - see learn_pairs

    library = Tokenizer(models.BPE(dict(vocabulary), list(merges)))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library
