"""Generating text of any length, token by token.

Does not import torch: any runtime that reads tokens and predicts the next one will do.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from tinyllm.base.errors import ConfigError
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.prompt import encode_prompts
from tinyllm.inference.sampling import next_token
from tinyllm.tokens.tokenizer import TextStream, Tokenizer

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
    def tokenizer(self) -> Tokenizer:
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
        before_each: called before each token; what it raises ends the work.

    Raises:
        ConfigError: a prompt is no text.
    """
    written: list[list[str]] = [[prompt] for prompt in prompts]
    encoded = _encode(model, prompts)
    for first in range(0, len(prompts), _TOGETHER):
        texts = written[first : first + _TOGETHER]
        before_each()
        group = encoded[first : first + _TOGETHER]
        for added in _continue(model, group, sampling or SamplingConfig()):
            for text, piece in zip(texts, added, strict=True):
                text.append(piece)
            before_each()
    return ["".join(text) for text in written]


def stream_text(
    model: LanguageModel, prompt: str, sampling: SamplingConfig | None = None
) -> Iterator[str]:
    """The continuation of the prompt, token by token, up to and with a stop text.

    A character whose bytes are tokens arrives whole. What is to be said of the prompt is said at
    once, before the first token is asked for.
    """
    pieces = _continue(model, _encode(model, [prompt]), sampling or SamplingConfig())
    return (piece for (piece,) in pieces if piece)


def _encode(model: LanguageModel, prompts: Sequence[str]) -> list[list[int]]:
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise ConfigError(f"A prompt is one text, not {type(prompt).__name__}.")
    return encode_prompts(model.tokenizer, prompts)


def _continue(
    model: LanguageModel, prompts: list[list[int]], sampling: SamplingConfig
) -> Iterator[list[str]]:
    """What the next token adds to each text, again and again; nothing after its stop text."""
    reader = model.reader()
    logits = reader.start(prompts)
    unknown = model.tokenizer.unknown_id
    texts = [_Text(model.tokenizer.stream(), sampling.stop) for _ in prompts]
    for index in range(sampling.max_new_tokens):
        tokens = [next_token(row, sampling, index, unknown) for row in logits]
        last = index + 1 == sampling.max_new_tokens
        yield [text.add(token, last=last) for text, token in zip(texts, tokens, strict=True)]
        if last or all(text.done for text in texts):
            return
        logits = reader.step(tokens)


class _Text:
    """A text that is being written, up to and with its stop text."""

    def __init__(self, stream: TextStream, stop: str) -> None:
        self._stream, self._stop = stream, stop
        self._end = ""
        self.done = False

    def add(self, token: int, *, last: bool) -> str:
        """What a token adds."""
        if self.done:
            return ""
        piece = self._stream.push(token) + (self._stream.finish() if last else "")
        if not self._stop:
            return piece
        before, text = len(self._end), self._end + piece
        place = text.find(self._stop)
        if place >= 0:
            self.done = True
            return text[before : place + len(self._stop)]
        self._end = text[max(0, len(text) - len(self._stop) + 1) :]
        return piece
