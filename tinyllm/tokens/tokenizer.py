"""The tokenizer interface, and a tokenizer whose tokens are characters."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import StringConstraints

from tinyllm.base.documents import Document, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_json

UNKNOWN_TOKEN = "<unk>"  # noqa: S105 - a token of text, not a password
UNKNOWN_ID = 0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_FORMAT = "tinyllm-characters-1"
_REMEDY = "run the tokenize stage again"
_Character = Annotated[str, StringConstraints(min_length=1, max_length=1)]


class _State(Document):
    """What `save_state` writes."""

    format: Literal["tinyllm-characters-1"]
    alphabet: list[_Character]


class _Kind(Document):
    """What every kind of tokenizer writes."""

    format: str


class Tokenizer(Protocol):
    """Text to integers and back."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the unknown one included."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every token."""

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: [tokens], of type `dtype`."""

    def decode(self, tokens: Any) -> str:
        """Return the text of a sequence of tokens."""

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""


class CharacterTokenizer:
    """Maps characters to integers: 0 is the unknown character, the others follow by code point.

    Encoding is a table lookup by code point, so its speed does not depend on the alphabet.
    Characters outside the alphabet become `UNKNOWN_ID`, which decodes to U+FFFD: they are never
    silently taken for another character.
    """

    def __init__(self, alphabet: str = "") -> None:
        """Make a tokenizer for the characters of `alphabet`; order and repeats do not matter."""
        self._set_alphabet(alphabet)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the unknown one included."""
        return len(self.alphabet) + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every token."""
        return np.dtype(np.min_scalar_type(self.vocab_size - 1))

    def fit(self, text: str, min_count: int = 1) -> Self:
        """Learn the alphabet: the characters that occur at least `min_count` times in `text`.

        Raises:
            TinyLLMError: no character is frequent enough.
        """
        return self.fit_counts(Counter(text), min_count)

    def fit_counts(self, counts: Mapping[str, int], min_count: int = 1) -> Self:
        """Learn the alphabet from how often each character occurs; see `fit`."""
        alphabet = "".join(char for char, count in counts.items() if count >= min_count)
        if not alphabet:
            raise TinyLLMError(
                f"No character of the training text occurs {min_count} times, so there is nothing "
                f"to learn; lower tokenize.min_count or add text."
            )
        self._set_alphabet(alphabet)
        return self

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: shape [characters], dtype `self.dtype`."""
        if self._id_of_ascii and text.isascii():
            # bytes are looked up several times as quickly as integers
            return np.frombuffer(text.encode("ascii").translate(self._id_of_ascii), dtype=np.uint8)
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        beyond = len(self._id_of_code_point) - 1
        tokens: NDArray[Any] = self._id_of_code_point[np.minimum(code_points, beyond)]
        return tokens

    def decode(self, tokens: Any) -> str:
        """Return the text of a sequence of tokens; unknown ones become U+FFFD.

        Raises:
            ValueError: a token is negative or beyond the vocabulary.
        """
        ids = np.asarray(tokens, dtype=np.int64).reshape(-1)
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
            raise ValueError(f"tokens must lie between 0 and {self.vocab_size - 1}")
        return self._code_point_of_id[ids].tobytes().decode("utf-32-le", "surrogatepass")

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        state = {"format": _FORMAT, "unknown": UNKNOWN_TOKEN, "alphabet": list(self.alphabet)}
        write_json(path, state)

    @classmethod
    def load_state(cls, path: Path) -> Self:
        """Read what `save_state` wrote.

        Raises:
            TinyLLMError: the file is missing, damaged or in another format.
        """
        state = read_document(path, _State, _REMEDY)
        return cls("".join(state.alphabet))

    def _set_alphabet(self, alphabet: str) -> None:
        self.alphabet = "".join(sorted(set(alphabet)))
        self._id_of_code_point = self._build_table()
        ids = self._id_of_code_point[:-1][:128].tobytes()
        fits = self.dtype == np.uint8
        self._id_of_ascii = ids.ljust(256, bytes([UNKNOWN_ID])) if fits else b""
        code_points = [ord(char) for char in (_REPLACEMENT, *self.alphabet)]
        self._code_point_of_id = np.array(code_points, dtype="<u4")

    def _build_table(self) -> NDArray[Any]:
        # one entry beyond the largest code point stands for everything else
        size = max((ord(char) for char in self.alphabet), default=0) + 2
        table = np.full(size, UNKNOWN_ID, dtype=self.dtype)
        for token, char in enumerate(self.alphabet, start=1):
            table[ord(char)] = token
        return table


# format of the state -> class
TOKENIZERS = {_FORMAT: CharacterTokenizer}


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer of any kind.

    Raises:
        TinyLLMError: the file is missing, damaged or of an unknown kind.
    """
    kind = read_document(path, _Kind, _REMEDY).format
    if kind not in TOKENIZERS:
        raise TinyLLMError(f"{path} was not written by this program; {_REMEDY}.")
    return TOKENIZERS[kind].load_state(path)
