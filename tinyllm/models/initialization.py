"""Initial weights with which every head already looks at one of the characters just before.

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

from tinyllm.models.transformer import MultiHeadAttention, Transformer

# radians a character; slower rotations hardly tell neighbours apart
_SLOWEST = 0.1


@torch.no_grad()
def look_back(model: Transformer) -> None:
    """Let head h of every block begin by looking h + 1 characters back."""
    config = model.config
    # as large as the other columns are, so that the norms let it through
    model.embedding.weight[:, 0] = model.embedding_scale
    half = config.head_dim // 2
    rates = [config.rope_theta ** (-2 * index / config.head_dim) for index in range(half)]
    quick = [rate for rate in rates if rate >= _SLOWEST]
    for attention in (
        module for module in model.modules() if isinstance(module, MultiHeadAttention)
    ):
        qkv = attention.qkv_proj.weight.view(3, config.num_heads, config.head_dim, -1)
        for head in range(config.num_heads):
            # in double, so that rounding hides what C libraries do in the last digit
            angles = [(head + 1) * rate for rate in quick]
            _turn(qkv[0, head, :, 0], [0.0] * len(quick))
            _turn(qkv[1, head, :, 0], angles)


def _turn(column: Tensor, angles: list[float]) -> None:
    """Add a unit vector at each angle to the pairs of a head that the rotation turns together."""
    first, second = column.chunk(2)
    first[: len(angles)] += torch.tensor([math.cos(angle) for angle in angles])
    second[: len(angles)] += torch.tensor([math.sin(angle) for angle in angles])
