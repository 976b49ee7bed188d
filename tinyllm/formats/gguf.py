"""The model as GGUF files, for llama.cpp and the programs built on it.

llama.cpp calls the architecture `qwen3`.
"""

import errno
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_text
from tinyllm.formats.config import ExportConfig, Precision
from tinyllm.formats.gguf_tokenizer import add_tokenizer, check_tokenizer
from tinyllm.formats.qwen3 import to_huggingface
from tinyllm.formats.wording import describe, level
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.model.config import ModelConfig

if TYPE_CHECKING:
    from gguf import GGUFWriter

Weights = dict[str, NDArray[np.float32]]

ARCHITECTURE = "qwen3"
_FILE_TYPES: dict[Precision, str] = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
BLOCK = 32


def check_gguf(checkpoint: Checkpoint, precisions: Sequence[Precision]) -> None:
    """Check, before anything is written, that `write_gguf` can write these files.

    Raises:
        TinyLLMError: it cannot.
    """
    if importlib.util.find_spec("gguf") is None:
        raise TinyLLMError(
            "export.formats holds gguf, but the gguf package is not installed; "
            "run pip install 'tinyllm[export]' or leave gguf out."
        )
    check_tokenizer(checkpoint.tokenizer)
    config = checkpoint.model.config
    for name, width in (("d_model", config.d_model), ("d_ff", config.d_ff)):
        if "q8_0" in precisions and width % BLOCK:
            raise TinyLLMError(
                f"export.gguf_precisions holds q8_0, which packs {BLOCK} numbers at a time, but "
                f"model.{name} is {width}; make it a multiple of {BLOCK} or leave q8_0 out."
            )


def write_gguf(checkpoint: Checkpoint, folder: Path, export: ExportConfig) -> None:
    """Write `model-PRECISION.gguf` for each of `export.gguf_precisions`.

    Raises:
        TinyLLMError: see `check_gguf`.
    """
    check_gguf(checkpoint, export.gguf_precisions)
    from gguf import GGUFWriter  # noqa: PLC0415 - an optional dependency

    config, weights = checkpoint.model.config, huggingface_weights(checkpoint)
    for precision in export.gguf_precisions:
        writer = GGUFWriter(folder / f"model-{precision}.gguf", ARCHITECTURE)
        _add_description(writer, checkpoint, export)
        _add_metadata(writer, config, precision)
        add_tokenizer(writer, checkpoint.tokenizer)
        _add_tensors(writer, weights, config.num_layers, precision)
        _finish(writer)


def write_modelfile(path: Path, export: ExportConfig, window: int) -> None:
    """Write what `ollama create` takes: one of the files, a plain template, the window."""
    # halves of 16 bits are quick everywhere, and closest to the model after float32
    best = next(p for p in ("f16", "f32", "q8_0") if p in export.gguf_precisions)
    lines = (
        f"FROM ./model-{best}.gguf",
        "TEMPLATE {{ .Prompt }}",
        f"PARAMETER num_ctx {window}",
        "PARAMETER temperature 0.8",
        # of letters, unlike words, every text repeats some
        "PARAMETER repeat_penalty 1.0",
    )
    write_text(path, "".join(f"{line}\n" for line in lines))


def _finish(writer: "GGUFWriter") -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except OSError as error:
        if error.errno is not None:
            raise
        # numpy says how many bytes it could not write, but not why
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
    finally:
        writer.close()


def huggingface_weights(checkpoint: Checkpoint) -> Weights:
    """The weights by their Hugging Face names."""
    tensors = to_huggingface(checkpoint.model.state_dict(), checkpoint.model.config)
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _add_description(writer: "GGUFWriter", checkpoint: Checkpoint, export: ExportConfig) -> None:
    writer.add_type("model")
    writer.add_name(export.model_name)
    writer.add_description(describe(checkpoint))
    writer.add_tags(["text-generation", level(checkpoint.tokenizer)])
    if export.author:
        writer.add_author(export.author)
    if export.license:
        writer.add_license(export.license)
    if export.languages:
        writer.add_languages(export.languages)


def _add_metadata(writer: "GGUFWriter", config: ModelConfig, precision: Precision) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType  # noqa: PLC0415 - see above

    writer.add_file_type(LlamaFileType[_FILE_TYPES[precision]])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_context_length(config.sequence_length)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)


def _add_tensors(writer: "GGUFWriter", weights: Weights, layers: int, precision: Precision) -> None:
    from gguf import GGMLQuantizationType, quants  # noqa: PLC0415 - see above

    names = gguf_names(weights, layers)
    for name, array in weights.items():
        # norms are vectors: too small to be worth rounding, and llama.cpp wants them in float32
        kind = GGMLQuantizationType["F32" if array.ndim == 1 else precision.upper()]
        writer.add_tensor(names[name], quants.quantize(array, kind), raw_dtype=kind)


def gguf_names(names: Iterable[str], layers: int) -> dict[str, str]:
    """llama.cpp's names by those of Hugging Face."""
    from gguf import MODEL_ARCH, get_tensor_name_map  # noqa: PLC0415 - see above

    table = get_tensor_name_map(MODEL_ARCH.QWEN3, layers)
    return {name: str(table.get_name(name, try_suffixes=(".weight",))) for name in names}
