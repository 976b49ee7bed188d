"""The inner loop: optimizer steps, validation, and their events."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import StepTaken, Tell, Validated
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.windows import TrainLoader
from tinyllm.training.config import TrainingConfig
from tinyllm.training.distributed import Group
from tinyllm.training.gradients import batch_gradients
from tinyllm.training.optimizer import Optimizers
from tinyllm.training.schedule import learning_rate_factor
from tinyllm.training.teacher import NgramTeacher
from tinyllm.training.validation import evaluate

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards


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
    """The parts and the state of one run.

    The network is the model, or what exchanges its gradients; `shards` are this process's rows of
    it, if it is shared out.
    """

    model: Transformer
    network: nn.Module
    shards: "Shards | None"
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
    loss_tensor = batch_gradients(training, inputs, targets)
    norm_tensor = optimizers.clip_gradients()
    optimizers.step(progress.step)
    # read together and last: until then a GPU is told what to do next while it computes
    loss, norm = torch.stack((loss_tensor, norm_tensor)).tolist()
    _check_finite("loss", loss, progress.step + 1)
    _check_finite("gradient norm", norm, progress.step + 1)
    return StepTaken(
        step=progress.step + 1,
        loss=loss,
        learning_rate=config.learning_rate * learning_rate_factor(progress.step, config),
        gradient_norm=norm,
        tokens=targets.numel(),
    )


def _validate(training: Training, taken: StepTaken) -> Validated:
    progress = training.progress
    arithmetic, in_step = training.arithmetic, training.shards is not None
    val_loss = evaluate(
        training.model, training.val_loader, arithmetic, training.group, in_step=in_step
    )
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
