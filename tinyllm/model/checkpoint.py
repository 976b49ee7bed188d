"""The folder of a trained model: all that inference needs, and nothing pickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_bytes, write_json
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.tokenizer import Tokenizer

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
FORMAT = "tinyllm-checkpoint-1"
CHECKPOINT = OutFolder(
    writer="tinyllm train",
    files=(WEIGHTS, CONFIG, TOKENIZER),
    mark=CONFIG,
    sign=frozenset({"format", "vocab_size", "model", "training"}),
)


def save_checkpoint(
    out: Path | str,
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    training: Mapping[str, Any],
) -> None:
    """Write `model.safetensors`, `config.json` and `tokenizer.json`.

    Args:
        out: the folder to write; an earlier one is replaced.
        weights: the state of a `Transformer`.
        config: its shape.
        tokenizer: the tokenizer it was trained with.
        training: facts to keep with the weights; no time, path or host name.

    Raises:
        ConfigError: `out` holds something else.
        TinyLLMError: the folder cannot be written to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    description = {
        "format": FORMAT,
        "vocab_size": tokenizer.vocab_size,
        "model": config.model_dump(),
        "training": dict(training),
    }
    with new_directory(Path(out), CHECKPOINT) as folder:
        write_bytes(folder / WEIGHTS, save(tensors))
        write_json(folder / CONFIG, description)
        tokenizer.save_state(folder / TOKENIZER)


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
