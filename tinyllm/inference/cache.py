"""Keys and values of the characters read so far, so that the next one costs one step.

Beyond the context window attention slides: a character attends to the last `sequence_length`
characters, itself included. The cache is a ring buffer of that length, so a character costs the
same however long the text is, without copying. Keys are rotated by their absolute position;
attention depends only on differences of positions, which never exceed the window.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import rotary_frequencies


class KeyValueCache:
    """One context window for each row of a batch, allocated once.

    `keys` and `values` are [layers, batch, heads, window, head_dim]; the character at position p
    of its text is stored at p modulo window. `lengths` [batch] counts the characters read.
    """

    def __init__(
        self, config: ModelConfig, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.window = config.sequence_length
        shape = (config.num_layers, batch_size, config.num_heads, self.window, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = torch.zeros(batch_size, dtype=torch.int64, device=device)
        rates = rotary_frequencies(config.head_dim, config.rope_theta)
        self._rates = torch.tensor(rates, dtype=torch.float64, device=device)
        self._rows = torch.arange(batch_size, device=device)
        self._places = torch.arange(self.window, device=device)

    def copy_row(self, row: int, other: "KeyValueCache") -> None:
        """Copy `other`, a cache of one row, into a row."""
        self.keys[:, row] = other.keys[:, 0]
        self.values[:, row] = other.values[:, 0]
        self.lengths[row] = other.lengths[0]

    def begin(self, new: int) -> tuple[Tensor, Tensor]:
        """Prepare for `new` more characters in each row.

        Several characters at once need rows of the same length.

        Returns:
            Cosines and sines of their positions, each [batch, new, 1, head_dim / 2].
        """
        positions = self.lengths[:, None] + torch.arange(new, device=self.lengths.device)
        # in double, so that large angles are exact after rounding
        angles = positions[..., None, None] * self._rates
        self._slots = positions % self.window
        if new == 1:
            seen = self._places <= self.lengths[:, None]
            self._mask = (seen | (self.lengths[:, None] >= self.window))[:, None, None]
        else:
            before = min(int(self.lengths[0]), self.window - 1)
            self._before = (int(self.lengths[0]) - before + torch.arange(before)) % self.window
            query = torch.arange(new, device=self.lengths.device)[:, None] + before
            key = torch.arange(before + new, device=self.lengths.device)
            self._mask = (key <= query) & (query - key < self.window)
        return angles.cos().to(self.keys.dtype), angles.sin().to(self.keys.dtype)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Store the keys and values of new characters, and attend to the window.

        Args:
            layer: the block's index.
            queries: [batch, new, heads, head_dim], like the result.
            keys: [batch, new, heads, head_dim].
            values: [batch, new, heads, head_dim].
        """
        ring_keys, ring_values = self.keys[layer], self.values[layer]
        if queries.shape[1] == 1:
            # always the whole ring, so that a row's sums do not depend on the other rows
            ring_keys[self._rows, :, self._slots[:, 0]] = keys[:, 0]
            ring_values[self._rows, :, self._slots[:, 0]] = values[:, 0]
            seen_keys, seen_values = ring_keys, ring_values
        else:
            seen_keys = torch.cat((ring_keys[:, :, self._before], keys.transpose(1, 2)), dim=2)
            seen_values = torch.cat(
                (ring_values[:, :, self._before], values.transpose(1, 2)), dim=2
            )
            kept = self._slots[0, -self.window :]
            ring_keys[:, :, kept] = seen_keys[:, :, -len(kept) :]
            ring_values[:, :, kept] = seen_values[:, :, -len(kept) :]
        return F.scaled_dot_product_attention(
            queries.transpose(1, 2), seen_keys, seen_values, attn_mask=self._mask
        ).transpose(1, 2)

    def advance(self, count: int) -> None:
        """Count `count` new characters as read, after every layer has stored its own."""
        self.lengths += count
