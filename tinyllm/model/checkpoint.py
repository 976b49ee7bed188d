"""The folder of a trained model: all that inference needs, and nothing pickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from tinyllm.base.documents import Document, parse_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import check_regular, write_bytes, write_json
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.tokenizer import Tokenizer

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
FORMAT = "tinyllm-checkpoint-1"
REMEDY = "run the train stage again"
CHECKPOINT = OutFolder(
    writer="tinyllm train",
    files=(WEIGHTS, CONFIG, TOKENIZER),
    mark=CONFIG,
    sign=frozenset({"format", "vocab_size", "model", "training"}),
)


class TrainingFacts(Document):
    """What the later stages need to know about the training."""

    fingerprint: str = Field(pattern=r"^[0-9a-f]{32}$")
    step: NonNegativeInt


class Description(Document):
    """The config.json of a checkpoint; `model` are the fields of a `ModelConfig`."""

    format: Literal["tinyllm-checkpoint-1"]
    vocab_size: PositiveInt
    model: dict[str, Any]
    training: dict[str, Any]


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


def check_training_facts(facts: Mapping[str, Any], folder: Path) -> None:
    """Check what `save_checkpoint` kept with the weights in a folder.

    Raises:
        TinyLLMError: it does not say which run trained the weights.
    """
    parse_document(facts, TrainingFacts, f"'training' in {folder / CONFIG}", REMEDY)


def weight_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """The name and shape of every weight of a `Transformer`, without making one."""
    width, hidden, head = config.d_model, config.d_ff, (config.head_dim,)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocab_size, width)}
    for layer in range(config.num_layers):
        of_block: dict[str, tuple[int, ...]] = {
            "attention_norm": (width,),
            "attention.qkv_proj": (3 * width, width),
            "attention.o_proj": (width, width),
            "attention.q_norm": head,
            "attention.k_norm": head,
            "feed_forward_norm": (width,),
            "feed_forward.gate_up_proj": (2 * hidden, width),
            "feed_forward.down_proj": (width, hidden),
        }
        shapes |= {f"blocks.{layer}.{name}.weight": shape for name, shape in of_block.items()}
    shapes["norm.weight"] = (width,)
    return shapes if config.tie_embeddings else {**shapes, "lm_head.weight": (vocab_size, width)}


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read the weights of a model, whose shapes are checked before any memory is taken.

    Raises:
        TinyLLMError: the file is missing or damaged, or a weight is missing, has another shape or
            type, or is not finite.
    """
    _check_readable(path)
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dict
            whole = {name: tuple(part.get_shape()) for name, part in found.items()} == shapes
            whole = whole and all(part.get_dtype() == "F32" for part in found.values())
    except (OSError, SafetensorError, ValueError) as error:
        raise TinyLLMError(f"Cannot read the weights in {path}: {_one_line(error)}.") from None
    if not whole:
        raise TinyLLMError(f"The tensors in {path} do not fit the {CONFIG} beside it.")
    weights = read_tensors(path)
    if spoiled := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise TinyLLMError(
            f"The weights in {path} are damaged: {spoiled[0]} holds a value that is not finite."
        )
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        TinyLLMError: the file is missing, truncated or damaged.
    """
    _check_readable(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise TinyLLMError(f"Cannot read the weights in {path}: {_one_line(error)}.") from None
    return tensors


def _check_readable(path: Path) -> None:
    """Refuse a file that is not there, or may not be read, which safetensors does not tell apart.

    Raises:
        TinyLLMError: it is.
    """
    check_regular(path)
    try:
        path.open("rb").close()
    except OSError as error:
        raise TinyLLMError(f"Cannot read the weights in {path}: {error.strerror}.") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
