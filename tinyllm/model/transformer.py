"""A decoder-only transformer with Qwen3's architecture, in plain torch.

Pre-norm blocks with RMSNorm, rotary position embedding, normalized queries and keys, causal scaled
dot-product attention and a SwiGLU feed-forward layer, no biases. Qwen3 technical report:
https://arxiv.org/abs/2505.09388. `tinyllm.kernels.fused` computes the same function of the same
weights in fewer passes over memory; this file is its specification.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.model.config import ModelConfig

# cosines and sines of positions, both of shape [..., time, 1, head_dim / 2]
Rotary = tuple[Tensor, Tensor]


class Cache(Protocol):
    """Keys and values of earlier tokens; see `tinyllm.inference.cache`."""

    def begin(self, new: int) -> Rotary:
        """Prepare for `new` tokens, and return the rotations of their positions."""

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store keys and values, and attend to all stored ones: [batch, new, heads, width]."""

    def advance(self, count: int) -> None:
        """Count the new tokens as read, after every layer has stored its own."""


def rotary_frequencies(head_dim: int, theta: float) -> list[float]:
    """Radians per position for each pair of features, fastest first: [head_dim / 2].

    Su et al. 2021, https://arxiv.org/abs/2104.09864.
    """
    return [theta ** (-2 * index / head_dim) for index in range(head_dim // 2)]


def rotary_tables(length: int, head_dim: int, theta: float) -> Rotary:
    """Cosines and sines of the positions 0 to length - 1, each [length, 1, head_dim / 2].

    Computed in double precision by the C library, so that rounding to float32 hides differences
    between its versions.
    """
    rates = rotary_frequencies(head_dim, theta)
    angles = [[[position * rate for rate in rates]] for position in range(length)]
    cosines = [[[math.cos(angle) for angle in row] for row in rows] for rows in angles]
    sines = [[[math.sin(angle) for angle in row] for row in rows] for rows in angles]
    return torch.tensor(cosines), torch.tensor(sines)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotate the halves of the last dimension of `x` [batch, time, heads, head_dim]."""
    cosines, sines = rotary
    first, second = x.chunk(2, dim=-1)
    halves = (first * cosines - second * sines, second * cosines + first * sines)
    return torch.cat(halves, dim=-1).to(x.dtype)


class HeadNorm(nn.RMSNorm):
    """RMSNorm in its input's type, without which torch has no fused kernel in mixed precision."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., head_dim] -> [..., head_dim]."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MultiHeadAttention(nn.Module):
    """Causal self-attention with rotary embedding and normalized queries and keys."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.head_dim = config.num_heads, config.head_dim
        self.qkv_proj = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.o_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.q_norm = HeadNorm(config.head_dim, config.norm_eps)
        self.k_norm = HeadNorm(config.head_dim, config.norm_eps)

    def forward(self, x: Tensor, rotary: Rotary, cache: Cache | None = None) -> Tensor:
        """[batch, time, d_model] -> [batch, time, d_model]."""
        projected: Tensor = self.o_proj(self.attend(self.qkv_proj(x), rotary, cache))
        return projected

    def attend(self, qkv: Tensor, rotary: Rotary, cache: Cache | None = None) -> Tensor:
        """Mix values by queries and keys: [batch, time, 3 d_model] -> [batch, time, d_model]."""
        shape = (*qkv.shape[:2], 3, self.num_heads, self.head_dim)
        queries, keys, values = qkv.view(shape).unbind(2)
        q, k = rotate(self.q_norm(queries), rotary), rotate(self.k_norm(keys), rotary)
        if cache is not None:
            return cache.attend(self.layer, q, k, values).flatten(2)
        q, k, v = (x.transpose(1, 2) for x in (q, k, values))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """The SwiGLU feed-forward layer; Shazeer 2020, https://arxiv.org/abs/2002.05202."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.d_model, 2 * config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, d_model] -> [batch, time, d_model]."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        projected: Tensor = self.down_proj(F.silu(gate) * up)
        return projected


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.attention = MultiHeadAttention(config, layer)
        self.feed_forward_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotary: Rotary, cache: Cache | None = None) -> Tensor:
        """[batch, time, d_model] -> [batch, time, d_model]."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotary, cache))
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x  # noqa: RET504 - two parallel lines show the block's structure


class Transformer(nn.Module):
    """Tokens in, logits of the next token out."""

    block_type: type[TransformerBlock] = TransformerBlock
    cosines: Tensor
    sines: Tensor

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        layers = range(config.num_layers)
        self.blocks = nn.ModuleList(self.block_type(config, layer) for layer in layers)
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        untied = nn.Linear(config.d_model, vocab_size, bias=False)
        self.lm_head = None if config.tie_embeddings else untied
        tables = rotary_tables(config.sequence_length, config.head_dim, config.rope_theta)
        for name, table in zip(("cosines", "sines"), tables, strict=True):
            self.register_buffer(name, table, persistent=False)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits [batch, time, vocabulary] for `tokens` [batch, time].

        With a cache, `tokens` continue the cached text and are added to it.

        Raises:
            ValueError: there are more tokens than fit into the context window.
        """
        time = tokens.shape[1]
        if time > self.config.sequence_length:
            raise ValueError(f"{time} tokens exceed the window of {self.config.sequence_length}")
        rotary = cache.begin(time) if cache else (self.cosines[:time], self.sines[:time])
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, rotary, cache)
        if cache:
            cache.advance(time)
        return self.output(x)

    def embed(self, tokens: Tensor) -> Tensor:
        """Input embedding: [batch, time] -> [batch, time, d_model]."""
        embedded: Tensor = self.embedding(tokens)
        return embedded

    def output(self, x: Tensor) -> Tensor:
        """Norm and output layer: [batch, time, d_model] -> [batch, time, vocabulary]."""
        return F.linear(self.norm(x), self.output_weight)

    @property
    def output_weight(self) -> Tensor:
        """The output layer, [vocabulary, d_model]; the embedding if the two are tied."""
        return self.embedding.weight if self.lm_head is None else self.lm_head.weight

    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss of every token in nats: [batch, time, vocabulary] and [batch, time] -> [batch, time]."""
    flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)
