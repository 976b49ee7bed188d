"""Generating text of any length, character by character.

Does not import torch: any runtime that reads tokens and predicts the next one will do.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.sampling import next_token
from tinyllm.tokens.tokenizer import UNKNOWN_ID, CharacterTokenizer

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads texts and predicts the next tokens."""

    def start(self, prompts: list[list[int]]) -> NDArray[Any]:
        """Reset, read the prompts and return logits: [prompts, vocabulary]."""

    def step(self, tokens: list[int]) -> NDArray[Any]:
        """Read one more token of each text and return logits: [prompts, vocabulary]."""


class LanguageModel(Protocol):
    """A model in some runtime: `tinyllm.model.checkpoint` or `tinyllm.formats.onnx_model`."""

    @property
    def tokenizer(self) -> CharacterTokenizer:
        """The tokenizer that it was trained with."""

    def reader(self) -> Reader:
        """A new reader."""


def generate_text(model: LanguageModel, prompt: str, sampling: SamplingConfig | None = None) -> str:
    """Return the prompt and its continuation by the model.

    Args:
        model: from `load_model`.
        prompt: text to continue; the result begins with it, even if it is longer than the
            context window or holds unknown characters.
        sampling: how to choose; defaults to `SamplingConfig()`.
    """
    return generate_texts(model, [prompt], sampling)[0]


def generate_texts(
    model: LanguageModel, prompts: Sequence[str], sampling: SamplingConfig | None = None
) -> list[str]:
    """Like `generate_text` for each prompt, but faster."""
    texts = list(prompts)
    for characters in _write(model, prompts, sampling or SamplingConfig()):
        texts = [text + character for text, character in zip(texts, characters, strict=True)]
    return texts


def stream_text(
    model: LanguageModel, prompt: str, sampling: SamplingConfig | None = None
) -> Iterator[str]:
    """Yield the continuation of the prompt, one character at a time, up to and with a stop text."""
    for (character,) in _write(model, [prompt], sampling or SamplingConfig()):
        yield character


def _write(
    model: LanguageModel, prompts: Sequence[str], sampling: SamplingConfig
) -> Iterator[list[str]]:
    """Yield the next character of each text, empty after its stop text."""
    if not prompts:
        return
    reader = model.reader()
    logits = reader.start([_encode_prompt(model.tokenizer, prompt) for prompt in prompts])
    written = [""] * len(prompts)
    stopped = [False] * len(prompts)
    for index in range(sampling.max_new_tokens):
        tokens = [next_token(row, sampling, index) for row in logits]
        characters = model.tokenizer.decode(tokens)
        yield ["" if end else char for char, end in zip(characters, stopped, strict=True)]
        if sampling.stop:
            keep = len(sampling.stop)
            written = [(text + c)[-keep:] for text, c in zip(written, characters, strict=True)]
            pairs = zip(stopped, written, strict=True)
            stopped = [end or text == sampling.stop for end, text in pairs]
        if all(stopped) or index + 1 == sampling.max_new_tokens:
            return
        logits = reader.step(tokens)


def _encode_prompt(tokenizer: CharacterTokenizer, prompt: str) -> list[int]:
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if UNKNOWN_ID in tokens:
        unknown = sorted(set(prompt) - set(tokenizer.alphabet))
        shown = " ".join(repr(character) for character in unknown[:10])
        _log.warning("The model has never seen %s in training; it reads <unk> instead.", shown)
    # without a prompt the text begins as if at the start of a line
    return tokens or [int(tokenizer.encode("\n")[0])]
