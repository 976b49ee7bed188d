"""The published model: a folder that holds everything inference needs, and nothing pickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tinyllm.config.model import ModelConfig
from tinyllm.errors import TinyLLMError
from tinyllm.files import read_json, write_bytes, write_json
from tinyllm.models.reader import CachedReader
from tinyllm.models.transformer import Transformer
from tinyllm.outs import OutFolder
from tinyllm.replacing import new_directory
from tinyllm.tokenization.tokenizer import CharacterTokenizer

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
_FORMAT = "tinyllm-checkpoint-1"
CHECKPOINT = OutFolder(
    writer="tinyllm train",
    files=(WEIGHTS, CONFIG, TOKENIZER),
    mark=CONFIG,
    sign=frozenset({"format", "vocab_size", "model", "training"}),
)


@dataclass(frozen=True)
class Checkpoint:
    """A model read back, with the tokenizer and the facts of the training that made it."""

    model: Transformer
    tokenizer: CharacterTokenizer
    training: dict[str, Any]

    def reader(self) -> CachedReader:
        """A reader of texts that has read nothing yet."""
        return CachedReader(self.model)


def save_checkpoint(
    out: Path,
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: CharacterTokenizer,
    training: Mapping[str, Any],
) -> None:
    """Write `model.safetensors`, `config.json` and `tokenizer.json`.

    Args:
        out: the folder to write; one that this wrote before is replaced.
        weights: the state of a `Transformer`.
        config: its shape.
        tokenizer: the tokenizer it was trained with.
        training: facts to keep with the weights; they must not name a time or a place.

    Raises:
        ConfigError: the folder holds something else.
        TinyLLMError: the folder cannot be written to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    description = {
        "format": _FORMAT,
        "vocab_size": tokenizer.vocab_size,
        "model": config.model_dump(),
        "training": dict(training),
    }
    with new_directory(out, CHECKPOINT) as folder:
        write_bytes(folder / WEIGHTS, save(tensors))
        write_json(folder / CONFIG, description)
        tokenizer.save_state(folder / TOKENIZER)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read what `save_checkpoint` wrote; the model comes in evaluation mode.

    Raises:
        TinyLLMError: the folder is missing, incomplete, damaged or of another format.
    """
    if not folder.is_dir():
        raise TinyLLMError(f"There is no checkpoint at {folder}; run the train stage first.")
    description = read_json(folder / CONFIG)
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise TinyLLMError(f"{folder / CONFIG} does not describe a checkpoint of this program.")
    tokenizer = CharacterTokenizer.load_state(folder / TOKENIZER)
    if description.get("vocab_size") != tokenizer.vocab_size or "training" not in description:
        raise TinyLLMError(f"{folder / CONFIG} does not fit the {TOKENIZER} beside it.")
    config = ModelConfig.parse(description.get("model"), str(folder / CONFIG))
    model = Transformer(config, tokenizer.vocab_size)
    weights = read_tensors(folder / WEIGHTS)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise TinyLLMError(
            f"The tensors in {folder / WEIGHTS} do not fit its {CONFIG}; run the train stage again."
        ) from None
    return Checkpoint(model.to(device).eval(), tokenizer, description["training"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        TinyLLMError: the file is missing, truncated or damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())
        raise TinyLLMError(f"Cannot read the weights in {path}: {reason}.") from None
    return tensors
