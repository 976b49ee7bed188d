"""A Hugging Face export opened in transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class TransformersReader:
    """Reads one text with transformers' own model class and cache."""

    def __init__(self, folder: Path) -> None:
        """Open the model as any user would, without code of this project."""
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - slow, and optional
        from transformers.utils import logging  # noqa: PLC0415 - as above

        logging.disable_progress_bar()
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        ).eval()
        self._past: Any = None

    @torch.no_grad()
    def start(self, prompts: list[list[int]]) -> NDArray[np.float32]:
        """Reset and read a prompt; logits of the next token, [1, vocabulary]."""
        self._past = None
        return self._read(prompts)

    @torch.no_grad()
    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read one more token; logits of the next, [1, vocabulary]."""
        return self._read([tokens])

    def _read(self, rows: list[list[int]]) -> NDArray[np.float32]:
        result = self._model(torch.tensor(rows), past_key_values=self._past, use_cache=True)
        self._past = result.past_key_values
        return result.logits[:, -1].float().numpy()  # type: ignore[no-any-return]  # transformers has no types for it
