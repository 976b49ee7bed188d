"""The model as a plain Qwen3 model for transformers, vLLM and other readers of their format."""

from pathlib import Path
from typing import Any

from safetensors.torch import save

from tinyllm.base.files import write_bytes, write_json
from tinyllm.formats.qwen3 import huggingface_config, to_huggingface
from tinyllm.formats.tokenizer_json import (
    huggingface_tokenizer,
    huggingface_tokenizer_config,
    special_token,
)
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.tokens.tokenizer import Tokenizer


def write_weights(checkpoint: Checkpoint, folder: Path) -> None:
    """Write model.safetensors."""
    weights = to_huggingface(checkpoint.model.state_dict(), checkpoint.model.config)
    # transformers rejects a file that does not name the framework of its tensors
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))


def write_description(checkpoint: Checkpoint, folder: Path) -> None:
    """Write configuration and tokenizer."""
    config = checkpoint.model.config
    write_json(folder / "config.json", huggingface_config(config, checkpoint.tokenizer))
    write_json(folder / "generation_config.json", _how_to_sample(checkpoint.tokenizer))
    write_json(folder / "tokenizer.json", huggingface_tokenizer(checkpoint.tokenizer))
    tokenizer_config = huggingface_tokenizer_config(checkpoint.tokenizer, config.sequence_length)
    write_json(folder / "tokenizer_config.json", tokenizer_config)


def _how_to_sample(tokenizer: Tokenizer) -> dict[str, Any]:
    """What programs do unless asked otherwise."""
    unknown = tokenizer.unknown_id
    special, _ = special_token(tokenizer)
    return {
        "do_sample": True,
        "temperature": 0.8,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), special),
        # nothing that the model read was unknown, so that token is never written
        **({} if unknown is None else {"suppress_tokens": [unknown]}),
    }
