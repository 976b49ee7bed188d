"""The gradients of a batch, by one process or by several.

A batch consists of microbatches (`train.gradient_accumulation_steps`). One process takes them in
turn; several take one each at a time, and the gradients are added up in the order of the
microbatches. So the weights are the same to the byte for any number of processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import Transformer, token_losses
from tinyllm.training.exchange import OrderedSum
from tinyllm.training.schedule import teacher_weight

if TYPE_CHECKING:
    from tinyllm.training.loop import Training


def batch_gradients(training: Training, inputs: Tensor, targets: Tensor) -> float:
    """Compute the gradients of a batch, and return its mean loss in nats.

    Raises:
        RuntimeError: another process has ended.
    """
    count, group = training.config.gradient_accumulation_steps, training.group
    parameters = training.optimizers.parameters
    microbatches = list(zip(inputs.chunk(count), targets.chunk(count), strict=True))
    ordered = OrderedSum(group.rank, group.size)
    total = torch.zeros(1, device=training.arithmetic.device)
    for index in range(group.rank, count, group.size):
        objective, loss = _microbatch_losses(training, index, *microbatches[index])
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
    return total.item()


def token_losses_of(
    model: Transformer, inputs: Tensor, targets: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """Loss of every token in nats, [batch, time], and logits, [batch, time, vocabulary]."""
    with arithmetic.autocast():
        logits = model(inputs).float()
    return token_losses(logits, targets), logits


def _microbatch_losses(
    training: Training, index: int, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """A microbatch's share of the objective, and of the mean loss on the text itself."""
    config, device = training.config, training.arithmetic.device
    if training.model.config.dropout:
        # depends only on the place, so any process can take any microbatch, also after a resume
        place = [config.seed, training.progress.step, index]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
    inputs, targets = inputs.to(device), targets.to(device)
    losses, logits = token_losses_of(training.model, inputs, targets, training.arithmetic)
    share = 1 / config.gradient_accumulation_steps
    loss = losses.mean(dim=1).mean() * share
    weight = teacher_weight(training.progress.step, config)
    if training.teacher is None or weight == 0:
        return loss, loss.detach()
    soft_targets = training.teacher.soften(inputs, targets)
    taught = -(F.log_softmax(logits, dim=-1) * soft_targets).sum(dim=-1)
    mixed = losses * (1 - weight) + taught * weight
    return mixed.mean(dim=1).mean() * share, loss.detach()
