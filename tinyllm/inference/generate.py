"""Writing text, character by character, however long, after a prompt that is never lost."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tinyllm.config.sampling import SamplingConfig
from tinyllm.inference.sampling import next_token
from tinyllm.logger import get_logger
from tinyllm.models.cache import KeyValueCache
from tinyllm.models.checkpoint import Checkpoint
from tinyllm.models.transformer import Transformer
from tinyllm.tokenization.tokenizer import UNKNOWN_ID

_log = get_logger(__name__)


def generate_text(model: Checkpoint, prompt: str, sampling: SamplingConfig | None = None) -> str:
    """Return the prompt and the text that the model writes after it.

    Args:
        model: from `load_model`.
        prompt: text to go on from; it stands at the beginning of the result as it was given,
            also where it is longer than the context window or holds unknown characters.
        sampling: how to choose; the defaults of `SamplingConfig` if left out.
    """
    return prompt + "".join(stream_text(model, prompt, sampling))


def stream_text(
    model: Checkpoint, prompt: str, sampling: SamplingConfig | None = None
) -> Iterator[str]:
    """Yield the characters that the model writes after the prompt, one by one.

    A stop text, once complete, is the last thing yielded.
    """
    sampling = sampling or SamplingConfig()
    tokens = _encode_prompt(model, prompt)
    generator = torch.Generator().manual_seed(sampling.seed)
    reader = _Reader(model.model)
    written = ""
    for _ in range(sampling.max_new_tokens):
        token = next_token(reader.read(tokens), sampling, generator)
        tokens.append(token)
        character = model.tokenizer.decode([token])
        written += character
        yield character
        if sampling.stop and written.endswith(sampling.stop):
            return


class _Reader:
    """Reads a growing list of tokens and predicts the next one, one new token at a time.

    When the context window is full, reading starts again with the last three quarters of a
    window; that is one pass over many characters for every quarter of a window written, so that
    a character costs the same however long the text is.
    """

    def __init__(self, model: Transformer) -> None:
        self._model = model
        weight = model.embedding.weight
        self._device = weight.device
        self._cache = KeyValueCache(model.config, 1, weight.device, weight.dtype)
        self._read = 0

    @torch.no_grad()
    def read(self, tokens: list[int]) -> Tensor:
        """Read what is new in `tokens` and return the logits of the next one: [vocabulary]."""
        window = self._model.config.sequence_length
        new = tokens[self._read :]
        if len(new) > self._cache.room:
            self._cache.clear()
            new = tokens[-(window - window // 4) :]
        self._read = len(tokens)
        batch = torch.tensor([new], device=self._device)
        return self._model(batch, self._cache)[0, -1]  # type: ignore[no-any-return]


def _encode_prompt(model: Checkpoint, prompt: str) -> list[int]:
    tokenizer = model.tokenizer
    tokens: list[int] = tokenizer.encode(prompt).tolist()
    if UNKNOWN_ID in tokens:
        unknown = sorted(set(prompt) - set(tokenizer.alphabet))
        shown = " ".join(repr(character) for character in unknown[:10])
        _log.warning("The model has never seen %s in training; it reads <unk> instead.", shown)
    # without a prompt the text begins as if at the start of a line
    return tokens or [int(tokenizer.encode("\n")[0])]
