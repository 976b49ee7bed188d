"""Short real runs of a point and its neighbors: how the rates and the batch do on this text."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import ignore
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.planning.law import Law
from tinyllm.planning.machine import time_steps
from tinyllm.planning.points import KNOBS, Point, model_of, stacked, step_tokens, training_of
from tinyllm.planning.search import FEWEST_STEPS
from tinyllm.planning.texts import TextFacts
from tinyllm.tokens.windows import TokenData
from tinyllm.training.loop import Training, train_epoch
from tinyllm.training.recipe import Recipe
from tinyllm.training.run import set_up_training

# learning rates and batches that are tried, by their ratio to what the law prefers for the length
RATES = (0.4, 1.0, 2.5)
BATCHES = (0.5, 2.0)
# tokens of the validation at the end of each
_VALIDATED = 40_000


@dataclass(frozen=True)
class Trial:
    """A short run, and the loss that it reached, in nats per token; infinite if it diverged."""

    point: Point
    steps: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Bench:
    """Where short runs are made: the data, the arithmetic of this process, the seed.

    `shares` are those of the time for which each thread had a core, of all steps measured so far.
    """

    data: TokenData
    arithmetic: Arithmetic
    seed: int
    shares: list[float] = field(default_factory=list)

    def set_up(self, point: Point, steps: int, *, taught: bool) -> Training:
        """A run at its first step.

        Args:
            point: its choices.
            steps: of the run.
            taught: with its teacher, whose n-grams take time to count.
        """
        others = {"eval_interval": steps, "eval_characters": _VALIDATED, "seed": self.seed}
        point = point if taught else {**point, "teacher_order": 0}
        recipe = Recipe(model_of(point), training_of(point, steps, **others))
        return set_up_training(self.data, recipe, self.arithmetic)

    def step_seconds(self, point: Point, seconds: float) -> float:
        """Median seconds of a step, measured for some time."""
        training = self.set_up(point, 1_000_000, taught=False)
        try:
            found = time_steps(training, seconds)
            self.shares.append(found.share)
            return found.seconds
        finally:
            training.arithmetic.contention.stop()

    def run(self, point: Point, steps: int) -> Trial:
        """Train from start to end."""
        since = time.perf_counter()
        training = self.set_up(point, steps, taught=True)
        try:
            while training.progress.step < steps:
                train_epoch(training, ignore, lambda: None)
            loss = training.progress.best_val_loss
        except TinyLLMError:
            loss = float("inf")
        finally:
            training.arithmetic.contention.stop()
        return Trial(point, steps, loss, time.perf_counter() - since)


def trial_points(law: Law, text: TextFacts, point: Point, steps: int) -> list[tuple[Point, int]]:
    """What to try: the rates that the law prefers for so few steps and others, then batches.

    Args:
        law: what is known before.
        text: the text.
        point: of the long run.
        steps: of a trial; with another batch there are fewer or more, for the same tokens.
    """
    middle = _short_rates(law, text, point, steps)
    rate, batch = KNOBS["learning_rate"], KNOBS["batch_size"]
    tried: list[tuple[Point, int]] = []
    for ratio in RATES:
        new = float(rate.nearest(middle["learning_rate"] * ratio))
        tried.append(({**middle, "learning_rate": new}, steps))
    for ratio in BATCHES:
        new = float(batch.nearest(middle["batch_size"] * ratio))
        same = round(steps * float(step_tokens(middle)) / (new * middle["sequence_length"]))
        if new != middle["batch_size"] and same >= FEWEST_STEPS // 2:
            tried.append(({**middle, "batch_size": new}, same))
    # at the ends of a knob, two may be the same
    return [pair for place, pair in enumerate(tried) if pair not in tried[:place]]


def _short_rates(law: Law, text: TextFacts, point: Point, steps: int) -> Point:
    """The point with the learning rate that the law prefers for so few steps."""
    rates = np.unique(KNOBS["learning_rate"].nearest(np.geomspace(0.005, 0.3, 60)))
    points = stacked([{**point, "learning_rate": float(rate)} for rate in rates])
    losses, _ = law.predict(text, points, np.full(len(rates), float(steps)))
    return {**point, "learning_rate": float(rates[losses.argmin()])}


def learn_from(law: Law, text: TextFacts, trials: Sequence[Trial]) -> Law:
    """The law for this text, after the trials that did not diverge."""
    sound = [trial for trial in trials if np.isfinite(trial.loss)]
    if not sound:
        return law
    points = stacked([trial.point for trial in sound])
    steps = np.array([float(trial.steps) for trial in sound])
    return law.learn(text, points, steps, [trial.loss for trial in sound])
