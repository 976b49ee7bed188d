"""The description of the token files, meta.json."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt

from tinyllm.base.documents import Document, Sha256, read_document

META = "meta.json"
REMEDY = "run the tokenize stage again"
# all of Unicode, and the unknown character
_MOST_TOKENS = 0x110001


class SplitFacts(Document):
    """The tokens of a split: how many, from how many bytes of UTF-8 with which SHA-256."""

    tokens: NonNegativeInt
    characters: NonNegativeInt
    bytes: NonNegativeInt
    fingerprint: Sha256
    unknown_characters: dict[str, NonNegativeInt]


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
