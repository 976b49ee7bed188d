"""An n-gram model as a teacher: soft targets from what followed the last few characters.

A text shows one next character at each place, and training averages many of these noisy targets.
Counting averages them beforehand: the distribution of what followed the same few characters
anywhere in the text is a target with the same mean and far less noise. As with any teacher (Hinton
et al. 2015, https://arxiv.org/abs/1503.02531), its weight can decrease during training. Only
characters within the model's own window count as context.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.tokens.shards import Tokens
from tinyllm.tokens.spread import Spread

# absolute discounting: what each distinct next character gives to the shorter context
_DISCOUNT = 0.75
# limit of the table for one length of context: 128 MiB
_MOST_NUMBERS = 2**24
# characters of a passage, since no context reaches across its start
_SHORTEST = 4096
_BLOCK = 1 << 20


class NgramTeacher:
    """Distributions of the next character after up to order - 1 characters.

    The contexts are nodes of a tree that is walked backwards from the last character. A node holds
    the discounted counts of what followed, interpolated with the distribution of its parent. Most
    long contexts occur once; what follows them is the target itself, so they need no node.
    """

    def __init__(
        self,
        tokens: Tokens | NDArray[Any],
        vocab_size: int,
        order: int,
        device: torch.device,
        *,
        most: int = 0,
    ) -> None:
        """Count the n-grams of `tokens` [characters], 0 .. vocab_size - 1.

        Contexts that are too rare to fit into the table, or that the counted characters do not
        hold twice, count as if they occurred once.

        Args:
            tokens: the training text.
            vocab_size: of its tokenizer.
            order: of the n-grams.
            device: of the soft targets.
            most: characters to count at most, in evenly spread passages; 0: all.

        Raises:
            ValueError: the order is below one.
        """
        if order < 1:
            raise ValueError(f"an n-gram teacher of order {order} has nothing to count")
        walk = _Walk(Tokens.of(tokens), vocab_size, most)
        self.counted = len(walk.text)
        shorter = (walk.count_tokens()[None] + 1) / (self.counted + vocab_size)
        levels, children = [shorter.astype(np.float32)], [np.zeros((0, vocab_size), np.int32)]
        self._firsts: list[int] = []
        self._longest = order - 1
        first = 0
        for back in range(1, order):
            kept = _common_enough(walk.count_edges(back, shorter.size), vocab_size)
            numbers = np.where(kept, np.cumsum(kept, dtype=np.int32), 0)
            self._firsts.append(first)
            first += len(shorter)
            children.append(np.where(kept, numbers + (first - 1), 0).reshape(-1, vocab_size))
            followers = walk.grow(back, numbers)
            shorter = _smoothed(followers, shorter, np.flatnonzero(kept) // vocab_size)
            levels.append(shorter.astype(np.float32))
        self._children = torch.from_numpy(_joined(children)).to(device)
        self._table = torch.from_numpy(_joined(levels)).to(device)
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


class _Walk:
    """Every place of a text with the node of the context before it, which grows at each call.

    Takes nine bytes a character, and works on a block of them at a time.
    """

    def __init__(self, tokens: Tokens, vocab_size: int, most: int) -> None:
        spread = Spread.over(len(tokens), most, _SHORTEST)
        self.text = np.concatenate([tokens[start:end] for start, end in spread.ranges()])
        self._vocab_size, self._length = vocab_size, spread.length
        self._places = np.arange(len(self.text), dtype=np.min_scalar_type(-len(self.text) - 1))
        self._nodes = np.zeros(len(self.text), dtype=np.int32)

    def count_tokens(self) -> NDArray[np.int64]:
        """How often each token occurs."""
        counts = np.zeros(self._vocab_size, dtype=np.int64)
        for first in range(0, len(self.text), _BLOCK):
            counts += np.bincount(self.text[first : first + _BLOCK], minlength=self._vocab_size)
        return counts

    def count_edges(self, back: int, size: int) -> NDArray[np.int64]:
        """How often each of `size` edges, to the contexts with the `back`-th character, occurs."""
        counts = np.zeros(size, dtype=np.int64)
        for edges, _ in self._edges(back):
            counts += np.bincount(edges, minlength=size)
        return counts

    def grow(self, back: int, numbers: NDArray[np.int32]) -> NDArray[np.int64]:
        """Go along the edges, and leave the places out whose edge leads to no node.

        Args:
            back: how many characters the contexts have then.
            numbers: the node of each edge, counted from one; 0: none.

        Returns:
            How often each token followed each node, [nodes, vocabulary].
        """
        size = int(numbers.max(initial=0)) * self._vocab_size
        counts, filled = np.zeros(size, dtype=np.int64), 0
        for edges, before in self._edges(back):
            found = numbers[edges]
            nodes, places = found[found > 0] - 1, before[found > 0]
            # behind the block that is read
            self._nodes[filled : filled + len(nodes)] = nodes
            self._places[filled : filled + len(nodes)] = places
            filled += len(nodes)
            counts += np.bincount(nodes * self._vocab_size + self.text[places], minlength=size)
        self._nodes, self._places = self._nodes[:filled], self._places[:filled]
        return counts.reshape(-1, self._vocab_size)

    def _edges(self, back: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """The edges, and their places, of those that have `back` characters before them."""
        for first in range(0, len(self._places), _BLOCK):
            block = slice(first, first + _BLOCK)
            inside = self._places[block] % self._length >= back
            places, nodes = self._places[block][inside], self._nodes[block][inside]
            yield nodes * self._vocab_size + self.text[places - back], places


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """The rows of all arrays, which are given up one by one."""
    rows = sum(len(array) for array in arrays)
    joined = np.empty((rows, arrays[0].shape[1]), dtype=arrays[0].dtype)
    while arrays:
        last = arrays.pop()
        joined[rows - len(last) : rows] = last
        rows -= len(last)
    return joined


def _common_enough(counts: NDArray[np.int64], vocab_size: int) -> NDArray[np.bool_]:
    """Which edges lead to a node: those to contexts common enough for all to fit in the table."""
    least = 2
    while np.count_nonzero(counts >= least) * vocab_size > _MOST_NUMBERS:
        least *= 2
    return counts >= least


def _smoothed(
    counts: NDArray[np.int64], shorter: NDArray[np.float64], parents: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Interpolate discounted counts, [nodes, vocab], with their parents' rows of `shorter`.

    All sums are of integers and the rest is elementwise: the same bits everywhere.
    """
    smoothed = np.empty(counts.shape)
    rows = max(1, _BLOCK // counts.shape[1])
    for first in range(0, len(counts), rows):
        part = slice(first, first + rows)
        totals = counts[part].sum(axis=1, keepdims=True)
        distinct = (counts[part] > 0).sum(axis=1, keepdims=True)
        kept = np.maximum(counts[part] - _DISCOUNT, 0.0)
        smoothed[part] = (kept + (_DISCOUNT * distinct) * shorter[parents[part]]) / totals
    return smoothed
