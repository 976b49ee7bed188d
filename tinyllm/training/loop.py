"""The inner loop: optimizer steps, validation, and their events."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import StepTaken, Tell, Validated
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import Transformer, token_losses
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.windows import TrainLoader
from tinyllm.training.config import TrainingConfig
from tinyllm.training.distributed import Group, hand_out
from tinyllm.training.optimizer import Optimizers
from tinyllm.training.schedule import learning_rate_factor, teacher_weight
from tinyllm.training.teacher import NgramTeacher
from tinyllm.training.validation import evaluate


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    best_val_loss: float = math.inf
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass
class Training:
    """The parts and the state of one run."""

    model: Transformer
    optimizers: Optimizers
    train_loader: TrainLoader
    val_loader: EvaluationLoader
    config: TrainingConfig
    arithmetic: Arithmetic
    group: Group
    teacher: NgramTeacher | None
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def train_epoch(training: Training, tell: Tell, after_step: Callable[[], None]) -> None:
    """Take optimizer steps until the epoch, or the run, ends.

    Args:
        training: its progress, weights and place in the data are updated.
        tell: receives every step and every validation.
        after_step: called after each step, when the state is consistent.

    Raises:
        TinyLLMError: the loss is not a finite number.
    """
    config, progress = training.config, training.progress
    epoch = training.train_loader.place.epoch
    training.model.train()
    while progress.step < config.max_steps and training.train_loader.place.epoch == epoch:
        taken = take_step(training)
        training.arithmetic.contention.watch()
        progress.step += 1
        progress.loss_sum += taken.loss
        progress.loss_count += 1
        tell(taken)
        if progress.step % config.eval_interval == 0 or progress.step == config.max_steps:
            tell(_validate(training, taken))
        after_step()


def take_step(training: Training) -> StepTaken:
    """One optimizer step on the next batch; the caller updates `progress`.

    Raises:
        TinyLLMError: the loss or the gradient norm is not a finite number.
    """
    config, optimizers, progress = training.config, training.optimizers, training.progress
    inputs, targets = training.train_loader.next_batch()
    loss_value = _gradients(training, inputs, targets)
    _check_finite("loss", loss_value, progress.step + 1)
    norm = optimizers.clip_gradients().item()
    _check_finite("gradient norm", norm, progress.step + 1)
    optimizers.step(progress.step)
    return StepTaken(
        step=progress.step + 1,
        loss=loss_value,
        learning_rate=config.learning_rate * learning_rate_factor(progress.step, config),
        gradient_norm=norm,
        tokens=targets.numel(),
    )


def _gradients(training: Training, inputs: Tensor, targets: Tensor) -> float:
    """Compute the gradients of a batch, and return its mean loss in nats."""
    count, group = training.config.gradient_accumulation_steps, training.group
    parameters = training.optimizers.parameters
    microbatches = list(zip(inputs.chunk(count), targets.chunk(count), strict=True))
    total: Tensor | None = None
    for index in range(group.rank, count, group.size):
        objective, loss = _microbatch_losses(training, index, *microbatches[index])
        objective.backward()
        if group.size > 1:
            total = group.add_up(parameters, loss, total)
        else:
            total = loss if total is None else total + loss
    assert total is not None  # noqa: S101 - there is a microbatch for every process
    return hand_out(total, parameters) if group.size > 1 else total.item()


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
    losses, logits = _losses(training.model, inputs, targets, training.arithmetic)
    share = 1 / config.gradient_accumulation_steps
    loss = losses.mean(dim=1).mean() * share
    weight = teacher_weight(training.progress.step, config)
    if training.teacher is None or weight == 0:
        return loss, loss.detach()
    soft_targets = training.teacher.soften(inputs, targets)
    taught = -(F.log_softmax(logits, dim=-1) * soft_targets).sum(dim=-1)
    mixed = losses * (1 - weight) + taught * weight
    return mixed.mean(dim=1).mean() * share, loss.detach()


def _losses(
    model: Transformer, inputs: Tensor, targets: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """Loss of every token in nats, [batch, time], and logits, [batch, time, vocabulary]."""
    with arithmetic.autocast():
        logits = model(inputs).float()
    return token_losses(logits, targets), logits


def _validate(training: Training, taken: StepTaken) -> Validated:
    progress = training.progress
    val_loss = evaluate(training.model, training.val_loader, training.arithmetic, training.group)
    _check_finite("validation loss", val_loss, progress.step)
    told = Validated(
        step=progress.step,
        train_loss=progress.loss_sum / progress.loss_count,
        val_loss=val_loss,
        learning_rate=taken.learning_rate,
        gradient_norm=taken.gradient_norm,
        best=val_loss < progress.best_val_loss,
    )
    progress.loss_sum, progress.loss_count = 0.0, 0
    row = asdict(told)
    del row["best"]
    progress.history.append(row)
    if told.best:
        progress.best_val_loss, progress.best_step = val_loss, progress.step
        weights = training.model.state_dict().items()
        training.best_weights = {name: tensor.detach().clone() for name, tensor in weights}
    return told


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise TinyLLMError(
            f"The {name} became {value} at step {step}; lower train.learning_rate or "
            f"train.embedding_learning_rate, or lengthen train.warmup_steps."
        )
