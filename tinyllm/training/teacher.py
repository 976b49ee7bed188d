"""An n-gram model as a teacher: soft targets from what followed the last few characters.

A text shows one next character at each place, and training averages many of these noisy targets.
Counting averages them beforehand: the distribution of what followed the same few characters
anywhere in the text is a target with the same mean and far less noise. As with any teacher (Hinton
et al. 2015, https://arxiv.org/abs/1503.02531), its weight can decrease during training. Only
characters within the model's own window count as context.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# absolute discounting: what each distinct next character gives to the shorter context
_DISCOUNT = 0.75
# limit of the table for one length of context: 128 MiB
_MOST_NUMBERS = 2**24


class NgramTeacher:
    """Distributions of the next character after up to order - 1 characters.

    The contexts are nodes of a tree that is walked backwards from the last character. A node holds
    the discounted counts of what followed, interpolated with the distribution of its parent. Most
    long contexts occur once; what follows them is the target itself, so they need no node.
    """

    def __init__(
        self, tokens: NDArray[Any], vocab_size: int, order: int, device: torch.device
    ) -> None:
        """Count the n-grams of `tokens` [characters], 0 .. vocab_size - 1.

        In a long text, contexts too rare to fit into the table count as if they occurred once.

        Raises:
            ValueError: the order is below one.
        """
        if order < 1:
            raise ValueError(f"an n-gram teacher of order {order} has nothing to count")
        text = tokens.astype(np.int64)
        counts = np.bincount(text, minlength=vocab_size)
        levels = [(counts[None] + 1) / (len(text) + vocab_size)]
        children: list[NDArray[np.int32]] = []
        self._firsts: list[int] = []
        self._longest = order - 1
        first = 0
        places, nodes = np.arange(len(text)), np.zeros(len(text), dtype=np.int64)
        for back in range(1, order):
            nodes, places = nodes[places >= back], places[places >= back]
            edges = nodes * vocab_size + text[places - back]
            kept = _common_enough(np.bincount(edges, minlength=levels[-1].size), vocab_size)
            numbers = np.cumsum(kept) - 1
            self._firsts.append(first)
            first += len(levels[-1])
            children.append(np.where(kept, numbers + first, 0).astype(np.int32))
            known = kept[edges]
            nodes, places = numbers[edges[known]], places[known]
            shorter = levels[-1][np.flatnonzero(kept) // vocab_size]
            levels.append(_smoothed(nodes * vocab_size + text[places], shorter))
        table = np.concatenate(levels).astype(np.float32)
        self._table = torch.from_numpy(table).to(device)
        edges_of_all = np.concatenate([*children, np.zeros(0, dtype=np.int32)])
        self._children = torch.from_numpy(edges_of_all.reshape(-1, vocab_size)).to(device)

        powers = [_DISCOUNT**power for power in range(order)]
        self._powers = torch.tensor(powers, dtype=torch.float32, device=device)

    @torch.no_grad()
    def soften(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Soft targets for windows of the counted text.

        Args:
            inputs: [batch, time].
            targets: the next characters, [batch, time].

        Returns:
            Distributions of the next characters, [batch, time, vocabulary].
        """
        time = inputs.shape[1]
        nodes, depths = torch.zeros_like(inputs), torch.zeros_like(inputs)
        for back, first in enumerate(self._firsts[:time]):
            here = nodes[:, back:]
            child = self._children[here, inputs[:, : time - back]]
            # a walk that has stopped stays at a node of an earlier level
            grows = (child > 0) & (here >= first)
            nodes[:, back:] = torch.where(grows, child.long(), here)
            depths[:, back:] += grows
        reach = torch.arange(1, time + 1, device=inputs.device).clamp(max=self._longest)
        # each longer context that occurs once gives all but the discount to the target
        left = self._powers[reach - depths].unsqueeze(-1)
        softened: Tensor = self._table[nodes] * left
        return softened.scatter_add_(-1, targets.unsqueeze(-1), 1 - left)


def _common_enough(counts: NDArray[np.int64], vocab_size: int) -> NDArray[np.bool_]:
    """Which edges lead to a node: those to contexts common enough for all to fit in the table."""
    least = 2
    while np.count_nonzero(counts >= least) * vocab_size > _MOST_NUMBERS:
        least *= 2
    return counts >= least


def _smoothed(followers: NDArray[np.int64], shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate discounted counts with the shorter contexts' distributions, both [nodes, vocab].

    All sums are of integers and the rest is elementwise: the same bits everywhere.
    """
    counts = np.bincount(followers, minlength=shorter.size).reshape(shorter.shape)
    totals = counts.sum(axis=1, keepdims=True)
    distinct = (counts > 0).sum(axis=1, keepdims=True)
    kept = np.maximum(counts - _DISCOUNT, 0.0)
    smoothed: NDArray[np.float64] = (kept + (_DISCOUNT * distinct) * shorter) / totals
    return smoothed
