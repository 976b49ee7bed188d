"""What is measured for a plan: steps, start and end of the stage, the teacher's counting."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch

from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.draw import around, usual
from tinyllm.planning.machine import StepCost
from tinyllm.planning.points import KNOBS, Point, model_of, operations, pick, stacked, training_of
from tinyllm.planning.rehearsal import rehearse
from tinyllm.planning.search import FEWEST_STEPS
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.threads import with_quickest_threads
from tinyllm.planning.trials import Bench
from tinyllm.training.memory import estimate_memory
from tinyllm.training.recipe import Recipe

# shapes whose steps are measured for the rule, and seconds for each
_PROBES, _PROBED = 6, 0.6
_SHORT_RUN = 10
# tokens of a validation in a rehearsal
_FEW = 64


@dataclass(frozen=True)
class Limits:
    """What a run must keep to: the longest context, in tokens, and memory, in bytes."""

    context: int
    memory: int


@dataclass(frozen=True)
class Measuring:
    """A text's tokens, a process that is set up for the run's arithmetic, and what limits it."""

    tokens: Path
    bench: Bench
    numerics: NumericsConfig
    limits: Limits

    def fits(self, point: Point) -> bool:
        """Whether a run of a point fits into memory."""
        training = training_of(point, FEWEST_STEPS)
        needed = estimate_memory(model_of(point), training, self.bench.data.vocab_size)
        return needed <= self.limits.memory

    def step_cost(self, text: TextFacts, seconds: float) -> StepCost:
        """The rule for steps on this machine, from those of a few shapes.

        Args:
            text: the text.
            seconds: of the run that is planned, about.
        """
        point = self.guess(text, seconds)
        points, measured = [point], [self.bench.step_seconds(point, _PROBED)]
        speed = float(operations(point, text.vocab_size)) / measured[0]
        wanted = speed * seconds * np.geomspace(0.1, 3.0, _PROBES - 1)
        others = around(usual(wanted, text.train_tokens), np.random.default_rng(0))
        for index in range(_PROBES - 1):
            point = self._within(pick(others, index))
            if self.fits(point):
                points.append(point)
                measured.append(self.bench.step_seconds(point, _PROBED))
        return StepCost.fit(points, measured, text.vocab_size)

    def guess(self, text: TextFacts, seconds: float) -> Point:
        """A usual point for some seconds, before anything is known of the machine."""
        return self._within(pick(usual(np.array([1e11 * seconds]), text.train_tokens), 0))

    def with_quickest_threads(self, text: TextFacts, seconds: float) -> Self:
        """The same with as many threads as are quickest for a run of so many seconds."""
        bench = with_quickest_threads(self.bench, self.guess(text, seconds))
        if bench is self.bench:
            return self
        threads = torch.get_num_threads()
        return replace(
            self, bench=bench, numerics=self.numerics.model_copy(update={"threads": threads})
        )

    def _within(self, point: Point) -> Point:
        contexts = KNOBS["sequence_length"].choices
        longest = max(one for one in contexts if one <= self.limits.context)
        return {**point, "sequence_length": min(point["sequence_length"], longest)}

    def fixed_seconds(self, text: TextFacts, cost: StepCost) -> float:
        """Seconds of a run without its steps, its validations and its teacher."""
        point = {**self.guess(text, 1.0), "teacher_order": 0}
        return self.rehearse(point, float(cost.seconds(stacked([point]))[0]))[0]

    def rehearse(self, point: Point, step_seconds: float) -> tuple[float, int]:
        """What a run of a few steps, in a process of its own, took beside them: seconds, memory.

        Args:
            point: of the run.
            step_seconds: of each step.

        Returns:
            Seconds to start and to end, and bytes at most.
        """
        few = {"eval_characters": _FEW, "final_eval_characters": _FEW}
        training = training_of(
            point, _SHORT_RUN, eval_interval=_SHORT_RUN, seed=self.bench.seed, **few
        )
        found = rehearse(self.tokens, Recipe(model_of(point), training, self.numerics))
        seconds = found.seconds - _SHORT_RUN * step_seconds
        return max(seconds, 0.5 * found.seconds), found.memory

    def teacher_seconds(self, point: Point) -> float:
        """What counting the n-grams of a teacher adds to the start."""
        if not point["teacher_order"]:
            return 0.0
        times = []
        for taught in (True, False):
            since = time.perf_counter()
            self.bench.set_up(point, FEWEST_STEPS, taught=taught).arithmetic.contention.stop()
            times.append(time.perf_counter() - since)
        return max(0.0, times[0] - times[1])
