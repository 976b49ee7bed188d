"""Hyperparameters of the transformer."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from tinyllm.base.section import Section


class ModelConfig(Section):
    """Shape of the transformer; the vocabulary size comes from the tokenizer.

    Every runtime opens the exports if d_model / num_heads is 32, 64 or 128.
    """

    section: ClassVar[str] = "model"

    d_model: int = Field(128, ge=2, le=65_536, description="width of the residual stream")
    num_heads: int = Field(4, ge=1, le=65_536, description="attention heads per block")
    num_layers: int = Field(4, ge=1, le=1_000, description="transformer blocks")
    d_ff: int = Field(
        384, ge=1, le=1_000_000, description="width of the feed-forward layer (SwiGLU)"
    )
    sequence_length: int = Field(256, ge=2, le=16_384, description="tokens of context")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout rate in the residual branches")
    rope_theta: float = Field(500.0, gt=0, description="base wavelength of the rotary embedding")
    norm_eps: float = Field(1e-6, gt=0, description="epsilon of RMSNorm")
    tie_embeddings: bool = Field(False, description="share input embedding and output layer")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.num_heads:
            raise ValueError(f"num_heads ({self.num_heads}) must divide d_model ({self.d_model})")
        if self.head_dim % 2:
            raise ValueError(
                f"d_model / num_heads is {self.head_dim}, but rotary embedding needs an even number"
            )
        return self

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads
