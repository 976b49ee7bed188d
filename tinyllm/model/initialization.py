"""Initial weights, with which each head can attend to one of the preceding tokens from the start.

The next character depends most on the last few, and training from random weights spends its first
hundreds of steps on finding that out. Head h of every block begins by attending h + 1 characters
back: one column of the embedding is the same for all characters, and the query and key weights on
that column differ by the rotary angle of that distance, so that the score is highest there for any
characters. These are ordinary weights, which training may change.
"""

import math

import torch
from torch import Tensor

from tinyllm.model.transformer import MultiHeadAttention, Transformer, rotary_frequencies

# radians per token; slower rotations hardly distinguish neighbors
_SLOWEST = 0.1
# the projections back into the residual stream, and the output layer
_START_AT_ZERO = ("o_proj.weight", "down_proj.weight", "lm_head.weight")


@torch.no_grad()
def init_weights(model: Transformer, generator: torch.Generator) -> None:
    """Draw the initial weights.

    Matrices are uniform with variance 1 / (3 inputs); the two projections back into the residual
    stream and the output layer start at zero, so that every block begins as the identity and the
    loss at log(vocabulary).
    """
    for name, parameter in model.named_parameters():
        if name.endswith(_START_AT_ZERO):
            parameter.zero_()
        elif name == "embedding.weight":
            parameter.normal_(0.0, embedding_scale(model), generator=generator)
        elif parameter.ndim == 2:
            bound = 1 / math.sqrt(parameter.shape[1])
            parameter.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def look_back(model: Transformer) -> None:
    """Let head h of every block begin by attending h + 1 tokens back."""
    config = model.config
    # as large as the other columns, so that it survives the norms
    model.embedding.weight[:, 0] = embedding_scale(model)
    rates = rotary_frequencies(config.head_dim, config.rope_theta)
    quick = [rate for rate in rates if rate >= _SLOWEST]
    for attention in model.modules():
        if isinstance(attention, MultiHeadAttention):
            qkv = attention.qkv_proj.weight.view(3, config.num_heads, config.head_dim, -1)
            for head in range(config.num_heads):
                # in double, so that rounding hides differences between C libraries
                angles = [(head + 1) * rate for rate in quick]
                _turn(qkv[0, head, :, 0], [0.0] * len(quick))
                _turn(qkv[1, head, :, 0], angles)


def embedding_scale(model: Transformer) -> float:
    """Initial standard deviation of the embedding; small if it is also the output layer."""
    return 0.02 if model.lm_head is None else 1.0


def _turn(column: Tensor, angles: list[float]) -> None:
    """Add a unit vector at each angle to the pairs of features that are rotated together."""
    first, second = column.chunk(2)
    first[: len(angles)] += torch.tensor([math.cos(angle) for angle in angles])
    second[: len(angles)] += torch.tensor([math.sin(angle) for angle in angles])
