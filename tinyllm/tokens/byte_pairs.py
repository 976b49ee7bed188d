"""A tokenizer whose tokens are frequent pieces of words: byte-level byte-pair encoding.

The scheme is GPT-2's, which every runtime reads: a pattern splits a text into words with the space
before them, numbers, marks and white space; within each, the pair of tokens that was learned first
is joined again and again. Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; Radford et al.
2019, "Language models are unsupervised multitask learners".
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import StringConstraints

from tinyllm.base.documents import Document, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_json
from tinyllm.tokens.byte_level import PRINTABLE, REMEDY, ByteTokenizer, whole_text
from tinyllm.tokens.learn_pairs import MOST_CHARACTERS, learn_pairs, new_library
from tinyllm.tokens.pieces import CHUNK, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

# words whose tokens are kept, and the longest one
_CACHED, _LONGEST_CACHED = 1 << 17, 64


class _State(Document):
    """What `save_state` writes: the merges as in GPT-2's merges.txt, two tokens and a space."""

    format: Literal["tinyllm-byte-pairs-1"]
    merges: list[Annotated[str, StringConstraints(pattern=r"^[^ ]+ [^ ]+$")]]


class BytePairTokenizer(ByteTokenizer):
    """Tokens 0 to 255 are the bytes; each other one joins two before it.

    No token is special, and every text round-trips.
    """

    format = "tinyllm-byte-pairs-1"
    unit = "token"

    def __init__(self, merges: Sequence[tuple[str, str]] = ()) -> None:
        """Make a tokenizer of pairs of tokens as GPT-2 spells them, the first learned first.

        Raises:
            ValueError: a pair holds what is no token yet, or comes twice.
        """
        super().__init__()
        ids = {char: value for value, char in enumerate(PRINTABLE)}
        for first, second in merges:
            if first not in ids or second not in ids:
                raise ValueError(f"the pair {first!r}, {second!r} joins what is no token yet")
            pair = (ids[first], ids[second])
            self.merges.append(pair)
            # two pairs may make the same token
            if first + second not in ids:
                ids[first + second] = len(self.token_bytes)
                self.token_bytes.append(self.token_bytes[pair[0]] + self.token_bytes[pair[1]])
        if len(set(self.merges)) < len(self.merges):
            raise ValueError("a pair comes twice")
        self._words = _Words(new_library(ids, merges), self.dtype)

    @classmethod
    def learn(
        cls, texts: Iterable[str], vocab_size: int = 512, most: int = MOST_CHARACTERS
    ) -> Self:
        """Learn from a text in parts; see `learn_pairs`."""
        return cls(learn_pairs(texts, vocab_size, most))

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: shape [tokens], dtype `self.dtype`.

        A run of more than a hundred thousand letters without a space is cut first.
        """
        found = bytearray()
        for piece in pieces([whole_text(text)]):
            found += b"".join(map(self._words.__getitem__, CHUNK.findall(piece)))
        return np.frombuffer(found, dtype=self.dtype)

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        merges = [" ".join(pair) for pair in self.spelled_merges()]
        write_json(path, {"format": self.format, "merges": merges})

    @classmethod
    def load_state(cls, path: Path) -> Self:
        """Read what `save_state` wrote.

        Raises:
            TinyLLMError: the file is missing, damaged or in another format.
        """
        state = read_document(path, _State, REMEDY)
        try:
            pairs = [merge.split(" ") for merge in state.merges]
            return cls([(first, second) for first, second in pairs])
        except ValueError as error:
            raise TinyLLMError(f"{path} is damaged: {error}; {REMEDY}.") from None


class _Words(dict[str, bytes]):
    """The tokens of words, found once: several times as fast as the library alone."""

    def __init__(self, library: "Library", dtype: np.dtype[Any]) -> None:
        super().__init__()
        self._library, self._dtype = library, dtype

    def __missing__(self, word: str) -> bytes:
        ids = self._library.encode(word, add_special_tokens=False).ids
        tokens = np.array(ids, dtype=self._dtype).tobytes()
        if len(word) <= _LONGEST_CACHED:
            if len(self) == _CACHED:
                self.clear()
            self[word] = tokens
        return tokens
