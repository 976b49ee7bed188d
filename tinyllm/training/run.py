"""A whole training: set up, resume where an interrupted one stopped, run, keep the best."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.config.model import ModelConfig
from tinyllm.config.training import TrainingConfig
from tinyllm.errors import Interrupted
from tinyllm.logger import get_logger
from tinyllm.models.initialization import look_back
from tinyllm.models.transformer import Transformer
from tinyllm.numerics import Arithmetic
from tinyllm.training.checkpoint import TrainingState, WorkingCheckpoints
from tinyllm.training.data_loader import Place, build_dataloaders
from tinyllm.training.distributed import Group
from tinyllm.training.loop import Observer, Progress, SilentObserver, Training, train_epoch
from tinyllm.training.optimizer import Optimizers
from tinyllm.training.teacher import NgramTeacher

_log = get_logger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The best weights seen, and how they were reached."""

    weights: dict[str, Tensor]
    best_step: int
    best_val_loss: float
    history: list[dict[str, Any]]
    num_parameters: int


def run_training(
    train_tokens: NDArray[Any],
    val_tokens: NDArray[Any],
    vocab_size: int,
    model_config: ModelConfig,
    config: TrainingConfig,
    arithmetic: Arithmetic,
    *,
    checkpoints: WorkingCheckpoints | None = None,
    checkpoint_interval: float = 20.0,
    observer: Observer | None = None,
    group: Group | None = None,
) -> TrainingResult:
    """Train a model and return its best weights by loss on the full validation split.

    Args:
        train_tokens: tokens to learn from, [characters].
        val_tokens: tokens to validate on, [characters].
        vocab_size: number of tokens.
        model_config: the model's shape.
        config: optimizer, schedule and batches.
        arithmetic: from `setup_numerics`.
        checkpoints: where to keep the state, and to resume from; None keeps nothing.
        checkpoint_interval: seconds between working checkpoints; 0 keeps every step.
        observer: told of progress.
        group: the processes that train together; of their arguments only checkpoints and observer
            may differ. The result does not depend on their number.

    Raises:
        TinyLLMError: a split is too short, or the loss is not finite.
        RuntimeError: another process of the group has ended.
        Interrupted: the observer asked to stop; the state was saved before.
    """
    observer = observer or SilentObserver()
    training = set_up_training(
        train_tokens, val_tokens, vocab_size, model_config, config, arithmetic, group
    )
    state = training.group.from_first(checkpoints.load_latest() if checkpoints else None)
    if state is not None:
        _restore(training, state)
        _log.info("Resuming at step %d of %d.", training.progress.step, config.max_steps)
    after_step = _saver(training, checkpoints, checkpoint_interval, observer)
    while training.progress.step < config.max_steps:
        train_epoch(training, observer, after_step)
    return TrainingResult(
        weights=training.best_weights,
        best_step=training.progress.best_step,
        best_val_loss=training.progress.best_val_loss,
        history=training.progress.history,
        num_parameters=training.model.num_parameters(),
    )


def set_up_training(
    train_tokens: NDArray[Any],
    val_tokens: NDArray[Any],
    vocab_size: int,
    model_config: ModelConfig,
    config: TrainingConfig,
    arithmetic: Arithmetic,
    group: Group | None = None,
) -> Training:
    """Make the parts of a training that has not begun; see `run_training` for the arguments.

    Raises:
        TinyLLMError: a split is too short.
    """
    train_loader, val_loader = build_dataloaders(
        train_tokens,
        val_tokens,
        sequence_length=model_config.sequence_length,
        batch_size=config.batch_size * config.gradient_accumulation_steps,
        seed=config.seed,
        device=arithmetic.device,
    )
    model = Transformer(model_config, vocab_size)
    # drawn on the CPU, so that every device starts from the same weights
    model.init_weights(torch.Generator().manual_seed(config.seed))
    if config.initial_attention == "recent":
        look_back(model)
    model.to(arithmetic.device)
    return Training(
        model=model,
        optimizers=Optimizers(model, config),
        train_loader=train_loader,
        val_loader=val_loader,
        config=config,
        arithmetic=arithmetic,
        group=group or Group(),
        progress=Progress(),
        best_weights={},
        teacher=_find_teacher(train_tokens, vocab_size, config, arithmetic.device),
    )


def _find_teacher(
    tokens: NDArray[Any], vocab_size: int, config: TrainingConfig, device: torch.device
) -> NgramTeacher | None:
    if config.teacher_order == 0 or config.teacher_weight == config.final_teacher_weight == 0:
        return None
    return NgramTeacher(tokens, vocab_size, config.teacher_order, device)


def _saver(
    training: Training,
    checkpoints: WorkingCheckpoints | None,
    interval: float,
    observer: Observer,
) -> Callable[[], None]:
    """Return what to do after each step: save when it is time or the last chance, then stop."""
    last_save = time.monotonic()

    def after_step() -> None:
        nonlocal last_save
        signal_number = observer.should_stop()
        finished = training.progress.step == training.config.max_steps
        if checkpoints and (signal_number or finished or time.monotonic() - last_save >= interval):
            checkpoints.save(_capture(training))
            last_save = time.monotonic()
        if signal_number and not finished:
            kept = "the same command goes on from there" if checkpoints else "nothing was kept"
            raise Interrupted(
                f"Stopped by a signal at step {training.progress.step}; {kept}.", signal_number
            )

    return after_step


def _capture(training: Training) -> TrainingState:
    tensors = {f"model.{k}": v for k, v in training.model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in training.best_weights.items()}
    tensors |= {f"optimizer.{k}": v for k, v in training.optimizers.state_tensors().items()}
    facts = {
        "progress": asdict(training.progress),
        "place": asdict(training.train_loader.place),
    }
    return TrainingState(
        step=training.progress.step,
        tensors={name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        facts=facts,
    )


def _restore(training: Training, state: TrainingState) -> None:
    device = training.arithmetic.device

    def section(name: str) -> dict[str, Tensor]:
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}

    training.model.load_state_dict(section("model"))
    training.best_weights = {name: tensor.to(device) for name, tensor in section("best").items()}
    training.optimizers.load_state_tensors(section("optimizer"))
    training.progress = Progress(**state.facts["progress"])
    training.train_loader.place = Place(**state.facts["place"])


def count_epochs(config: TrainingConfig, sequence_length: int, characters: int) -> float:
    """How often training visits each character."""
    batch = config.batch_size * config.gradient_accumulation_steps
    return float(np.round(config.max_steps * batch * sequence_length / characters, 2))
