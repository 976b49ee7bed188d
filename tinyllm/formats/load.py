"""Opening a model from any folder that the pipeline writes."""

from pathlib import Path

import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.formats.onnx_model import GRAPH, OnnxModel, load_onnx
from tinyllm.formats.qwen3 import config_from_huggingface, from_huggingface, to_huggingface
from tinyllm.formats.tokenizer_json import tokenizer_from_huggingface
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.kernels.arithmetic import Arithmetic, default_arithmetic
from tinyllm.kernels.fused import build_model
from tinyllm.model.checkpoint import read_weights, weight_shapes

# where the model lies inside the folders of the export stage
_INNER_FOLDERS = ("huggingface", "artifacts/huggingface", "pyfunc/artifacts/huggingface")


def load_model(source: str | Path, arithmetic: Arithmetic | None = None) -> Checkpoint:
    """Open a checkpoint folder, an export folder, or a Hugging Face folder inside one.

    Args:
        source: the folder.
        arithmetic: from `setup_numerics`; defaults to `default_arithmetic`.

    Raises:
        TinyLLMError: there is no model at `source`, or it is damaged.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise TinyLLMError(
            f"There is no model at {folder}; name the folder of a checkpoint or an export. "
            f"'dvc repro' makes them; only the command line opens names such as models:/NAME@ALIAS."
        )
    for candidate in _places(folder):
        if (candidate / "config.json").is_file():
            description = read_json(candidate / "config.json")
            if isinstance(description, dict) and description.get("model_type") == "qwen3":
                return _load_huggingface(candidate, arithmetic)
            return load_checkpoint(candidate, arithmetic)
    raise TinyLLMError(f"{folder} holds no model: there is no config.json in it.")


def load_onnx_model(source: str | Path) -> OnnxModel:
    """Open an ONNX folder, or the one in an export folder, in ONNX Runtime.

    Raises:
        TinyLLMError: there is no ONNX model at `source`, it is damaged, or ONNX Runtime is missing.
    """
    folder = Path(source)
    for candidate in _places(folder):
        if (candidate / GRAPH).is_file():
            return load_onnx(candidate)
    raise TinyLLMError(
        f"There is no ONNX form in {folder}; put onnx into export.formats, run the pipeline "
        f"(dvc repro), and name the export folder."
    )


def _places(folder: Path) -> list[Path]:
    return [folder, *(folder / inner for inner in _INNER_FOLDERS)]


def _load_huggingface(folder: Path, arithmetic: Arithmetic | None) -> Checkpoint:
    tokenizer = tokenizer_from_huggingface(folder / "tokenizer.json")
    description = read_json(folder / "config.json")
    try:
        config = config_from_huggingface(description)
        whole = description["vocab_size"] == tokenizer.vocab_size
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise TinyLLMError(f"The model in {folder} is not one that this program wrote.")
    ours = weight_shapes(config, tokenizer.vocab_size)
    empty = {name: torch.empty(shape, device="meta") for name, shape in ours.items()}
    theirs = {name: tuple(one.shape) for name, one in to_huggingface(empty, config).items()}
    weights = read_weights(folder / "model.safetensors", theirs)
    model = build_model(config, tokenizer.vocab_size, arithmetic or default_arithmetic())
    model.load_state_dict(from_huggingface(weights, config))
    return Checkpoint(model.eval(), tokenizer, {})
