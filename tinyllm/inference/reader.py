"""Reading a batch of texts with a cache: prompts at once, then character by character."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.inference.cache import KeyValueCache
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer

# a product of one row uses another kernel, with other bits, than the same row among several
_FEWEST_ROWS = 2


class CachedReader:
    """Predicts the next character of each of several texts.

    The results for a text do not depend, to the bit, on the other texts.
    """

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._count = 0

    @torch.no_grad()
    def start(self, prompts: list[list[int]]) -> NDArray[np.float32]:
        """Reset and read `prompts`, each of at least one token.

        Returns:
            Logits of the next tokens: [prompts, vocabulary].
        """
        self._count = len(prompts)
        self._cache = self._new_cache(max(self._count, _FEWEST_ROWS))
        logits = []
        for row, prompt in enumerate(prompts):
            cache = self._new_cache(1)
            logits.append(self._read_prompt(prompt, cache))
            self._cache.copy_row(row, cache)
        return np.stack(logits)

    @torch.no_grad()
    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read one more token of each text; logits of the next, [texts, vocabulary]."""
        rows = tokens + [0] * (_FEWEST_ROWS - len(tokens))
        batch = torch.tensor(rows, device=self._cache.keys.device)[:, None]
        with one_thread():
            return _to_numpy(self._model(batch, self._cache)[: self._count, -1])

    def _read_prompt(self, prompt: list[int], cache: KeyValueCache) -> NDArray[np.float32]:
        beyond = beyond_reach(len(prompt), self._model.config)
        cache.lengths += beyond
        tokens = torch.tensor([prompt[beyond:]], device=cache.keys.device)
        pieces = tokens.split(self._model.config.sequence_length, dim=1)
        logits = [self._model(piece, cache)[0, -1] for piece in pieces]
        return _to_numpy(logits[-1])

    def _new_cache(self, rows: int) -> KeyValueCache:
        weight = self._model.embedding.weight
        return KeyValueCache(self._model.config, rows, weight.device, weight.dtype)


def beyond_reach(length: int, config: ModelConfig) -> int:
    """How many characters at the start of a prompt cannot change what comes after it.

    Each layer looks back one window. Whole windows are left out, and places in the text stay, so
    that all that is computed from the others has the same shape and the same bits.
    """
    window = config.sequence_length
    return max(length - 1 - config.num_layers * (window - 1), 0) // window * window


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, which is fastest for small batches."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _to_numpy(logits: Tensor) -> NDArray[Any]:
    return logits.float().cpu().numpy()
