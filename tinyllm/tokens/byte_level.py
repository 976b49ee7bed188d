"""A tokenizer whose tokens are the bytes of UTF-8: for any text, without an alphabet."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.documents import Document, read_document
from tinyllm.base.files import write_json
from tinyllm.tokens.streams import ByteStream, checked_ids

BYTES = 256
REMEDY = "run the tokenize stage again"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SURROGATES = re.compile("[\ud800-\udfff]")


class _State(Document):
    """What `save_state` writes."""

    format: Literal["tinyllm-bytes-1"]


class ByteTokenizer:
    """A token is a byte, and its number is the byte's value.

    Every text round-trips. Half of a surrogate pair, which is no text, becomes U+FFFD. Byte-pair
    tokenizers go on from here: their first tokens are these, the others join two earlier ones.

    Attributes:
        token_bytes: the bytes of each token.
        merges: pairs of tokens that become one, the first learned first; here none.
    """

    format = "tinyllm-bytes-1"
    unit = "byte"
    unknown_id: int | None = None

    def __init__(self) -> None:
        self.token_bytes = [bytes([value]) for value in range(BYTES)]
        self.merges: list[tuple[int, int]] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteTokenizer) and other.merges == self.merges

    def __hash__(self) -> int:
        return hash(tuple(self.merges))

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.token_bytes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every token."""
        return np.dtype(np.min_scalar_type(self.vocab_size - 1))

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: shape [bytes], dtype `self.dtype`."""
        return np.frombuffer(bytearray(whole_text(text).encode()), dtype=np.uint8)

    def decode(self, tokens: Any) -> str:
        """Return the text of a sequence of tokens; what is no UTF-8 becomes U+FFFD.

        Raises:
            ValueError: a token is negative or beyond the vocabulary.
        """
        ids = checked_ids(tokens, self.vocab_size).tolist()
        return b"".join(map(self.token_bytes.__getitem__, ids)).decode("utf-8", "replace")

    def stream(self) -> ByteStream:
        """Decode one text token by token."""
        return ByteStream(self.token_bytes)

    def unknown(self, characters: Iterable[str]) -> list[str]:  # noqa: ARG002 - see Tokenizer
        """No character: bytes spell every one."""
        return []

    def spelled_merges(self) -> list[tuple[str, str]]:
        """The merges as GPT-2 spells them."""
        names = [spelled(token) for token in self.token_bytes]
        return [(names[first], names[second]) for first, second in self.merges]

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        write_json(path, {"format": self.format})

    @classmethod
    def load_state(cls, path: Path) -> Self:
        """Read what `save_state` wrote.

        Raises:
            TinyLLMError: the file is missing, damaged or in another format.
        """
        read_document(path, _State, REMEDY)
        return cls()


def whole_text(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, as browsers write it in UTF-8."""
    return text if text.isascii() else _SURROGATES.sub(_REPLACEMENT, text)


def _printable_bytes() -> list[str]:
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, BYTES)}
    others = iter(range(BYTES, 2 * BYTES))
    return [chr(value if value in printable else next(others)) for value in range(BYTES)]


# each byte as one printable character, by which GPT-2 and all programs since spell tokens: Radford
# et al. 2019, "Language models are unsupervised multitask learners", section 2.2
PRINTABLE = _printable_bytes()


def spelled(token: bytes) -> str:
    """A token as GPT-2 spells it, such as `Ġthe` for " the"."""
    return "".join(PRINTABLE[value] for value in token)
