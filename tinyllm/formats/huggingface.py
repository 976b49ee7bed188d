"""The model as a plain Qwen3 model for transformers, vLLM and everything that reads their form."""

from pathlib import Path

from safetensors.torch import save

from tinyllm.base.files import write_bytes, write_json
from tinyllm.formats.qwen3 import huggingface_config, to_huggingface
from tinyllm.formats.tokenizer_json import huggingface_tokenizer, huggingface_tokenizer_config
from tinyllm.inference.checkpoint import Checkpoint


def write_huggingface(checkpoint: Checkpoint, folder: Path) -> None:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files."""
    config = checkpoint.model.config
    weights = to_huggingface(checkpoint.model.state_dict(), config)
    # transformers refuses a file that does not say which framework's tensors it holds
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", huggingface_config(config, checkpoint.model.vocab_size))
    write_json(folder / "generation_config.json", {"do_sample": True, "temperature": 0.8})
    write_json(folder / "tokenizer.json", huggingface_tokenizer(checkpoint.tokenizer))
    tokenizer_config = huggingface_tokenizer_config(config.sequence_length)
    write_json(folder / "tokenizer_config.json", tokenizer_config)
