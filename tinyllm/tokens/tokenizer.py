"""The tokenizer interface, its kinds, and how one of them is learned or opened.

A new kind is a class in a file of its own, with an entry in `TOKENIZERS` and in `learn_tokenizer`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.documents import Document, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.byte_level import REMEDY, ByteTokenizer
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.config import TokenizeConfig


class _State(Document):
    """What every kind of tokenizer writes."""

    format: str


class TextStream(Protocol):
    """Decodes one text as a model writes it."""

    def push(self, token: int) -> str:
        """What the next token adds to the text; nothing as long as a character is not whole."""

    def finish(self) -> str:
        """What is left at the end of the text."""


class Tokenizer(Protocol):
    """Text to integers and back."""

    @property
    def unit(self) -> str:
        """What one of its tokens is called: character, byte or token."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every token."""

    @property
    def unknown_id(self) -> int | None:
        """The token of all characters that it cannot spell; None if it can spell every one."""

    def unknown(self, characters: Iterable[str]) -> list[str]:
        """Those of some characters that it cannot spell, each once, by code point."""

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: [tokens], of type `dtype`."""

    def decode(self, tokens: Any) -> str:
        """Return the text of a sequence of tokens, with U+FFFD for what is no text."""

    def stream(self) -> TextStream:
        """Decode one text token by token."""

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""


# format of the state -> class
TOKENIZERS: dict[str, type[CharacterTokenizer] | type[ByteTokenizer]] = {
    kind.format: kind for kind in (CharacterTokenizer, ByteTokenizer, BytePairTokenizer)
}


def learn_tokenizer(
    config: TokenizeConfig, counts: Mapping[str, int], texts: Iterable[str]
) -> Tokenizer:
    """The tokenizer of a training text; how the text is divided is all one.

    Args:
        config: its kind, and how it is learned.
        counts: how often each character occurs in the text.
        texts: the text itself in parts, which are read at most once, and only by `bpe`.

    Raises:
        TinyLLMError: no character is frequent enough.
    """
    match config.kind:
        case "char":
            return CharacterTokenizer.learn(counts, config.min_count)
        case "byte":
            return ByteTokenizer()
        case "bpe":
            return BytePairTokenizer.learn(texts, config.vocab_size, config.learn_characters)
        case unknown:
            assert_never(unknown)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer of any kind.

    Raises:
        TinyLLMError: the file is missing, damaged or of an unknown kind.
    """
    kind = read_document(path, _State, REMEDY).format
    if kind not in TOKENIZERS:
        raise TinyLLMError(f"{path} was not written by this program; {REMEDY}.")
    return TOKENIZERS[kind].load_state(path)
