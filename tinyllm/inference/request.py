"""What one client may ask of a server that it shares with others."""

import re
import reprlib
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from tinyllm.base.errors import ConfigError
from tinyllm.base.section import Section
from tinyllm.inference.config import SamplingConfig


class ServeConfig(Section):
    """What one request to the server may ask for."""

    section: ClassVar[str] = "serve"
    affects_outputs: ClassVar[bool] = False

    max_prompts: int = Field(100, ge=1, description="prompts in one request")
    max_prompt_characters: int = Field(
        200_000, ge=1, description="characters of all prompts of one request"
    )
    max_new_tokens: int = Field(
        50_000, ge=1, description="tokens that one request may ask for, of all its texts"
    )
    max_seconds: float = Field(
        50.0, gt=0, le=86_400, description="seconds that one request may compute"
    )


def check_request(
    prompts: Sequence[Any], sampling: SamplingConfig, limits: ServeConfig | None = None
) -> None:
    """Check what a client asks of a server.

    Args:
        prompts: of any type.
        sampling: applies to each of them.
        limits: defaults to `ServeConfig()`.

    Raises:
        ConfigError: a prompt is not a text, or there is more to read or to write than one request
            may ask for.
    """
    limits = limits or ServeConfig()
    for number, prompt in enumerate(prompts, start=1):
        if not isinstance(prompt, str):
            raise ConfigError(f"prompt {number} must be a text, not {reprlib.repr(prompt)}.")
        if re.search("[\ud800-\udfff]", prompt):
            raise ConfigError(f"prompt {number} holds half of a surrogate pair, which is no text.")
    written = len(prompts) * sampling.max_new_tokens
    if written > limits.max_new_tokens:
        raise ConfigError(
            f"The request asks for {written:,} tokens, prompts times max_new_tokens; one "
            f"request may ask for at most {limits.max_new_tokens:,}."
        )
    read = sum(map(len, prompts))
    if read > limits.max_prompt_characters or len(prompts) > limits.max_prompts:
        raise ConfigError(
            f"The request holds {len(prompts):,} prompts of {read:,} characters; one request may "
            f"hold at most {limits.max_prompts:,} of {limits.max_prompt_characters:,} in all."
        )
