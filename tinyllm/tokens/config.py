"""Hyperparameters of the tokenize stage."""

from typing import ClassVar, Literal

from pydantic import Field

from tinyllm.base.section import Section


class TokenizeConfig(Section):
    """What the tokens are, and how they are learned from the training split."""

    section: ClassVar[str] = "tokenize"

    kind: Literal["char", "byte", "bpe"] = Field(
        "char",
        description="what a token is: a character, a byte of UTF-8, or a frequent piece of a word",
    )
    min_count: int = Field(
        1,
        ge=1,
        description="char: characters seen less often in the training split become unknown",
    )
    vocab_size: int = Field(
        512, ge=257, le=1_000_000, description="bpe: tokens, of which 256 are the bytes"
    )
    learn_characters: int = Field(
        100_000_000,
        ge=1,
        description="bpe: characters, evenly spread over the training split, to learn from",
    )
