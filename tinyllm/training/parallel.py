"""How several processes train one model."""

import warnings
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.transformer import Transformer
from tinyllm.training.distributed import Group

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards


def spread(
    model: Transformer, group: Group, numerics: NumericsConfig, arithmetic: Arithmetic
) -> "tuple[nn.Module, Shards | None]":
    """Prepare a model for training by several processes.

    Returns:
        What to call for a forward pass, and this process's rows of the model's weights if it is
        shared out.
    """
    if group.size == 1 or arithmetic.portable:
        return model, None
    if numerics.sharded:
        from tinyllm.training.shards import Shards  # noqa: PLC0415 - imports FSDP, which is slow

        return model, Shards(model, group, arithmetic.device)
    # all processes have the same weights from the start, and no buffer changes
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        network = DistributedDataParallel(
            model,
            device_ids=[arithmetic.device] if arithmetic.device.type == "cuda" else None,
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    return network, None
