"""The loss on the validation split: of a part of it during a run, of all of it at the end."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinyllm.kernels.arithmetic import Arithmetic, default_arithmetic
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.windows import Batch
from tinyllm.training.distributed import Group
from tinyllm.training.gradients import token_losses_of

if TYPE_CHECKING:
    from tinyllm.training.loop import Training

# of each process, before they add up their losses
_BATCHES_AT_ONCE = 1024
_log = logging.getLogger(__name__)


@torch.no_grad()
def evaluate(
    model: Transformer,
    batches: Sequence[Batch] | EvaluationLoader,
    arithmetic: Arithmetic | None = None,
    group: Group | None = None,
    after_batch: Callable[[], None] = lambda: None,
    *,
    in_step: bool = False,
) -> float:
    """Mean loss in nats per token over all batches, without dropout.

    The processes of a group share the batches, and all get the result. With `in_step` all compute
    equally often, the last time perhaps for nothing, since a model that is shared out needs that.
    """
    arithmetic, group = arithmetic or default_arithmetic(), group or Group()
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for first in range(0, len(batches), _BATCHES_AT_ONCE * group.size):
        last = min(first + _BATCHES_AT_ONCE * group.size, len(batches))
        rows: list[tuple[Tensor, int]] = []
        rounds = -(-(last - first) // group.size) * group.size if in_step else last - first
        for index in range(first + group.rank, first + rounds, group.size):
            group.check()
            inputs, targets = batches[min(index, last - 1)]
            losses, _ = token_losses_of(model, inputs, targets, arithmetic)
            if index < last:
                rows.append((losses.sum(dim=1), targets.numel()))
            arithmetic.contention.watch()
            after_batch()
        # by rows, then in double: the same bits for any number of threads. Read behind all batches,
        # so that a GPU waits for nothing in between
        sums = [(row_sums.cpu().double().sum().item(), numel) for row_sums, numel in rows]
        for batch_sum, batch_count in group.in_turn(sums):
            total += batch_sum
            count += batch_count
    model.train(was_training)
    return total / count


def final_loss(training: "Training", after_batch: Callable[[], None]) -> tuple[float, int]:
    """Mean loss in nats of the best weights, and over how many tokens of the validation split.

    If the validations have read only a part of the split, the rest is read now, up to
    `final_eval_characters`. The model has the best weights afterwards.
    """
    used, progress = training.val_loader, training.progress
    training.model.load_state_dict(training.best_weights)
    most = training.config.final_eval_characters
    more = EvaluationLoader(used.dataset, used.batch_size, used.device, most)
    if more.characters <= used.characters:
        return progress.best_val_loss, used.characters
    _log.info(
        "The best weights, of step %d, now read %s of the validation split.",
        progress.best_step,
        share_of(more),
    )
    arithmetic, group = training.arithmetic, training.group
    in_step = training.shards is not None
    loss = evaluate(training.model, more, arithmetic, group, after_batch, in_step=in_step)
    return loss, more.characters


def share_of(loader: EvaluationLoader) -> str:
    """How much of a split a loader reads, in words."""
    if loader.is_whole:
        return f"all {loader.characters:,} tokens"
    return f"{loader.characters:,} of {len(loader.dataset.tokens):,} tokens"
