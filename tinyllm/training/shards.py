"""A model whose weights, gradients and optimizer state are shared out, with torch's FSDP2.

Every process keeps some rows of each weight, and gathers a block's weights when it computes with
them (`torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, https://arxiv.org/abs/2304.11277).
"""

import warnings

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, zeros

from tinyllm.model.transformer import Transformer
from tinyllm.training.distributed import Group


class Shards:
    """This process's rows of a model.

    Attributes:
        weights: the rows of each weight, by name; an optimizer changes them in place.
    """

    def __init__(self, model: Transformer, group: Group, device: torch.device) -> None:
        """Share out the model, which all processes must hold with the same weights."""
        # about changes in place of what a block returns, of which there are none
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
        self.group = group
        self._mesh = init_device_mesh(device.type, (group.size,))
        for part in (*model.blocks, model):
            fully_shard(part, mesh=self._mesh, reshard_after_forward=True)
        self._parameters = dict(model.named_parameters())
        self.weights = {name: _own(weight).detach() for name, weight in self._parameters.items()}
        self._rows = {id(self.weights[n]): len(p) for n, p in self._parameters.items()}

    def take_gradients(self) -> None:
        """Give the rows the gradients that the backward pass left at the model's weights."""
        for name, parameter in self._parameters.items():
            assert parameter.grad is not None  # noqa: S101 - every weight is used
            self.weights[name].grad = _own(parameter.grad)
            parameter.grad = None

    def norm(self, norm: Tensor) -> Tensor:
        """The Euclidean norm of all rows from that of this process's."""
        square = norm.square()
        dist.all_reduce(square)
        return square.sqrt()

    def rows_of(self, weight: Tensor) -> int:
        """The number of rows that the processes together have of a weight."""
        return self._rows[id(weight)]

    def as_whole(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """A tensor of an optimizer's state as what the processes hold of it together.

        Args:
            tensor: with the rows of `weight`, or a number that is the same in all processes.
            weight: one of `weights`.
        """
        if not tensor.ndim:
            return tensor
        shape = torch.Size([self.rows_of(weight), *tensor.shape[1:]])
        strides = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(tensor, self._mesh, [Shard(0)], shape=shape, stride=strides)

    def empty(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor of zeros that is shared out as weights are."""
        return zeros(shape, dtype=dtype, device_mesh=self._mesh, placements=[Shard(0)])

    @staticmethod
    def own_rows(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's rows of tensors that are shared out; the others as they are."""
        return {name: _own(tensor) for name, tensor in tensors.items()}

    def gather(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The whole of tensors that are shared out, for the process of rank 0; others get none."""
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.group.rank == 0:
                found[name] = whole
        return found


def _own(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
