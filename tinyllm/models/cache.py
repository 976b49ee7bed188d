"""Keys and values of the characters read so far, so that the next one costs one step."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.config.model import ModelConfig


class KeyValueCache:
    """Room for a whole context window, allocated once.

    `keys` and `values` are [layers, batch, heads, window, head_dim]; the first `length` places
    of the window are filled.
    """

    def __init__(
        self, config: ModelConfig, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (
            config.num_layers,
            batch_size,
            config.num_heads,
            config.sequence_length,
            config.head_dim,
        )
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def room(self) -> int:
        """Places left in the window."""
        return self.keys.shape[3] - self.length

    def clear(self) -> None:
        """Forget everything."""
        self.length = 0

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store the keys and values of new places and let the queries look at all places.

        Args:
            layer: which block they belong to.
            queries: [batch, new, heads, head_dim], and the result too.
            keys: [batch, new, heads, head_dim].
            values: [batch, new, heads, head_dim].
        """
        new = queries.shape[1]
        end = self.length + new
        self.keys[layer, :, :, self.length : end] = keys.transpose(1, 2)
        self.values[layer, :, :, self.length : end] = values.transpose(1, 2)
        mask = None
        if new > 1 and self.length:
            mask = torch.ones(new, end, dtype=torch.bool, device=keys.device).tril(self.length)
        return F.scaled_dot_product_attention(
            queries.transpose(1, 2),
            self.keys[layer, :, :, :end],
            self.values[layer, :, :, :end],
            attn_mask=mask,
            is_causal=mask is None and new > 1,
        ).transpose(1, 2)

    def advance(self, count: int) -> None:
        """Count `count` new places as filled, after every layer has stored its own."""
        self.length += count
