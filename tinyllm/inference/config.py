"""Options of text generation for the command, the console and the served model."""

import re
import reprlib
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from tinyllm.base.errors import ConfigError
from tinyllm.base.section import Section

# what one request may ask of a server: some seconds of its time
MOST_WRITTEN = 50_000
MOST_READ = 200_000
MOST_PROMPTS = 1_000


class SamplingConfig(Section):
    """How the next character is chosen."""

    section: ClassVar[str] = "sampling"
    affects_outputs: ClassVar[bool] = False

    max_new_tokens: int = Field(400, ge=1, le=1_000_000, description="characters to write")
    temperature: float = Field(0.8, ge=0, le=100, description="0: always the likeliest character")
    top_k: int = Field(0, ge=0, description="choose among the k likeliest; 0: among all")
    top_p: float = Field(
        1.0, gt=0, le=1, description="choose among the likeliest that together reach this share"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same text")
    stop: str = Field("", description="stop when this text has been written; empty: never")


def check_request(prompts: Sequence[Any], sampling: SamplingConfig) -> None:
    """Check what a client asks of a server, of which it is not the only client.

    Args:
        prompts: of any type.
        sampling: applies to each of them.

    Raises:
        ConfigError: a prompt is not a text, or there is more to read or to write than one request
            may ask for.
    """
    for number, prompt in enumerate(prompts, start=1):
        if not isinstance(prompt, str):
            raise ConfigError(f"prompt {number} must be a text, not {reprlib.repr(prompt)}.")
        if re.search("[\ud800-\udfff]", prompt):
            raise ConfigError(f"prompt {number} holds half of a surrogate pair, which is no text.")
    written = len(prompts) * sampling.max_new_tokens
    if written > MOST_WRITTEN:
        raise ConfigError(
            f"The request asks for {written:,} characters, prompts times max_new_tokens; one "
            f"request may ask for at most {MOST_WRITTEN:,}."
        )
    read = sum(map(len, prompts))
    if read > MOST_READ or len(prompts) > MOST_PROMPTS:
        raise ConfigError(
            f"The request holds {len(prompts):,} prompts of {read:,} characters; one request may "
            f"hold at most {MOST_PROMPTS:,} of {MOST_READ:,} in all."
        )
