"""The sum over processes in the order of their ranks, as a reduce-scatter and an all-gather.

An all-reduce adds in an order that depends on the number of processes, so its last bits do too.
Here every process gets one slice of everybody's tensors and adds it up in a fixed order, and the
slices are gathered. What a process sends is the same as in a ring all-reduce: 2 (n - 1) / n of the
tensors, for n processes. Several rounds, as gradient accumulation has them, cost (n - 1) / n each,
and the gathering as much again.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

# of elements: the larger a block, the less often the processes wait for each other
_LARGEST_BLOCK = 1 << 20
_SMALLEST_BLOCK = 1 << 17
# so that the memory of a block's copies is a few hundredths of that of the tensors
_BLOCKS = 64


class OrderedSum:
    """Adds up tensors of all processes, round by round, by rank in each round."""

    def __init__(self, rank: int, size: int) -> None:
        """Start at zero; the processes of a run must call `add` equally often."""
        self._rank, self._size = rank, size
        self._kept: list[Tensor] = []

    def add(self, tensors: Sequence[Tensor], *, last: bool) -> None:
        """Add a tensor of each process to the sum.

        Args:
            tensors: contiguous, of one type, and of the same shapes in all processes.
            last: whether this is the last round; the tensors are then overwritten with the sum.

        Raises:
            RuntimeError: a process has ended.
        """
        parts = _Parts(tensors)
        length = min(_LARGEST_BLOCK, max(_SMALLEST_BLOCK, parts.length // _BLOCKS))
        buffers = [parts.new(length + self._size) for _ in range(2)]
        for number, block in enumerate(parts.blocks(length)):
            # a row for each process; what fills up the last one does no harm
            shape = (self._size, -(-len(block) // self._size))
            mine, theirs = (buffer[: math.prod(shape)].view(shape) for buffer in buffers)
            parts.read(block, mine)
            dist.all_to_all_single(theirs, mine)
            total = self._add_rows(number, theirs, last=last)
            if last:
                dist.all_gather(list(mine), total)
                parts.write(block, mine)
        if last:
            self._kept = []

    def _add_rows(self, number: int, rows: Tensor, *, last: bool) -> Tensor:
        """Add up this process's slice of a block; the result is kept until the last round."""
        first, *others = rows.unbind()
        begun = number < len(self._kept)
        total = self._kept[number].add_(first) if begun else first
        for row in others:
            total.add_(row)
        if not last and not begun:
            self._kept.append(total.clone())
        return total


class _Parts:
    """Tensors as one vector, which is read and written in blocks."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = [tensor.view(-1) for tensor in tensors]
        self._ends = list(itertools.accumulate(tensor.numel() for tensor in tensors))
        self.length = self._ends[-1]

    def new(self, length: int) -> Tensor:
        """A vector of the same type, filled with zeros."""
        return self._tensors[0].new_zeros(length)

    def blocks(self, length: int) -> Iterator[range]:
        """The vector's indices, in blocks of at most `length`."""
        for start in range(0, self.length, length):
            yield range(start, min(start + length, self.length))

    def read(self, block: range, into: Tensor) -> None:
        """Copy a block to the beginning of another tensor."""
        torch.cat(self._pieces(block), out=into.view(-1)[: len(block)])

    def write(self, block: range, source: Tensor) -> None:
        """Overwrite a block with the beginning of another tensor."""
        pieces = self._pieces(block)
        values = source.view(-1)[: len(block)].split([piece.numel() for piece in pieces])
        torch._foreach_copy_(pieces, values)

    def _pieces(self, block: range) -> list[Tensor]:
        pieces, position = [], block.start
        for index in range(bisect.bisect_right(self._ends, position), len(self._ends)):
            if position == block.stop:
                break
            begin = self._ends[index] - self._tensors[index].numel()
            end = min(block.stop, self._ends[index])
            pieces.append(self._tensors[index][position - begin : end - begin])
            position = end
        return pieces
