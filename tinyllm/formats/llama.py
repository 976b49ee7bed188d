"""llama.cpp, to check that it computes what the model does."""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError


class LlamaRuntime:
    """A GGUF file opened in llama.cpp, on one thread, without rounding beyond the file's."""

    def __init__(self, path: Path) -> None:
        """Open a file that `write_gguf` wrote, with the model's window.

        Raises:
            TinyLLMError: llama-cpp-python is not installed, or llama.cpp cannot read the file.
        """
        if importlib.util.find_spec("llama_cpp") is None:
            raise TinyLLMError(
                "export.verify_with holds llama.cpp, but llama-cpp-python is not installed; run "
                "pip install 'tinyllm[llama]', set export.skip_missing or leave llama.cpp out."
            )
        from llama_cpp import GGML_TYPE_F32, Llama  # noqa: PLC0415 - an optional dependency

        try:
            # llama.cpp warns that it rounds the window up to a multiple of 256
            with contextlib.redirect_stderr(io.StringIO()):
                self._llama: Any = Llama(
                    str(path),
                    n_ctx=0,
                    n_threads=1,
                    n_threads_batch=1,
                    # half precision would add an error that is not the file's
                    type_k=GGML_TYPE_F32,
                    type_v=GGML_TYPE_F32,
                    flash_attn=False,
                    logits_all=True,
                    verbose=False,
                )
        except ValueError:
            raise TinyLLMError(f"llama.cpp cannot open {path}; export again.") from None

    def tokenize(self, text: str) -> list[int]:
        """Tokenize a text."""
        tokens = self._llama.tokenize(text.encode("utf-8"), add_bos=False, special=False)
        return [int(token) for token in tokens]

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits [time, vocabulary] for `tokens`, which must fit the window."""
        self._llama.reset()
        self._llama.eval(list(tokens))
        return np.array(self._llama.scores[: len(tokens)], dtype=np.float32)

    def greedy(
        self, prompt_tokens: Sequence[int], count: int, unknown: int | None = None
    ) -> list[int]:
        """The likeliest `count` tokens after a prompt, one by one; all must fit the window.

        Never `unknown`; see `Tokenizer.unknown_id`.
        """
        self._llama.reset()
        written: list[int] = []
        unread = list(prompt_tokens)
        while len(written) < count:
            self._llama.eval(unread)
            scores = self._llama.scores[self._llama.n_tokens - 1].copy()
            if unknown is not None:
                scores[unknown] = -np.inf
            unread = [int(scores.argmax())]
            written += unread
        return written

    def start(self, prompts: list[list[int]]) -> NDArray[np.float32]:
        """Reset and read one prompt; logits of the next token, [1, vocabulary]."""
        self._llama.reset()
        return self.step(prompts[0])

    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read more tokens; logits of the next, [1, vocabulary]."""
        self._llama.eval(tokens)
        return np.array(self._llama.scores[self._llama.n_tokens - 1], dtype=np.float32)[None]
