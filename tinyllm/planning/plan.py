"""A plan: which run of a text is expected to reach the lowest loss in a time, or a loss soonest."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.law import Law
from tinyllm.planning.measuring import Limits, Measuring
from tinyllm.planning.points import KNOBS, model_of, stacked, training_of
from tinyllm.planning.search import Scored, Search, seconds_for
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import BATCHES, RATES, Bench, Trial, learn_from, trial_points
from tinyllm.planning.validations import COUNT, plan_validations
from tinyllm.tokens.windows import TokenData, load_token_data
from tinyllm.training.recipe import Recipe

# of the budget, so that a run that is slower here and there stays within it
_USED = 0.97
# for all trials: of the budget, and seconds at most
_TRIALS, _LONGEST_TRIALS = 0.1, 300.0
# steps of a trial at least, unless that takes more of the budget
_TRIED, _MOST = 50, 0.4
# for the rehearsal of the run: of the budget, and seconds at most
_REHEARSED, _LONG_ENOUGH = 0.04, 20.0
_NUMBER = len(RATES) + len(BATCHES)
# final candidates whose steps are measured, and seconds for each
_FINALISTS, _MEASURED = 3, 1.5
# as long as the time for a loss is not known
_GUESSED = 60.0
_SHORTEST, _LONGEST = 2.0, 7 * 24 * 3600.0


@dataclass(frozen=True)
class Wish:
    """What is asked for: seconds of the train stage, or a loss in nats per token."""

    seconds: float | None = None
    loss: float | None = None
    find_rates: bool = True
    find_threads: bool = True
    seed: int = 1337


@dataclass(frozen=True)
class Plan:
    """A run, and what is expected of it.

    Attributes:
        recipe: its sections of params.yaml.
        text: the facts of the text.
        candidates: what was looked at, with expected losses; the first one is chosen.
        trials: short runs that were made.
        law: after them.
        seconds: of the whole train stage.
        fixed: of these, what does not depend on the number of steps.
        memory: bytes that a short run took.
        beside: knob -> pairs of another value and the ratio of its expected loss.
    """

    recipe: Recipe
    text: TextFacts
    candidates: list[Scored]
    trials: list[Trial]
    law: Law
    seconds: float
    fixed: float
    memory: int
    beside: dict[str, list[tuple[float, float]]] = field(repr=False)

    @property
    def chosen(self) -> Scored:
        """The candidate that is the plan."""
        return self.candidates[0]


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
    _check_text(data, limits)
    measuring = Measuring(tokens, Bench(data, arithmetic, wish.seed), numerics, limits)
    tell("Counting n-grams of the text ...")
    text = TextFacts.of(data)
    tell("Measuring the start of the train stage, and steps of several shapes ...")
    guess = wish.seconds or _GUESSED
    if wish.find_threads:
        measuring = measuring.with_quickest_threads(text, guess)
    cost = measuring.step_cost(text, guess)
    fixed = measuring.fixed_seconds(text, cost)
    search = Search(Law.load(), text, cost, limits.context, measuring.fits)
    seconds = _time_for(wish, search, fixed)
    trials: list[Trial] = []
    if wish.find_rates:
        search, trials = _try(measuring.bench, search, seconds, tell)
        seconds = _time_for(wish, search, fixed)
    tell("Measuring the best candidates ...")
    candidates, search = _measure(measuring, search, seconds)
    tell("Rehearsing the run ...")
    return _finish(measuring, search, (candidates, trials), (seconds, fixed))


def _check_text(data: TokenData, limits: Limits) -> None:
    """Check that the text has a few windows to train on.

    Raises:
        TinyLLMError: it has too little.
    """
    shortest = int(KNOBS["sequence_length"].low)
    least = 16 * shortest
    if len(data.train) < least or limits.context < shortest:
        raise TinyLLMError(
            f"The text is too short for a plan: it has {len(data.train):,} tokens to train on and "
            f"{limits.context + 1:,} in its smallest other split, and a plan needs {least:,} and "
            f"{shortest + 1}; add text, or raise prepare.val_fraction and prepare.test_fraction."
        )


def _time_for(wish: Wish, search: Search, fixed: float) -> float:
    """Seconds for steps and validations.

    Raises:
        ConfigError: no time suffices for the loss, or the budget not even for a few steps.
    """
    if wish.seconds is not None:
        left = wish.seconds * _USED - fixed
        if left < 0.25 * wish.seconds or not search.best(left):
            raise ConfigError(
                f"A budget of {wish.seconds / 60:.2g} minutes is too small: here the train stage "
                f"takes {fixed:.2g} seconds to start and to end; give it {fixed / 30:.2g} minutes "
                f"or more."
            )
        return left
    assert wish.loss is not None  # noqa: S101 - for the type checker: one of both is given
    found = seconds_for(search, wish.loss, _SHORTEST, _LONGEST)
    if found is None:
        best = search.best(_LONGEST)[0].loss
        raise ConfigError(
            f"A loss of {wish.loss:g} nats per token is out of reach: after a week on this machine "
            f"{best:.3g} is expected; ask for more, or add text."
        )
    return found


def _try(
    bench: Bench, search: Search, seconds: float, tell: Callable[[str], object]
) -> tuple[Search, list[Trial]]:
    """Short runs of the best candidate and its neighbors, and what they teach."""
    best = search.best(seconds)[0]
    share = min(_TRIALS * seconds, _LONGEST_TRIALS)
    steps = max(_TRIED, int(share / _NUMBER / best.step_seconds))
    share = steps * _NUMBER * best.step_seconds
    if share > _MOST * seconds:
        tell("No short runs to find rates: they would take too much of so small a budget.")
        return search, []
    pairs = trial_points(search.law, search.text, best.point, steps)
    tell(f"Finding rates: {len(pairs)} short runs of about {steps} steps ...")
    trials, end = [], time.perf_counter() + 2 * share
    for point, length in pairs:
        if time.perf_counter() < end:
            trials.append(bench.run(point, length))
    return replace(search, law=learn_from(search.law, search.text, trials)), trials


def _measure(measuring: Measuring, search: Search, seconds: float) -> tuple[list[Scored], Search]:
    """The final candidates with measured steps, the best first, and the corrected rule."""
    finalists = search.best(seconds, _FINALISTS)
    measured = [measuring.bench.step_seconds(one.point, _MEASURED) for one in finalists]
    pairs = zip(finalists, measured, strict=True)
    scored = [search.score(one.point, seconds, each) for one, each in pairs]
    cost = search.cost.scaled([one.point for one in finalists], measured)
    return sorted(scored, key=lambda one: one.loss), replace(search, cost=cost)


def _finish(
    measuring: Measuring,
    search: Search,
    found: tuple[list[Scored], list[Trial]],
    time_of: tuple[float, float],
) -> Plan:
    """Rehearse the best candidate, and set the number of its steps."""
    (seconds, fixed), (candidates, trials), best = time_of, found, found[0][0]
    fixed += (taught := measuring.teacher_seconds(best.point))
    seconds = max(seconds - taught, 0.5 * seconds)
    wanted = min(_REHEARSED * seconds, _LONG_ENOUGH) / best.step_seconds
    each, memory = measuring.rehearsed_step(best.point, wanted, fixed)
    chosen = search.score(best.point, seconds, each)
    recipe, spent = _recipe(measuring, chosen, seconds)
    return Plan(
        recipe=recipe,
        text=search.text,
        candidates=[chosen, *candidates[1:]],
        trials=trials,
        law=search.law,
        seconds=fixed + spent,
        fixed=fixed,
        memory=memory,
        beside=_beside(search, chosen, seconds),
    )


def _recipe(measuring: Measuring, chosen: Scored, seconds: float) -> tuple[Recipe, float]:
    """The sections, and the seconds of steps and validations."""
    each, val_tokens = np.array([chosen.step_seconds]), len(measuring.bench.data.val)
    found = plan_validations(stacked([chosen.point]), each, val_tokens, seconds)
    training = training_of(
        chosen.point,
        chosen.steps,
        seed=measuring.bench.seed,
        eval_interval=max(1, -(-chosen.steps // COUNT)),
        eval_characters=round(float(found.tokens[0])),
        final_eval_characters=round(float(found.tokens_at_end[0])),
    )
    spent = chosen.steps * chosen.step_seconds + float(found.seconds[0])
    return Recipe(model_of(chosen.point), training, measuring.numerics), spent


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
