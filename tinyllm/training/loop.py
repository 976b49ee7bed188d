"""The inner loop: optimizer steps, validation, and what they report."""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.config.training import TrainingConfig
from tinyllm.errors import TinyLLMError
from tinyllm.models.transformer import Transformer
from tinyllm.numerics import Arithmetic
from tinyllm.training.data_loader import Batch, EvaluationLoader, TrainLoader
from tinyllm.training.distributed import Group, hand_out
from tinyllm.training.optimizer import Optimizers, learning_rate_factor
from tinyllm.training.teacher import NgramTeacher


@dataclass(frozen=True)
class StepReport:
    """One optimizer step: its number (from 1), mean loss in nats, and what drove it."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    characters: int


@dataclass(frozen=True)
class ValidationReport:
    """One row of the history; losses in nats per character."""

    step: int
    train_loss: float
    val_loss: float
    learning_rate: float
    gradient_norm: float


class Observer(Protocol):
    """What a caller may do along the way; nothing it does changes the training."""

    def on_step(self, report: StepReport) -> None:
        """Called after every optimizer step."""

    def on_validation(self, report: ValidationReport, weights: dict[str, Tensor] | None) -> None:
        """Called after every validation; `weights` are given when they are the best so far."""

    def should_stop(self) -> int:
        """Return the number of a signal that asks to stop after this step, or 0."""


class SilentObserver:
    """An observer that only lets the training run."""

    def on_step(self, report: StepReport) -> None:
        """Ignore the step."""

    def on_validation(self, report: ValidationReport, weights: dict[str, Tensor] | None) -> None:
        """Ignore the validation."""

    def should_stop(self) -> int:
        """Never stop."""
        return 0


@dataclass
class Progress:
    """How far a training has come."""

    step: int = 0
    best_val_loss: float = math.inf
    best_step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass
class Training:
    """The parts that one training is made of."""

    model: Transformer
    optimizers: Optimizers
    train_loader: TrainLoader
    val_loader: EvaluationLoader
    config: TrainingConfig
    arithmetic: Arithmetic
    group: Group
    progress: Progress
    best_weights: dict[str, Tensor]
    teacher: NgramTeacher | None = None


def train_epoch(training: Training, observer: Observer, after_step: Callable[[], None]) -> None:
    """Take optimizer steps until the epoch, or the training, ends.

    Args:
        training: its parts; progress, weights and place in the data move on.
        observer: told of every step and every validation.
        after_step: called with no arguments after each step, when the state is whole.

    Raises:
        TinyLLMError: the loss is not a finite number.
    """
    config, progress = training.config, training.progress
    epoch = training.train_loader.place.epoch
    training.model.train()
    while progress.step < config.max_steps and training.train_loader.place.epoch == epoch:
        report = take_step(training)
        progress.step += 1
        progress.loss_sum += report.loss
        progress.loss_count += 1
        observer.on_step(report)
        if progress.step % config.eval_interval == 0 or progress.step == config.max_steps:
            _validate(training, report, observer)
        after_step()


@torch.no_grad()
def evaluate(
    model: Transformer, batches: Iterable[Batch], arithmetic: Arithmetic, group: Group | None = None
) -> float:
    """Mean loss in nats per character over all batches, without dropout.

    The processes of a group take turns at the batches, and all get the result.
    """
    group = group or Group()
    was_training = model.training
    model.eval()
    sums: list[tuple[float, int]] = []
    for inputs, targets in itertools.islice(batches, group.rank, None, group.size):
        losses, _ = character_losses(model, inputs, targets, arithmetic)
        # by rows and then in double: the same bits for any number of threads
        sums.append((losses.sum(dim=1).double().sum().item(), targets.numel()))
    model.train(was_training)
    total, count = 0.0, 0
    for batch_sum, batch_count in group.in_turn(sums):
        total += batch_sum
        count += batch_count
    return total / count


def character_losses(
    model: Transformer, inputs: Tensor, targets: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, Tensor]:
    """Loss of every character in nats, [batch, time], and the logits, [batch, time, vocabulary]."""
    with _autocast(arithmetic):
        logits = model(inputs).float()
    flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape), logits


def take_step(training: Training) -> StepReport:
    """One optimizer step on the next batch; `progress` is left to the caller.

    Raises:
        TinyLLMError: the loss or the norm of the gradient is not a finite number.
    """
    config, optimizers, progress = training.config, training.optimizers, training.progress
    inputs, targets = training.train_loader.next_batch()
    loss_value = _gradients(training, inputs, targets)
    _check_finite("loss", loss_value, progress.step + 1)
    norm = optimizers.clip_gradients().item()
    _check_finite("gradient norm", norm, progress.step + 1)
    optimizers.step(progress.step)
    return StepReport(
        step=progress.step + 1,
        loss=loss_value,
        learning_rate=config.learning_rate * learning_rate_factor(progress.step, config),
        gradient_norm=norm,
        characters=targets.numel(),
    )


def _gradients(training: Training, inputs: Tensor, targets: Tensor) -> float:
    """Leave the gradient of a batch in the weights, and return its mean loss in nats."""
    parts, group = training.config.gradient_accumulation_steps, training.group
    parameters = training.optimizers.parameters
    batches = list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True))
    total: Tensor | None = None
    for part in range(group.rank, parts, group.size):
        objective, loss = _part_losses(training, part, *batches[part])
        objective.backward()
        if group.size > 1:
            total = group.add_up(parameters, loss, total)
        else:
            total = loss if total is None else total + loss
    assert total is not None  # noqa: S101 - there is a part for every process
    return hand_out(total, parameters) if group.size > 1 else total.item()


def _part_losses(
    training: Training, part: int, inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """A part's share of what is minimised, and of the mean loss on the characters themselves."""
    config, device = training.config, training.arithmetic.device
    if training.model.config.dropout:
        # from the place alone, so that any process can take any part, also after a resume
        place = [config.seed, training.progress.step, part]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
    inputs, targets = inputs.to(device), targets.to(device)
    losses, logits = character_losses(training.model, inputs, targets, training.arithmetic)
    share = 1 / config.gradient_accumulation_steps
    loss = losses.mean(dim=1).mean() * share
    weight = teacher_weight(training.progress.step, config)
    if training.teacher is None or weight == 0:
        return loss, loss.detach()
    soft_targets = training.teacher.soften(inputs, targets)
    taught = -(F.log_softmax(logits, dim=-1) * soft_targets).sum(dim=-1)
    mixed = losses * (1 - weight) + taught * weight
    return mixed.mean(dim=1).mean() * share, loss.detach()


def teacher_weight(step: int, config: TrainingConfig) -> float:
    """Share of the n-gram teacher in the targets of `step` (counted from 0)."""
    progress = step / max(1, config.max_steps - 1)
    return config.teacher_weight + progress * (config.final_teacher_weight - config.teacher_weight)


def _validate(training: Training, step: StepReport, observer: Observer) -> None:
    progress = training.progress
    val_loss = evaluate(training.model, training.val_loader, training.arithmetic, training.group)
    _check_finite("validation loss", val_loss, progress.step)
    report = ValidationReport(
        step=progress.step,
        train_loss=progress.loss_sum / progress.loss_count,
        val_loss=val_loss,
        learning_rate=step.learning_rate,
        gradient_norm=step.gradient_norm,
    )
    progress.loss_sum, progress.loss_count = 0.0, 0
    progress.history.append(asdict(report))
    best = val_loss < progress.best_val_loss
    if best:
        progress.best_val_loss, progress.best_step = val_loss, progress.step
        training.best_weights = {
            name: tensor.detach().clone() for name, tensor in training.model.state_dict().items()
        }
    observer.on_validation(report, training.best_weights if best else None)


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise TinyLLMError(
            f"The {name} became {value} at step {step}; lower train.learning_rate or "
            f"train.embedding_learning_rate, or lengthen train.warmup_steps."
        )


def _autocast(arithmetic: Arithmetic) -> torch.autocast:
    return torch.autocast(
        arithmetic.device.type,
        dtype=torch.bfloat16,
        enabled=arithmetic.precision == torch.bfloat16,
    )
