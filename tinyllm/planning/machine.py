"""What a training step costs on this machine: a few steps of some shapes, and a rule for all."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from tinyllm.planning.points import Array, Point, Points, block_weights, operations, stacked
from tinyllm.training.loop import Training, take_step

_WARM_UP, _FEWEST = 2, 5


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step: a sum of costs, each in proportion to something that a point has.

    Attributes:
        costs: seconds for a step, a layer, an operation of the model, an operation of the
            optimizer, and a number that is read and written between products.
        vocab_size: of the text's tokenizer.
        scale: by which factor the steps last measured took longer than the sum says.
    """

    costs: Array
    vocab_size: int
    scale: float = 1.0

    def seconds(self, points: Points) -> Any:
        """Seconds of a step, [points]."""
        return self.scale * (_parts(points, self.vocab_size) @ self.costs)

    def scaled(self, points: Sequence[Point], measured: Sequence[float]) -> Self:
        """The same with the factor that these points were measured to take longer."""
        ratios = np.asarray(measured) / self.seconds(stacked(list(points)))
        factor = float(np.exp(np.mean(np.log(ratios))))
        return type(self)(self.costs, self.vocab_size, self.scale * factor)

    @classmethod
    def fit(cls, points: Sequence[Point], measured: Sequence[float], vocab_size: int) -> Self:
        """Costs that explain measured steps best, by ratio; none is negative."""
        parts = _parts(stacked(list(points)), vocab_size) / np.asarray(measured)[:, None]
        # columns of one size, or the smallest costs would be lost to rounding
        sizes = np.linalg.norm(parts, axis=0)
        used, costs = list(range(parts.shape[1])), np.zeros(parts.shape[1])
        while used:
            # of as many parts as points, the least change of one would change all others
            scaled = np.concatenate([parts[:, used] / sizes[used], 0.02 * np.eye(len(used))])
            wanted = np.concatenate([np.ones(len(parts)), np.zeros(len(used))])
            found = np.linalg.lstsq(scaled, wanted, rcond=None)[0]
            if (found > 0).all():
                costs[used] = found / sizes[used]
                break
            used.pop(int(found.argmin()))
        return cls(costs, vocab_size)


def _parts(points: Points, vocab_size: int) -> Array:
    """What each cost is multiplied by, [points, costs]."""
    width, hidden, context = points["d_model"], points["d_ff"], points["sequence_length"]
    tokens = points["batch_size"] * context
    heads = width / points["head_dim"]
    numbers = points["num_layers"] * (10 * width + 6 * hidden + heads * context) + 4 * vocab_size
    columns = (
        np.ones_like(tokens),
        points["num_layers"],
        operations(points, vocab_size),
        block_weights(points) * width,
        tokens * numbers,
    )
    return np.stack(columns, axis=-1).astype(np.float64)


class StepTime(NamedTuple):
    """Seconds of a step, and for which share of them each thread had a core."""

    seconds: float
    share: float


def time_steps(training: Training, seconds: float) -> StepTime:
    """Measure steps, after some to warm up; the seconds are a median.

    Args:
        training: from `set_up_training`; its weights change.
        seconds: to measure for, at least.
    """
    training.model.train()
    times: list[float] = []
    end, computed = float("inf"), 0.0
    while len(times) < _WARM_UP + _FEWEST or time.perf_counter() < end:
        since = time.perf_counter()
        take_step(training)
        # as the loop does, which gives way to other programs
        training.arithmetic.contention.watch()
        times.append(time.perf_counter() - since)
        if len(times) == _WARM_UP:
            end = time.perf_counter() + seconds
            computed = time.process_time()
    computed = time.process_time() - computed
    share = computed / sum(times[_WARM_UP:]) / torch.get_num_threads()
    return StepTime(statistics.median(times[_WARM_UP:]), share)
