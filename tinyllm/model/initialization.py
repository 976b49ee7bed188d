"""Initial weights, with which every head may already look at one of the tokens just before.

What comes next depends above all on the last few characters, and training from random weights
spends its first hundreds of steps on finding that out. Head h of every block begins by looking
h + 1 characters back: one column of the embedding is the same for all characters, the weights of
queries and keys on that column are turned against each other by the rotary angle of that distance,
and so the score is greatest there whatever the characters are. All of it are ordinary weights,
which training changes as it likes.
"""

import math

import torch
from torch import Tensor

from tinyllm.model.transformer import MultiHeadAttention, Transformer, rotary_frequencies

# radians per token; slower rotations hardly tell neighbors apart
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
    """Let head h of every block begin by looking h + 1 tokens back."""
    config = model.config
    # as large as the other columns are, so that the norms let it through
    model.embedding.weight[:, 0] = embedding_scale(model)
    rates = rotary_frequencies(config.head_dim, config.rope_theta)
    quick = [rate for rate in rates if rate >= _SLOWEST]
    for attention in model.modules():
        if isinstance(attention, MultiHeadAttention):
            qkv = attention.qkv_proj.weight.view(3, config.num_heads, config.head_dim, -1)
            for head in range(config.num_heads):
                # in double, so that rounding hides what C libraries do in the last digit
                angles = [(head + 1) * rate for rate in quick]
                _turn(qkv[0, head, :, 0], [0.0] * len(quick))
                _turn(qkv[1, head, :, 0], angles)


def embedding_scale(model: Transformer) -> float:
    """Standard deviation of the embedding at first; small where it is the output layer too."""
    return 0.02 if model.lm_head is None else 1.0


def _turn(column: Tensor, angles: list[float]) -> None:
    """Add a unit vector at each angle to the pairs of a head that the rotation turns together."""
    first, second = column.chunk(2)
    first[: len(angles)] += torch.tensor([math.cos(angle) for angle in angles])
    second[: len(angles)] += torch.tensor([math.sin(angle) for angle in angles])
