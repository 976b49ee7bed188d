"""The points that the law expects the lowest loss of, in a given time on this machine."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.planning.draw import around, usual
from tinyllm.planning.law import Law
from tinyllm.planning.machine import StepCost
from tinyllm.planning.points import KNOBS, Array, Point, Points, operations, pick, stacked
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.validations import plan_validations

FEWEST_STEPS = 20
# how far the draws of each round go from the best points of the one before
_WIDTHS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)
_DRAWN, _KEPT = 1500, 60
# parts of a time of which the longest is used that ends as low as any other, about
_PARTS, _NO_HIGHER = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08), 1.01
# of times that are tried for a loss
_FACTOR = 1.5
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
class _Expected:
    """For some points: as in `Scored`, whether each may be a plan, and is like measured ones."""

    steps: Array
    step_seconds: Array
    loss: Array
    ratio: Array
    allowed: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def score(self) -> Array:
        """What to minimize; what the law knows little of counts as a standard deviation worse."""
        score: Array = np.log(self.loss) + self.ratio + 20 * ~self.allowed + 10 * ~self.known
        return score


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
        points, kept = self._starts(seconds), []
        for width in _WIDTHS:
            chosen = random.integers(0, len(points["d_model"]), _DRAWN)
            new = around({name: v[chosen] for name, v in points.items()}, random, width)
            points = {name: np.concatenate([v, new[name]]) for name, v in points.items()}
            order = np.argsort(self.expect(points, seconds).score, kind="stable")[:_KEPT]
            points = {name: values[order] for name, values in points.items()}
            kept.append(points)
        # the last ones are much alike
        whole = {name: np.concatenate([part[name] for part in kept]) for name in KNOBS}
        order = np.argsort(self.expect(whole, seconds).score, kind="stable")
        return self._distinct({n: v[order] for n, v in whole.items()}, seconds, count)

    def score(self, point: Point, seconds: float, step_seconds: float | None = None) -> Scored:
        """One point; its step takes as long as measured, or else as the rule says."""
        cost = self.cost if step_seconds is None else self.cost.scaled([point], [step_seconds])
        found = replace(self, cost=cost).expect(stacked([point]), seconds)
        values = (found.step_seconds, found.loss, found.ratio)
        return Scored(point, round(float(found.steps[0])), *(float(value[0]) for value in values))

    def _starts(self, seconds: float) -> dict[str, Array]:
        """Usual points: of the operations that this machine does in the time."""
        guess = np.array(_SCALES) * 1e11 * seconds
        for _ in range(3):
            points = usual(guess, self.text.train_tokens)
            speed = operations(points, self.text.vocab_size) / self.cost.seconds(points)
            guess = np.array(_SCALES) * speed * seconds
        return usual(guess, self.text.train_tokens)

    def expect(self, points: Points, seconds: float) -> "_Expected":
        """What the law expects of runs of some points in a time."""
        each = self.cost.seconds(points)
        validations = plan_validations(points, each, self.text.val_tokens, seconds)
        steps = np.maximum((seconds - validations.seconds) / each, 1.0)
        loss, ratio = self.law.predict(self.text, points, steps)
        allowed = (steps >= FEWEST_STEPS) & (points["sequence_length"] <= self.longest)
        known = self.law.is_within(self.text, points, steps)
        return _Expected(steps, each, loss, ratio, allowed, known)

    def _distinct(self, points: Points, seconds: float, count: int) -> list[Scored]:
        found: dict[Any, Scored] = {}
        allowed = self.expect(points, seconds).allowed
        for index in range(len(points["d_model"])):
            point = pick(points, index)
            shape = tuple(point[name] for name in ("d_model", "num_layers", "sequence_length"))
            if shape not in found and allowed[index] and self.fits(point):
                found[shape] = self.score(point, seconds)
            if len(found) == count:
                break
        return list(found.values())


def useful_seconds(search: Search, seconds: float) -> float:
    """The time, or as much of it as is of use: a short text that is read too often is memorized."""
    losses = {part: search.best(part * seconds) for part in _PARTS}
    expected = {part: found[0].loss for part, found in losses.items() if found}
    lowest = min(expected.values())
    return seconds * max(part for part, loss in expected.items() if loss <= _NO_HIGHER * lowest)


def lowest_loss(search: Search, shortest: float, longest: float) -> float:
    """The lowest loss that the law expects in any time."""
    found = [search.best(float(seconds)) for seconds in np.geomspace(shortest, longest, 20)]
    return min(one[0].loss for one in found if one)


def seconds_for(search: Search, goal: float, shortest: float, longest: float) -> float | None:
    """The least time in which the law expects a loss; None if that is more than the longest."""

    def reaches(seconds: float) -> bool:
        return any(scored.loss <= goal for scored in search.best(seconds))

    # one after the other, since more time for a short text is not always better
    count = math.ceil(math.log(longest / shortest) / math.log(_FACTOR)) + 1
    times = np.geomspace(shortest, longest, count).tolist()
    found = next((index for index, seconds in enumerate(times) if reaches(seconds)), None)
    if not found:
        return None if found is None else shortest
    low, high = times[found - 1], times[found]
    while high > 1.02 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return float(high)
