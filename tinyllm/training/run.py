"""A whole run: set up, resume if interrupted, train, keep the best weights."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tinyllm.base.errors import Interrupted
from tinyllm.base.events import Tell, ignore
from tinyllm.kernels.arithmetic import Arithmetic, default_arithmetic
from tinyllm.kernels.fused import build_model
from tinyllm.model.initialization import init_weights, look_back
from tinyllm.tokens.loaders import build_dataloaders
from tinyllm.tokens.windows import TokenData
from tinyllm.training.config import TrainingConfig
from tinyllm.training.distributed import Group
from tinyllm.training.loop import Training, train_epoch
from tinyllm.training.optimizer import Optimizers
from tinyllm.training.parallel import spread
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume
from tinyllm.training.state import Keeper, capture, choose_keeper, restore
from tinyllm.training.teacher import NgramTeacher
from tinyllm.training.validation import final_loss, share_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """The best weights, their loss, and the history of the run.

    `best_val_loss` is over `val_characters` of the validation split: all of it that can be
    predicted, unless `train.final_eval_characters` are fewer. The losses of the history, which
    chose the weights, are over `train.eval_characters` of it.
    """

    weights: dict[str, Tensor]
    best_step: int
    best_val_loss: float
    val_characters: int
    history: list[dict[str, Any]]
    num_parameters: int


def run_training(
    data: TokenData,
    recipe: Recipe,
    arithmetic: Arithmetic | None = None,
    *,
    tell: Tell = ignore,
    resume: Resume | None = None,
    group: Group | None = None,
) -> TrainingResult:
    """Train a model and return its best weights by loss on the validation split.

    Args:
        data: the training and validation splits.
        recipe: config of the model, its training and its arithmetic.
        arithmetic: from `setup_numerics`; defaults to `default_arithmetic`.
        tell: receives the events.
        resume: where to keep the state, and to resume from; None keeps nothing.
        group: the processes that train together; only `tell` and `resume` may differ between
            them. The result does not depend on their number.

    Raises:
        TinyLLMError: a split is too short, or the loss is not finite.
        RuntimeError: another process of the group has ended.
        Interrupted: a process was asked to stop; the state has been saved.
    """
    training = set_up_training(data, recipe, arithmetic or default_arithmetic(), group)
    resume = resume or Resume()
    numerics, shards = recipe.numerics, training.shards
    keeper = choose_keeper(resume.checkpoints, training.group, numerics, shards)
    if (state := keeper.load_latest()) is not None:
        restore(training, state)
        _log.info("Resuming at step %d of %d.", state.step, recipe.training.max_steps)
    if not training.val_loader.is_whole:
        share = share_of(training.val_loader)
        _log.info("Each validation reads %s, evenly spread over the split.", share)
    after_step = _saver(training, keeper, resume)
    try:
        while training.progress.step < recipe.training.max_steps:
            train_epoch(training, tell, after_step)
        val_loss, val_characters = final_loss(training, _stopper(resume))
    finally:
        training.arithmetic.contention.stop()
    best = training.best_weights
    return TrainingResult(
        weights=shards.gather(best) if shards else best,
        best_step=training.progress.best_step,
        best_val_loss=val_loss,
        val_characters=val_characters,
        history=training.progress.history,
        num_parameters=training.model.num_parameters(),
    )


def set_up_training(
    data: TokenData, recipe: Recipe, arithmetic: Arithmetic, group: Group | None = None
) -> Training:
    """Set up a run at step 0; see `run_training` for the arguments.

    Raises:
        TinyLLMError: a split is too short.
    """
    config = recipe.training
    train_loader, val_loader = build_dataloaders(
        data,
        sequence_length=recipe.model.sequence_length,
        batch_size=config.batch_size * config.gradient_accumulation_steps,
        seed=config.seed,
        device=arithmetic.device,
        eval_characters=config.eval_characters,
    )
    # drawn on the CPU, so that every device starts from the same weights
    model = build_model(recipe.model, data.vocab_size, arithmetic).cpu()
    init_weights(model, torch.Generator().manual_seed(config.seed))
    if config.initial_attention == "recent":
        look_back(model)
    model.to(arithmetic.device)
    group = group or Group()
    if arithmetic.compiler:
        _log.info("The first step waits until the model is compiled, for a minute or so.")
    accumulates = config.gradient_accumulation_steps > 1
    network, shards = spread(model, group, recipe.numerics, arithmetic, accumulates=accumulates)
    taught = config.teacher_order and (config.teacher_weight or config.final_teacher_weight)
    return Training(
        model=model,
        network=network,
        shards=shards,
        optimizers=Optimizers(model, config, arithmetic.products, shards),
        train_loader=train_loader,
        val_loader=val_loader,
        config=config,
        arithmetic=arithmetic,
        group=group,
        teacher=_teacher(data, config, arithmetic) if taught else None,
    )


def _teacher(data: TokenData, config: TrainingConfig, arithmetic: Arithmetic) -> NgramTeacher:
    teacher = NgramTeacher(
        data.train,
        data.vocab_size,
        config.teacher_order,
        arithmetic.device,
        most=config.teacher_characters,
    )
    if teacher.counted < len(data.train):
        _log.info(
            "The teacher's n-grams are counted in %s characters of %s, evenly spread.",
            f"{teacher.counted:,}",
            f"{len(data.train):,}",
        )
    return teacher


def _saver(training: Training, keeper: Keeper, resume: Resume) -> Callable[[], None]:
    """Return the callback after each step: save when due or before an end, and stop if asked."""
    last_save = time.monotonic()

    def after_step() -> None:
        nonlocal last_save
        step = training.progress.step
        finished = step == training.config.max_steps
        due = resume.checkpoints is not None and time.monotonic() - last_save >= resume.interval
        # all at the same step
        signal_number, some_due = training.group.largest(resume.stop(), due)
        if signal_number or finished or some_due:
            keeper.save(capture(training))
            last_save = time.monotonic()
        if signal_number and not finished:
            raise Interrupted(
                f"Stopped by a signal at step {step}; the same command resumes from there.",
                signal_number,
            )

    return after_step


def _stopper(resume: Resume | None) -> Callable[[], None]:
    """Return the callback after each batch at the end, when the state has been saved."""

    def after_batch() -> None:
        if resume and (signal_number := resume.stop()):
            raise Interrupted(
                "Stopped by a signal after the last step, while the validation split was read; the "
                "same command resumes from there.",
                signal_number,
            )

    return after_batch
