"""Opening the folder of a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from tinyllm.base.documents import parse_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.inference.reader import CachedReader
from tinyllm.kernels.arithmetic import Arithmetic, default_arithmetic
from tinyllm.kernels.fused import build_model
from tinyllm.model.checkpoint import (
    CONFIG,
    REMEDY,
    TOKENIZER,
    WEIGHTS,
    Description,
    read_weights,
    weight_shapes,
)
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with its tokenizer and the facts of its training."""

    model: Transformer
    tokenizer: Tokenizer
    training: dict[str, Any]

    @classmethod
    def from_weights(
        cls,
        weights: Mapping[str, Tensor],
        config: ModelConfig,
        tokenizer: Tokenizer,
        arithmetic: Arithmetic | None = None,
    ) -> Self:
        """A model from the weights of a `TrainingResult`; see `load_checkpoint`.

        Raises:
            RuntimeError: the weights have another shape.
        """
        model = build_model(config, tokenizer.vocab_size, arithmetic or default_arithmetic())
        model.load_state_dict(weights)
        return cls(model.eval(), tokenizer, {})

    def reader(self) -> CachedReader:
        """A new reader."""
        return CachedReader(self.model)


def load_checkpoint(folder: Path, arithmetic: Arithmetic | None = None) -> Checkpoint:
    """Load the checkpoint of the train stage, in evaluation mode.

    Args:
        folder: of the train stage.
        arithmetic: from `setup_numerics`; defaults to `default_arithmetic`.

    Raises:
        TinyLLMError: the folder is missing, incomplete, damaged or in another format.
    """
    if not folder.is_dir():
        raise TinyLLMError(f"There is no checkpoint at {folder}; run the train stage first.")
    facts = read_json(folder / CONFIG)
    description = parse_document(facts, Description, str(folder / CONFIG), REMEDY)
    tokenizer = load_tokenizer(folder / TOKENIZER)
    vocab_size = tokenizer.vocab_size
    if description.vocab_size != vocab_size:
        raise TinyLLMError(f"{folder / CONFIG} does not fit the {TOKENIZER} beside it.")
    config = ModelConfig.parse(description.model, str(folder / CONFIG))
    weights = read_weights(folder / WEIGHTS, weight_shapes(config, vocab_size))
    model = build_model(config, vocab_size, arithmetic or default_arithmetic())
    model.load_state_dict(weights)
    return Checkpoint(model.eval(), tokenizer, facts["training"])
