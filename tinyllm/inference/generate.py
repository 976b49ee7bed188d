"""Generating text of any length, character by character.

Does not import torch: any runtime that reads tokens and predicts the next one will do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from tinyllm.base.errors import ConfigError
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.prompt import encode_prompts
from tinyllm.inference.sampling import next_token
from tinyllm.tokens.tokenizer import CharacterTokenizer

# texts that are written at once: more are no faster, and each takes memory for what it has read
_TOGETHER = 16


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


def generate_text(
    model: LanguageModel, prompt: str, sampling: SamplingConfig | None = None, **settings: Any
) -> str:
    """Return the prompt and its continuation by the model.

    Args:
        model: from `load_model`.
        prompt: text to continue; the result begins with it, even if it is longer than the
            context window or holds unknown characters.
        sampling: how to choose; defaults to `SamplingConfig()`.
        settings: fields of `SamplingConfig` by name, such as `temperature=0.5`, instead of those
            of `sampling`.

    Raises:
        ConfigError: the prompt is no text, or a setting is wrong.
    """
    if settings:
        given = sampling.model_dump() if sampling else {}
        sampling = SamplingConfig.parse({**given, **settings})
    return generate_texts(model, [prompt], sampling)[0]


def generate_texts(
    model: LanguageModel,
    prompts: Sequence[str],
    sampling: SamplingConfig | None = None,
    before_each: Callable[[], None] = lambda: None,
) -> list[str]:
    """Like `generate_text` for each prompt, but faster.

    Args:
        model: see `generate_text`.
        prompts: texts to continue.
        sampling: see `generate_text`.
        before_each: called before each character; what it raises ends the work.

    Raises:
        ConfigError: a prompt is no text.
    """
    written: list[list[str]] = [[prompt] for prompt in prompts]
    encoded = _encode(model, prompts)
    for first in range(0, len(prompts), _TOGETHER):
        texts = written[first : first + _TOGETHER]
        before_each()
        group = encoded[first : first + _TOGETHER]
        for characters in _continue(model, group, sampling or SamplingConfig()):
            for text, character in zip(texts, characters, strict=True):
                text.append(character)
            before_each()
    return ["".join(text) for text in written]


def stream_text(
    model: LanguageModel, prompt: str, sampling: SamplingConfig | None = None
) -> Iterator[str]:
    """The continuation of the prompt, one character at a time, up to and with a stop text.

    What is to be said of the prompt is said at once, before the first character is asked for.
    """
    characters = _continue(model, _encode(model, [prompt]), sampling or SamplingConfig())
    return (character for (character,) in characters)


def _encode(model: LanguageModel, prompts: Sequence[str]) -> list[list[int]]:
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise ConfigError(f"A prompt is one text, not {type(prompt).__name__}.")
    return encode_prompts(model.tokenizer, prompts)


def _continue(
    model: LanguageModel, prompts: list[list[int]], sampling: SamplingConfig
) -> Iterator[list[str]]:
    """The next character of each text, again and again; empty after its stop text."""
    reader = model.reader()
    logits = reader.start(prompts)
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
