"""Options of text generation for the command, the console and the served model."""

from typing import ClassVar

from pydantic import Field

from tinyllm.base.section import Section


class SamplingConfig(Section):
    """How the next token is chosen."""

    section: ClassVar[str] = "sampling"
    affects_outputs: ClassVar[bool] = False

    max_new_tokens: int = Field(
        400, ge=1, le=1_000_000, description="tokens to write: characters, bytes or pieces of words"
    )
    temperature: float = Field(0.8, ge=0, le=100, description="0: always the likeliest token")
    top_k: int = Field(0, ge=0, description="choose among the k likeliest; 0: among all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="choose among the likeliest that together reach this share"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same text")
    stop: str = Field("", description="stop when this text has been written; empty: never")
