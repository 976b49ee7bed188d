"""A tokenizer whose tokens are characters, with one token for all that it has not seen."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import StringConstraints

from tinyllm.base.code_points import code_points
from tinyllm.base.documents import Document, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_json
from tinyllm.tokens.streams import CharacterStream, checked_ids

UNKNOWN_TOKEN = "<unk>"  # noqa: S105 - a token of text, not a password
UNKNOWN_ID = 0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_REMEDY = "run the tokenize stage again"
_Character = Annotated[str, StringConstraints(min_length=1, max_length=1)]


class _State(Document):
    """What `save_state` writes."""

    format: Literal["tinyllm-characters-1"]
    alphabet: list[_Character]


class CharacterTokenizer:
    """Maps characters to integers: 0 is the unknown character, the others follow by code point.

    Encoding is a table lookup by code point, so its speed does not depend on the alphabet.
    Characters outside the alphabet become `UNKNOWN_ID`, which decodes to U+FFFD: they are never
    silently taken for another character.
    """

    format = "tinyllm-characters-1"
    unit = "character"
    unknown_id = UNKNOWN_ID

    def __init__(self, alphabet: str = "") -> None:
        """Make a tokenizer for the characters of `alphabet`; order and repeats do not matter."""
        self._known = frozenset(alphabet)
        self.alphabet = "".join(sorted(self._known))
        self._id_of_code_point = self._build_table()
        small = self._id_of_code_point[:-1][:256].tobytes()
        fits = self.dtype == np.uint8
        self._id_of_byte = small.ljust(256, bytes([UNKNOWN_ID])) if fits else b""
        codes = [ord(char) for char in (_REPLACEMENT, *self.alphabet)]
        self._code_point_of_id = np.array(codes, dtype="<u4")

    @classmethod
    def learn(cls, counts: Mapping[str, int], min_count: int = 1) -> Self:
        """A tokenizer for the characters that occur at least `min_count` times.

        Args:
            counts: of the characters of the training text, such as a `Counter` of it.
            min_count: see `TokenizeConfig`.

        Raises:
            TinyLLMError: no character is frequent enough.
        """
        alphabet = "".join(char for char, count in counts.items() if count >= min_count)
        if not alphabet:
            raise TinyLLMError(
                f"No character of the training text occurs {min_count} times, so there is nothing "
                f"to learn; lower tokenize.min_count or add text."
            )
        return cls(alphabet)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterTokenizer) and other.alphabet == self.alphabet

    def __hash__(self) -> int:
        return hash(self.alphabet)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the unknown one included."""
        return len(self.alphabet) + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every token."""
        return np.dtype(np.min_scalar_type(self.vocab_size - 1))

    def encode(self, text: str) -> NDArray[Any]:
        """Return the tokens of `text`: shape [characters], dtype `self.dtype`."""
        codes = code_points(text)
        if self._id_of_byte and codes.dtype == np.uint8:
            # bytes are looked up several times as quickly as integers
            return np.frombuffer(codes.tobytes().translate(self._id_of_byte), dtype=np.uint8)
        # the last entry stands for everything behind
        return self._id_of_code_point.take(codes, mode="clip")

    def decode(self, tokens: Any) -> str:
        """Return the text of a sequence of tokens; unknown ones become U+FFFD.

        Raises:
            ValueError: a token is negative or beyond the vocabulary.
        """
        ids = checked_ids(tokens, self.vocab_size)
        return self._code_point_of_id[ids].tobytes().decode("utf-32-le", "surrogatepass")

    def stream(self) -> CharacterStream:
        """Decode one text token by token."""
        return CharacterStream(self.decode)

    def unknown(self, characters: Iterable[str]) -> list[str]:
        """Those of some characters that the alphabet lacks, each once, by code point."""
        return sorted(set(characters) - self._known)

    def save_state(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        state = {"format": self.format, "unknown": UNKNOWN_TOKEN, "alphabet": list(self.alphabet)}
        write_json(path, state)

    @classmethod
    def load_state(cls, path: Path) -> Self:
        """Read what `save_state` wrote.

        Raises:
            TinyLLMError: the file is missing, damaged or in another format.
        """
        state = read_document(path, _State, _REMEDY)
        return cls("".join(state.alphabet))

    def _build_table(self) -> NDArray[Any]:
        # one entry beyond the largest code point stands for everything else
        size = max((ord(char) for char in self.alphabet), default=0) + 2
        table = np.full(size, UNKNOWN_ID, dtype=self.dtype)
        for token, char in enumerate(self.alphabet, start=1):
            table[ord(char)] = token
        return table
