"""A plan: which run of a text is expected to reach the lowest loss in a time, or a loss soonest."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.draw import around, usual
from tinyllm.planning.law import Law
from tinyllm.planning.machine import StepCost
from tinyllm.planning.points import KNOBS, Point, model_of, operations, pick, training_of
from tinyllm.planning.rehearsal import Rehearsal, rehearse
from tinyllm.planning.search import FEWEST_STEPS, Scored, Search, seconds_for
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import Bench, Trial, learn_from, trial_points
from tinyllm.planning.validations import COUNT, plan_validations
from tinyllm.tokens.windows import TokenData, load_token_data
from tinyllm.training.memory import estimate_memory
from tinyllm.training.recipe import Recipe

# of the budget, so that a run that is slower here and there stays within it
_USED = 0.97
# of the budget, for all trials, and for the rehearsal of the run
_TRIALS, _REHEARSED = 0.1, 0.04
# shapes whose steps are measured for the rule, seconds for each, and the final candidates
_PROBES, _PROBED, _FINALISTS, _MEASURED = 6, 0.6, 3, 1.5
_SHORT_RUN = 10
_LONGEST = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Wish:
    """What is asked for: seconds of the train stage, or a loss in nats per token."""

    seconds: float | None = None
    loss: float | None = None
    find_rates: bool = True
    seed: int = 1337


@dataclass(frozen=True)
class Limits:
    """What a run must keep to: the longest context, in tokens, and memory, in bytes."""

    context: int
    memory: int


@dataclass(frozen=True)
class Plan:
    """A run, and what is expected of it.

    Attributes:
        recipe: its sections of params.yaml.
        text: the facts of the text.
        chosen: the point of the recipe, with the expected loss.
        candidates: what else was looked at, the best first; the first of them is chosen.
        trials: short runs that were made.
        law: after them.
        seconds: of the whole train stage.
        fixed: of these, what does not depend on the number of steps.
        memory: bytes that a short run took.
        beside: knob -> pairs of another value and the ratio of its expected loss.
    """

    recipe: Recipe
    text: TextFacts
    chosen: Scored
    candidates: list[Scored]
    trials: list[Trial]
    law: Law
    seconds: float
    fixed: float
    memory: int
    beside: dict[str, list[tuple[float, float]]]


def make_plan(
    tokens: Path,
    wish: Wish,
    numerics: NumericsConfig,
    arithmetic: Arithmetic,
    limits: Limits,
    tell: Callable[[str], object] = lambda _: None,
) -> Plan:
    """Plan a run.

    Args:
        tokens: the folder of the tokenize stage.
        wish: what is asked for.
        numerics: of the run; this process is set up for it.
        arithmetic: from `setup_numerics`.
        limits: what the run must keep to.
        tell: receives a line before each part of the work.

    Raises:
        ConfigError: the budget is too small, or the loss is out of reach.
        TinyLLMError: the text is too short.
    """
    data = load_token_data(tokens)
    check_text(data, limits)
    planner = _Planner(tokens, data, wish, numerics, arithmetic, limits, tell)
    return planner.plan()


def check_text(data: TokenData, limits: Limits) -> None:
    """Check that the text has a few windows to train on.

    Raises:
        TinyLLMError: it has too little.
    """
    shortest = int(KNOBS["sequence_length"].low)
    least = 4 * shortest
    if len(data.train) < least or limits.context < shortest:
        raise TinyLLMError(
            f"The text has {len(data.train):,} tokens to train on and a shortest other split of "
            f"{limits.context + 1:,}; a plan needs {least} and {shortest + 1} at least: add text."
        )


@dataclass
class _Planner:
    tokens: Path
    data: TokenData
    wish: Wish
    numerics: NumericsConfig
    arithmetic: Arithmetic
    limits: Limits
    tell: Callable[[str], object]

    def plan(self) -> Plan:
        self.bench = Bench(self.data, self.arithmetic, self.wish.seed)
        self.tell("Counting n-grams of the text ...")
        text = TextFacts.of(self.data)
        self.tell("Measuring a start of the train stage, and steps of several shapes ...")
        cost = self._probe(text)
        fixed = self._fixed(text, cost)
        search = Search(Law.load(), text, cost, self.limits.context, self._fits)
        seconds = self._seconds(search, fixed)
        trials: list[Trial] = []
        if self.wish.find_rates:
            search, trials = self._try(search, seconds)
            seconds = self._seconds(search, fixed)
        self.tell("Measuring the best candidates ...")
        candidates, search = self._measure(search, seconds)
        return self._finish(search, candidates, trials, (seconds, fixed))

    def _probe(self, text: TextFacts) -> StepCost:
        """The rule for steps on this machine."""
        random = np.random.default_rng(0)
        guess = np.array([1e11 * (self.wish.seconds or 60.0)])
        points = [pick(usual(guess, text.train_tokens), 0)]
        measured = [self._step_seconds(points[0])]
        speed = operations(points[0], text.vocab_size) / measured[0]
        guess = speed * (self.wish.seconds or 60.0) * np.geomspace(0.1, 3.0, _PROBES - 1)
        others = around(usual(guess, text.train_tokens), random)
        for index in range(_PROBES - 1):
            point = pick(others, index)
            if self._fits(point):
                points.append(point)
                measured.append(self._step_seconds(point))
        return StepCost.fit(points, measured, text.vocab_size)

    def _step_seconds(self, point: Point, seconds: float = _PROBED) -> float:
        longest = KNOBS["sequence_length"].choices
        context = max(one for one in longest if one <= self.limits.context)
        context = min(point["sequence_length"], context)
        return self.bench.step_seconds({**point, "sequence_length": context}, seconds)

    def _fixed(self, text: TextFacts, cost: StepCost) -> float:
        """Seconds of a run without its steps, its validations and its teacher."""
        point = pick(usual(np.array([1e11]), text.train_tokens), 0)
        point = {**point, "teacher_order": 0}
        found = self._rehearse(point, _SHORT_RUN, 64)
        fixed = found.seconds - _SHORT_RUN * float(cost.seconds(_one(point))[0])
        budget = self.wish.seconds
        if budget is not None and budget * _USED - fixed < 0.25 * budget:
            raise ConfigError(
                f"A budget of {budget:.3g} seconds is too small: on this machine the train stage "
                f"takes {fixed:.3g} seconds to start and to end; give it {2 * fixed / 60:.2g} "
                f"minutes or more."
            )
        return fixed

    def _rehearse(self, point: Point, steps: int, validated: int) -> Rehearsal:
        few = {"eval_characters": validated, "final_eval_characters": validated}
        others = {**few, "eval_interval": steps, "seed": self.wish.seed}
        training = training_of(point, steps, **others)
        return rehearse(self.tokens, Recipe(model_of(point), training, self.numerics))

    def _seconds(self, search: Search, fixed: float) -> float:
        """Seconds for steps and validations.

        Raises:
            ConfigError: no time suffices for the loss, or the budget not even for a few steps.
        """
        if self.wish.seconds is not None:
            left = self.wish.seconds * _USED - fixed
            if not search.best(left):
                raise ConfigError(
                    f"A budget of {self.wish.seconds:.3g} seconds leaves {left:.3g} for steps, "
                    f"too few for {FEWEST_STEPS} of them on this machine; give it more."
                )
            return left
        assert self.wish.loss is not None  # noqa: S101 - one of both is given
        found = seconds_for(search, self.wish.loss, 2.0, _LONGEST)
        if found is None:
            best = min(search.best(_LONGEST), key=lambda scored: scored.loss)
            raise ConfigError(
                f"A loss of {self.wish.loss:g} nats per token is out of reach: a week on this "
                f"machine is expected to end at {best.loss:.3g}; give a higher one, or more text."
            )
        return found

    def _try(self, search: Search, seconds: float) -> tuple[Search, list[Trial]]:
        """Short runs of the best candidate and its neighbors, and what they teach."""
        best = search.best(seconds)[0]
        share = _TRIALS * seconds
        steps = int(share / 7 / best.step_seconds)
        if steps < FEWEST_STEPS:
            self.tell("No short runs to find rates: the budget is too small for them.")
            return search, []
        pairs = trial_points(search.law, search.text, best.point, steps)
        self.tell(f"Finding rates: {len(pairs)} short runs of about {steps} steps ...")
        trials, end = [], time.perf_counter() + 2 * share
        for point, length in pairs:
            if time.perf_counter() < end:
                trials.append(self.bench.run(point, length))
        return replace(search, law=learn_from(search.law, search.text, trials)), trials

    def _measure(self, search: Search, seconds: float) -> tuple[list[Scored], Search]:
        """The final candidates with measured steps, the best first, and the corrected rule."""
        finalists = search.best(seconds, _FINALISTS)
        measured = [self._step_seconds(one.point, _MEASURED) for one in finalists]
        pairs = zip(finalists, measured, strict=True)
        scored = [search.score(one.point, seconds, each) for one, each in pairs]
        cost = search.cost.scaled([one.point for one in finalists], measured)
        return sorted(scored, key=lambda one: one.loss), replace(search, cost=cost)

    def _finish(
        self,
        search: Search,
        candidates: Sequence[Scored],
        trials: list[Trial],
        time_of: tuple[float, float],
    ) -> Plan:
        """Rehearse the best candidate, and set the number of its steps."""
        (seconds, fixed), best = time_of, candidates[0]
        self.tell("Rehearsing the run ...")
        fixed += (taught := self._teacher_seconds(best.point))
        # a goal's time is counted without the teacher
        seconds -= taught if self.wish.seconds is not None else 0.0
        share = _REHEARSED * seconds / best.step_seconds
        steps = int(np.clip(share, _SHORT_RUN, max(best.steps // 4, _SHORT_RUN)))
        found = self._rehearse(best.point, steps, 64)
        each = max((found.seconds - fixed) / steps, 0.5 * best.step_seconds)
        chosen = search.score(best.point, seconds, each)
        recipe, spent = self._recipe(chosen, seconds)
        return Plan(
            recipe=recipe,
            text=search.text,
            chosen=chosen,
            candidates=[chosen, *candidates[1:]],
            trials=trials,
            law=search.law,
            seconds=fixed + spent,
            fixed=fixed,
            memory=found.memory,
            beside=_beside(search, chosen, seconds),
        )

    def _teacher_seconds(self, point: Point) -> float:
        """What counting the n-grams of a teacher adds to the start."""
        if not point["teacher_order"]:
            return 0.0
        times = []
        for taught in (True, False):
            since = time.perf_counter()
            self.bench.set_up(point, FEWEST_STEPS, taught=taught).arithmetic.contention.stop()
            times.append(time.perf_counter() - since)
        return max(0.0, times[0] - times[1])

    def _recipe(self, chosen: Scored, seconds: float) -> tuple[Recipe, float]:
        """The sections, and the seconds of steps and validations."""
        one, each = _one(chosen.point), np.array([chosen.step_seconds])
        found = plan_validations(one, each, len(self.data.val), seconds)
        training = training_of(
            chosen.point,
            chosen.steps,
            seed=self.wish.seed,
            eval_interval=max(1, -(-chosen.steps // COUNT)),
            eval_characters=round(float(found.tokens[0])),
            final_eval_characters=round(float(found.tokens_at_end[0])),
        )
        spent = chosen.steps * chosen.step_seconds + float(found.seconds[0])
        return Recipe(model_of(chosen.point), training, self.numerics), spent

    def _fits(self, point: Point) -> bool:
        training = training_of(point, FEWEST_STEPS)
        needed = estimate_memory(model_of(point), training, self.data.vocab_size)
        return needed <= self.limits.memory


def _one(point: Point) -> dict[str, np.ndarray]:
    return {name: np.array([value]) for name, value in point.items()}


def _beside(search: Search, chosen: Scored, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """How much higher the loss would be with the next other values, in the same time."""
    found: dict[str, list[tuple[float, float]]] = {}
    here = search.score(chosen.point, seconds)
    for name, knob in KNOBS.items():
        found[name] = []
        for value in knob.beside(chosen.point[name]):
            other = {**chosen.point, name: value}
            if other["d_model"] % other["head_dim"] == 0:
                scored = search.score(other, seconds)
                found[name].append((value, scored.loss / here.loss))
    return found
