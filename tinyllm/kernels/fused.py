"""The transformer of `tinyllm.model.transformer`, fused: the same weights, the same function.

Only `build_model` decides between the two.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.attention import causal_attention
from tinyllm.kernels.functional import linear, linear_add, norm_linear, norm_swiglu
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Cache, Rotary, Transformer, TransformerBlock


def build_model(config: ModelConfig, vocab_size: int, arithmetic: Arithmetic) -> Transformer:
    """Make an uninitialized model: fused if the arithmetic says so, else plain."""
    if arithmetic.fused:
        return FusedTransformer(config, vocab_size, arithmetic)
    return Transformer(config, vocab_size).to(arithmetic.device)


class FusedBlock(TransformerBlock):
    """A block in four operations, each with its own backward pass."""

    arithmetic: Arithmetic
    mask: Tensor

    def forward(self, x: Tensor, rotary: Rotary, cache: Cache | None = None) -> Tensor:
        """[batch, time, d_model] -> [batch, time, d_model]."""
        if cache is not None:
            return self._forward_cached(x, rotary, cache)
        attention, feed_forward, time = self.attention, self.feed_forward, x.shape[1]
        weight = attention.qkv_proj.weight
        qkv = norm_linear(x, self.attention_norm, weight, self.arithmetic, features_first=True)
        qkv = qkv.view(*x.shape[:2], 3, attention.num_heads, attention.head_dim)
        scales = torch.stack((attention.q_norm.weight, attention.k_norm.weight))
        mask, eps = self.mask[:time, :time], attention.q_norm.eps or 0.0
        mixed = causal_attention(qkv, scales, rotary, mask, eps, self.arithmetic)
        x = self._add(x, mixed.reshape(x.shape), attention.o_proj.weight)
        weight = feed_forward.gate_up_proj.weight
        hidden = norm_swiglu(x, self.feed_forward_norm, weight, self.arithmetic)
        return self._add(x, hidden, feed_forward.down_proj.weight)

    def _add(self, x: Tensor, branch: Tensor, weight: Tensor) -> Tensor:
        if self.dropout.p and self.training:
            dropped: Tensor = self.dropout(linear(branch, weight, self.arithmetic))
            return x + dropped
        return linear_add(branch, weight, x, self.arithmetic)

    def _forward_cached(self, x: Tensor, rotary: Rotary, cache: Cache) -> Tensor:
        """The plain block, but with our products, whose bits do not depend on the batch."""
        qkv = linear(self.attention_norm(x), self.attention.qkv_proj.weight, self.arithmetic)
        mixed = self.attention.attend(qkv, rotary, cache)
        x = self._add(x, mixed, self.attention.o_proj.weight)
        weight = self.feed_forward.gate_up_proj.weight
        gate, up = linear(self.feed_forward_norm(x), weight, self.arithmetic).chunk(2, dim=-1)
        return self._add(x, F.silu(gate) * up, self.feed_forward.down_proj.weight)


class FusedTransformer(Transformer):
    """A `Transformer` of fused blocks."""

    block_type = FusedBlock

    def __init__(self, config: ModelConfig, vocab_size: int, arithmetic: Arithmetic) -> None:
        super().__init__(config, vocab_size)
        self.arithmetic = arithmetic
        length = config.sequence_length
        mask = torch.full((length, length), -math.inf).triu(1)
        for block in self.blocks:
            assert isinstance(block, FusedBlock)  # noqa: S101 - by `block_type`
            block.arithmetic, block.mask = arithmetic, mask

    def embed(self, tokens: Tensor) -> Tensor:
        """See `Transformer`; only training rounds."""
        x = super().embed(tokens)
        return x.to(self.arithmetic.precision) if self.training else x

    def output(self, x: Tensor) -> Tensor:
        """See `Transformer`."""
        x = x.float()
        return norm_linear(x, self.norm, self.output_weight, self.arithmetic, features_first=False)
