"""The processes that share a run, and what they exchange, with torch.distributed.

A batch consists of microbatches (`train.gradient_accumulation_steps`). One process takes them in
turn; several take one each at a time, and every process adds the gradients of all in the order of
the microbatches. So the weights are the same to the byte for any number of processes, which an
all-reduce (and DistributedDataParallel, which is built on it) does not guarantee.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# longer than a validation or a suspended machine; a process that ends is noticed at once
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Group:
    """This process's rank among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensor of every process, by rank.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return [tensor]
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(tensors, tensor)
        return tensors

    def in_turn(self, items: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
        """Interleave the items of the processes, each of which has every `size`-th one.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return list(items)
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, list(items))
        rounds = itertools.zip_longest(*boxes)
        return [item for one_round in rounds for item in one_round if item is not None]

    def from_first(self, value: Any) -> Any:
        """Return the value of the process of rank 0.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor, total: Tensor | None) -> Tensor:
        """Add the gradients and loss of every process's microbatch to the total, in order.

        Args:
            parameters: hold the gradients of this process's microbatch, which are cleared.
            loss: this process's share of the loss, a scalar.
            total: the result of the previous call, None at first.

        Returns:
            All gradients, concatenated, and the loss at the end.

        Raises:
            RuntimeError: a process has ended.
        """
        gradients = [p.grad.reshape(-1) for p in parameters if p.grad is not None]
        for parameter in parameters:
            parameter.grad = None
        pieces = self.gather(torch.cat([*gradients, loss.detach().reshape(1)]))
        if total is None:
            total, *pieces = pieces
        for piece in pieces:
            total.add_(piece)
        return total


def hand_out(total: Tensor, parameters: Sequence[Tensor]) -> float:
    """Set each parameter's gradient from the result of `Group.add_up`; return the loss."""
    pieces = total[:-1].split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    return total[-1].item()


def join_group(rank: int, size: int, init_method: str, device: torch.device) -> Group:
    """Join the other processes; returns when all have joined.

    Raises:
        RuntimeError: they did not join in time.
    """
    if device.type == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=init_method,
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )
    return Group(rank, size)
