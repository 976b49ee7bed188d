"""Reads GGUF files back, to check that they hold the model."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import Precision
from tinyllm.formats.gguf import (
    ARCHITECTURE,
    BLOCK,
    Weights,
    gguf_names,
    huggingface_weights,
)
from tinyllm.formats.gguf_header import check_header
from tinyllm.formats.gguf_tokenizer import gguf_merges, gguf_vocabulary
from tinyllm.formats.qwen3 import from_huggingface, to_huggingface
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer

if TYPE_CHECKING:
    from gguf import GGUFReader

_MERGES = "tokenizer.ggml.merges"


def read_gguf(path: Path) -> Weights:
    """Read the weights of a file that `write_gguf` wrote, dequantized, by Hugging Face names.

    Raises:
        TinyLLMError: the file is missing, damaged or from another program.
    """
    return _read(path)[2]


def verify_gguf(checkpoint: Checkpoint, path: Path, precision: Precision, tokens: Tensor) -> float:
    """Check that a file holds the model, and measure the error of its precision.

    Args:
        checkpoint: the model.
        path: its GGUF file.
        precision: of the file.
        tokens: some text to compare the logits on, [batch, time].

    Returns:
        The largest difference between the logits of the model and those of the file.

    Raises:
        TinyLLMError: the file's shape, tokens or weights are not the model's.
    """
    config, vocabulary, found = _read(path)
    if config != _as_stored(checkpoint.model.config):
        raise TinyLLMError(f"{path} describes another model than the checkpoint's; export again.")
    tokenizer = checkpoint.tokenizer
    if vocabulary != _Vocabulary(gguf_vocabulary(tokenizer), gguf_merges(tokenizer)):
        raise TinyLLMError(f"{path} holds other tokens than the checkpoint; export again.")
    for name, expected in huggingface_weights(checkpoint).items():
        if not _is_rounding(expected, found[name], precision):
            raise TinyLLMError(f"{name} in {path} is not the checkpoint's; export again.")
    model = read_model(path, checkpoint).model.to(tokens.device)
    with torch.no_grad():
        return float((model(tokens) - checkpoint.model(tokens)).abs().max())


def read_model(path: Path, checkpoint: Checkpoint) -> Checkpoint:
    """The model in a file, dequantized, with the tokenizer and facts of `checkpoint`.

    Raises:
        TinyLLMError: the file is missing, damaged or from another program.
    """
    config, _, weights = _read(path)
    # copied, to compute as the model that it is compared with
    model = copy.deepcopy(checkpoint.model)
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    model.load_state_dict(from_huggingface(tensors, config))
    return Checkpoint(model.eval(), checkpoint.tokenizer, checkpoint.training)


class _Vocabulary(NamedTuple):
    """The tokens, and the pairs of them that are joined."""

    tokens: list[str]
    merges: list[str]


def _read(path: Path) -> tuple[ModelConfig, _Vocabulary, Weights]:
    """The shape, the vocabulary and the weights in a file."""
    from gguf import GGUFReader, quants  # noqa: PLC0415 - an optional dependency

    check_header(path)
    try:
        reader = GGUFReader(path)
        config = _read_config(reader)
        vocabulary = _Vocabulary(
            list(_field(reader, "tokenizer.ggml.tokens")),
            list(_field(reader, _MERGES)) if _MERGES in reader.fields else [],
        )
        arrays = {
            tensor.name: np.array(quants.dequantize(tensor.data, tensor.tensor_type))
            for tensor in reader.tensors
        }
        # before as many layers are made as the file says
        _check_count(config, len(arrays))
        with torch.device("meta"):
            expected = to_huggingface(
                Transformer(config, len(vocabulary.tokens)).state_dict(), config
            )
        names = gguf_names(expected, config.num_layers)
        weights = {name: arrays.pop(names[name]).reshape(expected[name].shape) for name in expected}
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror or error}.") from None
    except Exception:  # the reader checks little, and its errors have no common class
        raise TinyLLMError(f"{path} is damaged, or not a file that this program wrote.") from None
    if arrays:
        raise TinyLLMError(f"{path} holds tensors that the model lacks: {', '.join(arrays)}.")
    return config, vocabulary, weights


def _check_count(config: ModelConfig, tensors: int) -> None:
    if config.num_layers > tensors:
        raise ValueError("there are fewer tensors than layers")


def _read_config(reader: "GGUFReader") -> ModelConfig:
    def entry(key: str) -> Any:
        return _field(reader, f"{ARCHITECTURE}.{key}")

    return ModelConfig(
        d_model=entry("embedding_length"),
        num_heads=entry("attention.head_count"),
        num_layers=entry("block_count"),
        d_ff=entry("feed_forward_length"),
        sequence_length=entry("context_length"),
        rope_theta=entry("rope.freq_base"),
        norm_eps=entry("attention.layer_norm_rms_epsilon"),
        tie_embeddings=all(tensor.name != "output.weight" for tensor in reader.tensors),
    )


def _field(reader: "GGUFReader", key: str) -> Any:
    return reader.fields[key].contents()


def _as_stored(config: ModelConfig) -> ModelConfig:
    """The config as a file stores it: no dropout, and single precision."""
    single = {name: float(np.float32(getattr(config, name))) for name in ("rope_theta", "norm_eps")}
    return config.model_copy(update={"dropout": 0.0, **single})


def _is_rounding(expected: NDArray[Any], found: NDArray[Any], precision: Precision) -> bool:
    """Whether `found` is `expected`, rounded to the precision."""
    if precision == "f16" and expected.ndim > 1:
        expected = expected.astype(np.float16).astype(np.float32)
    if precision != "q8_0" or expected.ndim == 1:
        return found.tobytes() == expected.tobytes()
    # a step of 1/127 of the largest number in the block, itself rounded to half precision
    blocks = expected.reshape(-1, BLOCK).astype(np.float64)
    step = np.abs(blocks).max(axis=1, keepdims=True) / 127
    allowed = step * 0.5001 + 127 * np.abs(step.astype(np.float16) - step)
    return bool((np.abs(found.reshape(blocks.shape) - blocks) <= allowed).all())
