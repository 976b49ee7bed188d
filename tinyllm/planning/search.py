"""The points that the law expects the lowest loss of, in a given time on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyllm.planning.draw import around, usual
from tinyllm.planning.law import Law
from tinyllm.planning.machine import StepCost
from tinyllm.planning.points import Array, Point, Points, operations, pick, stacked
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.validations import plan_validations

FEWEST_STEPS = 20
# how far the draws of each round go from the best points of the one before
_WIDTHS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)
_DRAWN, _KEPT = 1500, 60
# the usual point is for about so many operations; half and double of it are starts, too
_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Scored:
    """A point, how many steps it gets, and what the law expects.

    Attributes:
        point: the choices.
        steps: of the run.
        step_seconds: of each.
        loss: expected, in nats per token.
        ratio: by which it may be off, one standard deviation.
    """

    point: Point
    steps: int
    step_seconds: float
    loss: float
    ratio: float


@dataclass(frozen=True)
class Search:
    """Everything that decides which point is best but the time.

    Attributes:
        law: what it expects.
        text: the facts of the text.
        cost: of a step on this machine.
        longest: context that fits into every split, in tokens.
        fits: whether a run of a point fits into memory.
    """

    law: Law
    text: TextFacts
    cost: StepCost
    longest: int
    fits: Callable[[Point], bool] = lambda _: True

    def best(self, seconds: float, count: int = 1) -> list[Scored]:
        """The best points for a time, the best first, all of different shapes.

        Args:
            seconds: of the run without what is fixed, such as its start.
            count: how many points at most; fewer if no others fit.
        """
        random = np.random.default_rng(0)
        points = self._starts(seconds)
        for width in _WIDTHS:
            chosen = random.integers(0, len(points["d_model"]), _DRAWN)
            new = around({name: v[chosen] for name, v in points.items()}, random, width)
            points = {name: np.concatenate([v, new[name]]) for name, v in points.items()}
            score, _ = self._score(points, seconds)
            order = np.argsort(score, kind="stable")[:_KEPT]
            points = {name: values[order] for name, values in points.items()}
        return self._distinct(points, seconds, count)

    def score(self, point: Point, seconds: float, step_seconds: float | None = None) -> Scored:
        """One point; its step takes as long as measured, or else as the rule says."""
        one = stacked([point])
        cost = self.cost if step_seconds is None else self.cost.scaled([point], [step_seconds])
        _, found = replace(self, cost=cost)._score(one, seconds)
        steps, each, loss, ratio = (float(values[0]) for values in found)
        return Scored(point, round(steps), each, loss, ratio)

    def _starts(self, seconds: float) -> dict[str, Array]:
        """Usual points: of the operations that this machine does in the time."""
        guess = np.array(_SCALES) * 1e11 * seconds
        for _ in range(3):
            points = usual(guess, self.text.train_tokens)
            speed = operations(points, self.text.vocab_size) / self.cost.seconds(points)
            guess = np.array(_SCALES) * speed * seconds
        return usual(guess, self.text.train_tokens)

    def _score(self, points: Points, seconds: float) -> tuple[Array, tuple[Array, ...]]:
        """What to minimize, and steps, seconds of a step, expected loss and ratio.

        What the law knows little about counts as worse, by half a standard deviation.
        """
        each = self.cost.seconds(points)
        validations = plan_validations(points, each, self.text.val_tokens, seconds)
        steps = np.maximum((seconds - validations.seconds) / each, 1.0)
        loss, ratio = self.law.predict(self.text, points, steps)
        score = np.log(loss) + 0.5 * ratio
        bad = (steps < FEWEST_STEPS) | (points["sequence_length"] > self.longest)
        return np.where(bad, score + 10, score), (steps, each, loss, ratio)

    def _distinct(self, points: Points, seconds: float, count: int) -> list[Scored]:
        found: dict[Any, Scored] = {}
        for index in range(len(points["d_model"])):
            point = pick(points, index)
            shape = tuple(point[name] for name in ("d_model", "num_layers", "sequence_length"))
            if shape not in found and self.fits(point):
                scored = self.score(point, seconds)
                if scored.steps >= FEWEST_STEPS and point["sequence_length"] <= self.longest:
                    found[shape] = scored
            if len(found) == count:
                break
        return list(found.values())


def seconds_for(search: Search, goal: float, shortest: float, longest: float) -> float | None:
    """The least time in which the law expects a loss; None if that is more than the longest."""

    def reaches(seconds: float) -> bool:
        return any(scored.loss <= goal for scored in search.best(seconds))

    if not reaches(longest):
        return None
    low, high = np.log(shortest), np.log(longest)
    while high - low > 0.02:
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))
