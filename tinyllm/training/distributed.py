"""The processes that share a run, with torch.distributed."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from tinyllm.base.errors import TinyLLMError
from tinyllm.training.connections import (
    Ends,
    accept_all,
    break_connections,
    connect_to_first,
    connections_here,
)
from tinyllm.training.launch import place_on_machine, started_by_torchrun
from tinyllm.training.liveness import Liveness

HOW_TO_RESUME = "the same command resumes from the last working checkpoint"
_ARRIVAL = timedelta(minutes=10)
# longer than a validation, a checkpoint or a suspended machine; an end is noticed much earlier
_TIMEOUT = timedelta(hours=2)
# in which a process that lost a connection learns what happened
_PATIENCE = 5.0


@dataclass(frozen=True)
class Group:
    """This process's rank among those that train together; alone by default."""

    rank: int = 0
    size: int = 1
    liveness: Liveness | None = None

    def check(self) -> None:
        """Between exchanges, notice that a process is lost.

        Raises:
            RuntimeError: one is.
        """
        if self.liveness:
            self.liveness.check()

    def in_turn(self, items: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
        """Interleave the items of the processes, each of which has every `size`-th one.

        Raises:
            RuntimeError: a process has ended.
        """
        rounds = itertools.zip_longest(*self.gather(list(items)))
        return [item for one_round in rounds for item in one_round if item is not None]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return [value]
        boxes: list[Any] = [None] * self.size
        dist.all_gather_object(boxes, value)
        return boxes

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

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of the tensors of all processes, in place; its last bits depend on their number.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor.div_(self.size)

    def tensors_from_first(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the process of rank 0, one at a time; the others give none.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return tensors
        outlines = self.from_first({name: (t.shape, t.dtype) for name, t in tensors.items()})
        received: dict[str, Tensor] = {}
        for name, (shape, dtype) in outlines.items():
            received[name] = tensors[name] if tensors else torch.empty(shape, dtype=dtype)
            dist.broadcast(received[name], src=0)
        return received

    def largest(self, *numbers: int) -> list[int]:
        """Return the largest of the numbers of all processes, for each argument.

        Raises:
            RuntimeError: a process has ended.
        """
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(number) for number in tensor]


@contextlib.contextmanager
def joined(rank: int, size: int, init_method: str, device: torch.device) -> Iterator[Group]:
    """Join the other processes, and leave them at the end.

    Under torchrun, whose processes may be on several machines, the loss of one ends all.

    Raises:
        TinyLLMError: one of the others was lost.
        RuntimeError: they did not join in time, or an exchange failed.
    """
    if device.type == "cuda":
        torch.cuda.set_device(place_on_machine(rank) % torch.cuda.device_count())
    before = connections_here()
    store, *_ = next(rendezvous(init_method, rank, size, timeout=_ARRIVAL))
    exchanges, liveness, orderly = connections_here() - before, None, False
    try:
        if started_by_torchrun():
            liveness, attempt = _watch_others(rank, size, store, exchanges)
            liveness.on_loss(lambda: break_connections(exchanges))
            # torchrun's store may still hold what an earlier attempt left
            store = PrefixStore(attempt, store)
        # the few numbers that are exchanged beside tensors are in the machine's memory
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        exchanges |= connections_here() - before
        # all have joined before the first one may fail, which is easier to tell then
        dist.barrier()
        yield Group(rank, size, liveness)
        orderly = True
    except RuntimeError:
        if liveness and (loss := liveness.loss(_PATIENCE)):
            raise TinyLLMError(f"{loss}; {HOW_TO_RESUME}.") from None
        raise
    finally:
        if liveness:
            liveness.leave(orderly=orderly)
        if dist.is_initialized():
            dist.destroy_process_group()


def _watch_others(rank: int, size: int, store: Store, to_store: set[Ends]) -> tuple[Liveness, str]:
    """Notice from now on when a process is lost; also a word that is new and common to all."""
    try:
        if rank:
            peers, attempt = connect_to_first(rank, size, store)
        else:
            here, there = next(iter(to_store))
            # others reach this machine by the address of its store, or by that which it uses
            address = os.environ["MASTER_ADDR"] if here[0] == there[0] else here[0]
            peers, attempt = accept_all(size, address, store)
    except OSError as error:
        raise TinyLLMError(
            f"The {size} processes that train together cannot reach each other ({error}); let "
            f"their machines connect to any of each other's ports."
        ) from None
    return Liveness(peers), attempt
