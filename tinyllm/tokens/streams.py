"""Tokens back to text, one by one as a model writes them or many at once."""

import codecs
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class CharacterStream:
    """A text whose tokens are whole characters."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode

    def push(self, token: int) -> str:
        """What the next token adds to the text."""
        return self._decode([token])

    def finish(self) -> str:
        """What is left at the end: nothing."""
        return ""


class ByteStream:
    """A text whose tokens are bytes of UTF-8, and may end inside a character."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that are whole with the next token; U+FFFD for what is no UTF-8."""
        return self._decoder.decode(self._token_bytes[token])

    def finish(self) -> str:
        """U+FFFD if the text ends inside a character."""
        return self._decoder.decode(b"", final=True)


def checked_ids(tokens: Any, vocab_size: int) -> NDArray[np.int64]:
    """Tokens of any shape and type as numbers: [tokens].

    Raises:
        ValueError: a token is negative or beyond the vocabulary.
    """
    ids = np.asarray(tokens, dtype=np.int64).reshape(-1)
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(f"tokens must lie between 0 and {vocab_size - 1}")
    return ids
