"""Keys and values of the characters read so far, so that the next one costs one step."""

import torch
from torch import Tensor

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

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new places and return those of all places.

        Args:
            layer: which block they belong to.
            keys: [batch, heads, new, head_dim].
            values: [batch, heads, new, head_dim].

        """
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, count: int) -> None:
        """Count `count` new places as filled, after every layer has stored its own."""
        self.length += count
