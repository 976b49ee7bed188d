"""How several processes train one model."""

import warnings
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.compilation import compile_blocks, compiled
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.transformer import Transformer
from tinyllm.training.distributed import Group

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards


def spread(
    model: Transformer,
    group: Group,
    numerics: NumericsConfig,
    arithmetic: Arithmetic,
    *,
    accumulates: bool = False,
) -> "tuple[nn.Module, Shards | None]":
    """Prepare a model for training by one process or several.

    Args:
        model: the model.
        group: the processes.
        numerics: how they share it.
        arithmetic: how each computes.
        accumulates: whether a step adds up the gradients of several microbatches.

    Returns:
        What to call for a forward pass, and this process's rows of the model's weights if it is
        shared out.
    """
    if group.size > 1 and numerics.sharded:
        from tinyllm.training.shards import Shards  # noqa: PLC0415 - imports FSDP, which is slow

        if arithmetic.compiler:
            compile_blocks(model, arithmetic)
        return model, Shards(model, group, arithmetic.device)
    network = compiled(model, arithmetic, accumulates=accumulates) if arithmetic.compiler else model
    if group.size == 1 or arithmetic.portable:
        return network, None
    # all processes have the same weights from the start, and no buffer changes
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        exchanging = DistributedDataParallel(
            network,
            device_ids=[arithmetic.device] if arithmetic.device.type == "cuda" else None,
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    return exchanging, None
