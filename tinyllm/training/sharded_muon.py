"""Muon for weights whose rows are shared out among processes.

A matrix is orthogonalized as a whole, so each process gets all rows of some weights, computes their
updates, and sends the rows of the updates back. The work is divided as the memory is, and what a
process sends, twice its share of the weights, is less than a gathering of all would be.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from tinyllm.kernels.products import Products
from tinyllm.training.distributed import Group
from tinyllm.training.muon import Muon
from tinyllm.training.shards import Shards


class ShardedMuon(Muon):
    """See `Muon`; the weights are this process's rows of them."""

    def __init__(
        self,
        parameters: Iterable[tuple[Tensor, int]],
        products: Products,
        shards: Shards,
        **settings: float,
    ) -> None:
        super().__init__(parameters, products, **settings)
        weights = self.param_groups[0]["params"]
        # the mean squares of the rows travel as one more column
        shapes = [(shards.rows_of(weight), weight.shape[1] + 1) for weight in weights]
        self._whole = WholeMatrices(shapes, shards.group)

    def _updates(
        self, weights: list[Tensor], steps: list[Tensor], squares: list[Tensor], beta2: float
    ) -> tuple[list[Tensor], list[Tensor]]:
        rows = [torch.cat(pair, dim=1) for pair in zip(steps, squares, strict=True)]
        whole = self._whole.gather(rows)
        owned = [weights[index] for index in self._whole.owned]
        matrices, means = ([m[:, :-1] for m in whole], [m[:, -1:] for m in whole])
        changes = iter(self._matrix_updates(owned, matrices, means, beta2))
        for weight, matrix in zip(owned, matrices, strict=True):
            matrix.copy_(torch.cat([next(changes) for _ in range(self._counts[id(weight)])]))
        rows = self._whole.scatter(whole)
        torch._foreach_copy_(squares, [row[:, -1:] for row in rows])
        return weights, [row[:, :-1] for row in rows]


class WholeMatrices:
    """Moves matrices between processes that hold rows of each and the ones that own them.

    Attributes:
        owned: which of the matrices this process owns.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], group: Group) -> None:
        """Divide the matrices of these shapes among the processes."""
        self._ranks, self._rank = range(group.size), group.rank
        self._widths = [width for _, width in shapes]
        # how many numbers each process holds of each matrix
        self._held = [[r * width for r in rows_held(rows, group.size)] for rows, width in shapes]
        owners = _divide([rows * width * min(rows, width) for rows, width in shapes], group.size)
        self._owned_by = [[i for i, o in enumerate(owners) if o == rank] for rank in self._ranks]
        self.owned = self._owned_by[group.rank]

    def gather(self, rows: list[Tensor]) -> list[Tensor]:
        """Send the rows of each matrix to its owner.

        Args:
            rows: this process's of each matrix, [own rows, width].

        Returns:
            The matrices that this process owns, [rows, width].
        """
        sent = [[rows[i].reshape(-1) for i in owned] for owned in self._owned_by]
        lengths = [[self._held[i][rank] for i in self.owned] for rank in self._ranks]
        received = _exchange(sent, lengths)
        matrices = (torch.cat(pieces) for pieces in zip(*received, strict=True))
        return [m.view(-1, self._widths[i]) for m, i in zip(matrices, self.owned, strict=True)]

    def scatter(self, matrices: list[Tensor]) -> list[Tensor]:
        """Send the rows of the matrices that `gather` returned back to where they came from."""
        held = [self._held[i] for i in self.owned]
        cut = [m.reshape(-1).split(each) for m, each in zip(matrices, held, strict=True)]
        sent = [[pieces[rank] for pieces in cut] for rank in self._ranks]
        lengths = [[self._held[i][self._rank] for i in owned] for owned in self._owned_by]
        received = _exchange(sent, lengths)
        found = {
            index: piece.view(-1, self._widths[index])
            for owned, pieces in zip(self._owned_by, received, strict=True)
            for index, piece in zip(owned, pieces, strict=True)
        }
        return [found[index] for index in range(len(found))]


def rows_held(rows: int, size: int) -> list[int]:
    """How many rows of a weight each of `size` processes has, as FSDP2 shares them out."""
    share = -(-rows // size)
    return [max(0, min(share, rows - rank * share)) for rank in range(size)]


def _divide(costs: list[int], size: int) -> list[int]:
    """Give each task to one of `size` processes, the most expensive one first; evenly."""
    owners, loads = [0] * len(costs), [0] * size
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += costs[index]
    return owners


def _exchange(sent: list[list[Tensor]], lengths: list[list[int]]) -> list[list[Tensor]]:
    """Send each process its tensors, flat ones, and return those of known lengths from each."""
    flat = torch.cat([tensor for part in sent for tensor in part])
    totals = [sum(part) for part in lengths]
    received = flat.new_empty(sum(totals))
    sizes = [sum(tensor.numel() for tensor in part) for part in sent]
    dist.all_to_all_single(received, flat, totals, sizes)
    parts = zip(received.split(totals), lengths, strict=True)
    return [list(part.split(each)) for part, each in parts]
