"""A decoder-only transformer of Qwen3's shape, so that exports need no code of ours.

Pre-norm blocks with RMSNorm, rotary position embedding, normalised queries and keys, causal
scaled dot-product attention and a SwiGLU feed-forward layer, no biases. Qwen3 technical report:
https://arxiv.org/abs/2505.09388.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinyllm.config.model import ModelConfig
from tinyllm.models.attention import causal_attention, rotary_tables, rotate
from tinyllm.models.cache import KeyValueCache
from tinyllm.models.functional import linear, linear_add, norm_linear, norm_swiglu, rms_norm


class Linear(nn.Module):
    """A linear layer without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return linear(x, self.weight)


class RMSNorm(nn.Module):
    """Root mean square normalisation of the last dimension; Zhang & Sennrich 2019."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        return rms_norm(x, self.weight, self.eps)


class MultiHeadAttention(nn.Module):
    """Causal self-attention with rotary embedding and normalised queries and keys."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.qkv_proj = Linear(config.d_model, 3 * config.d_model)
        self.o_proj = Linear(config.d_model, config.d_model)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def forward(
        self,
        x: Tensor,
        norm: RMSNorm,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: KeyValueCache | None,
    ) -> Tensor:
        """Attend in norm(x), before the projection back: [batch, time, d_model], the same."""
        batch, time, _ = x.shape
        qkv = norm_linear(x, norm.weight, self.qkv_proj.weight, norm.eps, features_first=True)
        qkv = qkv.view(batch, time, 3, self.num_heads, self.head_dim)
        if cache is None:
            scales = torch.stack((self.q_norm.weight, self.k_norm.weight))
            mixed = causal_attention(qkv, scales, rotary, mask, self.q_norm.eps)
        else:
            queries, keys, values = qkv.unbind(2)
            queries, keys = (
                rotate(self.q_norm(queries), *rotary),
                rotate(self.k_norm(keys), *rotary),
            )
            mixed = cache.attend(self.layer, queries, keys, values)
        return mixed.reshape(batch, time, -1)


class FeedForward(nn.Module):
    """The SwiGLU feed-forward layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.d_model, 2 * config.d_ff)
        self.down_proj = Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor, norm: RMSNorm) -> Tensor:
        """The hidden layer of norm(x), before the projection back: [..., d_model], [..., d_ff]."""
        return norm_swiglu(x, norm.weight, self.gate_up_proj.weight, norm.eps)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each behind a norm and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = MultiHeadAttention(config, layer)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor, cache: KeyValueCache | None
    ) -> Tensor:
        """[batch, time, d_model] -> [batch, time, d_model]."""
        mixed = self.attention(x, self.attention_norm, rotary, mask, cache)
        x = self._add(x, mixed, self.attention.o_proj)
        hidden = self.feed_forward(x, self.feed_forward_norm)
        return self._add(x, hidden, self.feed_forward.down_proj)

    def _add(self, x: Tensor, branch: Tensor, projection: Linear) -> Tensor:
        if self.dropout and self.training:
            return x + F.dropout(projection(branch), self.dropout)
        return linear_add(branch, projection.weight, x)


class Transformer(nn.Module):
    """Characters in, logits of the next character out."""

    cosines: Tensor
    sines: Tensor
    mask: Tensor

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.blocks = nn.ModuleList(
            TransformerBlock(config, layer) for layer in range(config.num_layers)
        )
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.lm_head = None if config.tie_embeddings else Linear(config.d_model, vocab_size)
        tables = rotary_tables(config.sequence_length, config.head_dim, config.rope_theta)
        self.register_buffer("cosines", tables[0].unsqueeze(1), persistent=False)
        self.register_buffer("sines", tables[1].unsqueeze(1), persistent=False)
        mask = torch.full((config.sequence_length, config.sequence_length), -math.inf).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Return logits [batch, time, vocabulary] for `tokens` [batch, time].

        With a cache, `tokens` go on where the cache ends, and the cache grows by them.

        Raises:
            ValueError: there are more tokens than the context window has places.
        """
        time = tokens.shape[1]
        if time > self.config.sequence_length:
            raise ValueError(f"{time} tokens exceed the window of {self.config.sequence_length}")
        rotary = (
            cache.begin(time) if cache is not None else (self.cosines[:time], self.sines[:time])
        )
        mask = self.mask[:time, :time]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, rotary, mask, cache)
        if cache:
            cache.advance(time)
        output = self.embedding.weight if self.lm_head is None else self.lm_head.weight
        return norm_linear(x, self.norm.weight, output, self.norm.eps)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the initial weights.

        Matrices are uniform with variance 1 / (3 inputs); the two projections back into the
        residual stream and the output layer start at zero, so that every block begins as the
        identity and the loss at log(vocabulary).
        """
        for name, parameter in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                parameter.zero_()
            elif name == "embedding.weight":
                parameter.normal_(0.0, self.embedding_scale, generator=generator)
            elif parameter.ndim == 2:
                bound = 1 / math.sqrt(parameter.shape[1])
                parameter.uniform_(-bound, bound, generator=generator)

    @property
    def embedding_scale(self) -> float:
        """Standard deviation of the embedding at first; small where it is the output layer too."""
        return 0.02 if self.lm_head is None else 1.0

    def num_parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())
