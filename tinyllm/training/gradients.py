"""The gradients of a batch, by one process or by several.

A batch consists of microbatches (`train.gradient_accumulation_steps`). One process takes them in
turn. In portable mode several take one each at a time, and the gradients are added up in the order
of the microbatches, so the weights are the same to the byte for any number of processes. In fast
mode each process takes an equal part of the windows, and torch averages the gradients, by DDP or
by FSDP2, whichever the network is wrapped in.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import token_losses
from tinyllm.tokens.windows import on_device
from tinyllm.training.exchange import OrderedSum
from tinyllm.training.schedule import teacher_weight

if TYPE_CHECKING:
    from tinyllm.training.loop import Training


def batch_gradients(training: Training, inputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the gradients of a batch, and return its mean loss in nats: a single number.

    Raises:
        RuntimeError: another process has ended.
    """
    if training.group.size == 1 or training.arithmetic.portable:
        return _in_order(training, inputs, targets)
    return _averaged(training, inputs, targets)


def _in_order(training: Training, inputs: Tensor, targets: Tensor) -> Tensor:
    count, group = training.config.gradient_accumulation_steps, training.group
    parameters = training.optimizers.parameters
    microbatches = list(zip(inputs.chunk(count), targets.chunk(count), strict=True))
    ordered = OrderedSum(group.rank, group.size)
    total = torch.zeros(1, device=training.arithmetic.device)
    for index in range(group.rank, count, group.size):
        objective, loss = _microbatch_losses(training, index, 1 / count, *microbatches[index])
        # within the first step, too, which is long where others fill the machine
        training.arithmetic.contention.watch()
        objective.backward()
        total += loss
        if group.size > 1:
            last = index + group.size >= count
            gradients = [p.grad for p in parameters if p.grad is not None]
            ordered.add([*gradients, total], last=last)
            if not last:
                total.zero_()
                for parameter in parameters:
                    parameter.grad = None
    return total[0]


def _averaged(training: Training, inputs: Tensor, targets: Tensor) -> Tensor:
    group, network = training.group, training.network
    inputs, targets = (part.chunk(group.size)[group.rank] for part in (inputs, targets))
    size = training.config.batch_size
    microbatches = list(zip(inputs.split(size), targets.split(size), strict=True))
    total = torch.zeros(1, device=training.arithmetic.device)
    for number, microbatch in enumerate(microbatches, start=1):
        index, share = group.rank * len(microbatches) + number, len(microbatch[0]) / len(inputs)
        with _exchanging(network, now=number == len(microbatches)):
            objective, loss = _microbatch_losses(training, index, share, *microbatch)
            training.arithmetic.contention.watch()
            objective.backward()
        total += loss
    if training.shards:
        training.shards.take_gradients()
    return group.mean(total)[0]


def _exchanging(network: Any, *, now: bool) -> contextlib.AbstractContextManager[None]:
    """Have the network exchange gradients in this backward pass, or in a later one."""
    if isinstance(network, DistributedDataParallel):
        return contextlib.nullcontext() if now else network.no_sync()
    network.set_requires_gradient_sync(now)
    return contextlib.nullcontext()


def token_losses_of(
    model: nn.Module, inputs: Tensor, targets: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """Loss of every token in nats, [batch, time], and logits, [batch, time, vocabulary]."""
    with arithmetic.autocast():
        logits = model(inputs).float()
    return token_losses(logits, targets), logits


def _microbatch_losses(
    training: Training, index: int, share: float, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """A microbatch's share of the objective, and of the mean loss on the text itself.

    Args:
        training: the run.
        index: of the microbatch in its batch, for dropout.
        share: of this process's windows that it has.
        inputs: tokens, [batch, time].
        targets: the token after each.
    """
    config = training.config
    if training.model.config.dropout:
        # depends only on the place, so any process can take any microbatch, also after a resume
        place = [config.seed, training.progress.step, index]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
    inputs, targets = on_device((inputs, targets), training.arithmetic.device)
    losses, logits = token_losses_of(training.network, inputs, targets, training.arithmetic)
    loss = losses.mean(dim=1).mean() * share
    weight = teacher_weight(training.progress.step, config)
    if training.teacher is None or weight == 0:
        return loss, loss.detach()
    soft_targets = training.teacher.soften(inputs, targets)
    taught = -(F.log_softmax(logits, dim=-1) * soft_targets).sum(dim=-1)
    mixed = losses * (1 - weight) + taught * weight
    return mixed.mean(dim=1).mean() * share, loss.detach()
