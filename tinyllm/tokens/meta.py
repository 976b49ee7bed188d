"""The description of the token files, meta.json."""

import math
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tinyllm.base.documents import Document, Sha256, read_document

META = "meta.json"
REMEDY = "run the tokenize stage again"
# all of Unicode, and the unknown character
_MOST_TOKENS = 0x110001
# which of Unicode's characters it is, without a guess
_SPELLED = math.log2(0x110000 - 0x800)


class Shard(Document):
    """A file of tokens, and the SHA-256 of its bytes."""

    file: str = Field(pattern=r"^(train|val|test)-\d{5,}\.bin$")
    tokens: PositiveInt
    sha256: Sha256


class SplitFacts(Document):
    """The tokens of a split, from how much text, and the fingerprint of that."""

    tokens: NonNegativeInt
    characters: NonNegativeInt
    bytes: NonNegativeInt
    fingerprint: Sha256
    unknown_characters: dict[str, NonNegativeInt]
    shards: list[Shard]

    @property
    def tokens_per_character(self) -> float:
        """How many tokens spell a character, on average."""
        return self.tokens / self.characters if self.characters else 1.0

    def bits_per_character(self, loss: float) -> float:
        """Bits per character of a mean loss in nats per token.

        They are those of a code for the text, so that all kinds of tokenizers compare: what the
        token of an unknown character leaves open costs `_SPELLED` bits more.
        """
        spelled = sum(self.unknown_characters.values()) * _SPELLED
        bits = loss / math.log(2) * self.tokens_per_character
        return bits + spelled / self.characters if spelled else bits

    def bits_per_byte(self, loss: float) -> float:
        """Bits per byte of UTF-8 of a mean loss in nats per token."""
        return self.bits_per_character(loss) * self.characters / self.bytes

    @model_validator(mode="after")
    def _shards_add_up(self) -> Self:
        if sum(shard.tokens for shard in self.shards) != self.tokens:
            raise ValueError("the tokens of the shards do not add up")
        return self


class Splits(Document):
    """The three splits."""

    train: SplitFacts
    val: SplitFacts
    test: SplitFacts


class TokenMeta(Document):
    """Vocabulary, type of the tokens, and the splits."""

    vocab_size: int = Field(ge=2, le=_MOST_TOKENS)
    dtype: Literal["uint8", "uint16", "uint32"]
    splits: Splits

    def split(self, name: str) -> SplitFacts:
        """The facts of `train`, `val` or `test`."""
        facts: SplitFacts = getattr(self.splits, name)
        return facts


def read_meta(folder: Path) -> TokenMeta:
    """Read the description in a folder of the tokenize stage.

    Raises:
        TinyLLMError: it is missing or damaged.
    """
    return read_document(folder / META, TokenMeta, REMEDY)
