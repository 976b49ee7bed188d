"""The processes that share a run, with torch.distributed."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# longer than a validation or a suspended machine; a process that ends is noticed at once
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Group:
    """This process's rank among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

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
