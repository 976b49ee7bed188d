"""From what the rules promise to one run: short runs, measured steps, a rehearsal."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tinyllm.planning.measuring import Measuring
from tinyllm.planning.plans import Plan
from tinyllm.planning.points import KNOBS, Point, model_of, stacked, training_of
from tinyllm.planning.search import Scored, Search
from tinyllm.planning.trials import BATCHES, RATES, Bench, Trial, learn_from, trial_points
from tinyllm.planning.validations import COUNT, plan_validations
from tinyllm.training.recipe import Recipe

# for all trials: of the budget, and seconds at most
_TRIALS, _LONGEST_TRIALS = 0.1, 300.0
# steps of a trial at least, unless that takes more of the budget
_TRIED, _MOST = 50, 0.4
# for the rehearsal of the run: of the budget, and seconds at most
_REHEARSED, _LONG_ENOUGH = 0.04, 20.0
_NUMBER = len(RATES) + len(BATCHES)
# final candidates whose steps are measured, and seconds for each
_FINALISTS, _MEASURED = 3, 1.5


def try_rates(
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


def measure_best(
    measuring: Measuring, search: Search, seconds: float
) -> tuple[list[Scored], Search]:
    """The final candidates with measured steps, the best first, and the corrected rule."""
    finalists = search.best(seconds, _FINALISTS)
    measured = [measuring.bench.step_seconds(one.point, _MEASURED) for one in finalists]
    pairs = zip(finalists, measured, strict=True)
    scored = [search.score(one.point, seconds, each) for one, each in pairs]
    cost = search.cost.scaled([one.point for one in finalists], measured)
    return sorted(scored, key=lambda one: one.loss), replace(search, cost=cost)


def rehearse_best(
    measuring: Measuring,
    search: Search,
    found: tuple[list[Scored], list[Trial]],
    time_of: tuple[float, float],
    goal: float | None,
) -> Plan:
    """Measure the best candidate longer, rehearse it, and set the number of its steps."""
    (seconds, fixed), (candidates, trials), best = time_of, found, found[0][0]
    each = measuring.bench.step_seconds(best.point, min(_REHEARSED * seconds, _LONG_ENOUGH))
    again, memory = measuring.rehearse(best.point, each)
    # measured twice, the second time with the teacher
    with_teacher = (fixed + measuring.teacher_seconds(best.point) + again) / 2
    seconds, fixed = max(seconds - (with_teacher - fixed), 0.5 * seconds), with_teacher
    if goal is not None:
        seconds = _until(search, best.point, each, goal, seconds)
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


def _until(search: Search, point: Point, step_seconds: float, goal: float, seconds: float) -> float:
    """About so many seconds, as few as a point needs for a loss with steps as long as measured."""
    times = seconds * np.geomspace(0.2, 5.0, 100)
    losses = [search.score(point, float(time), step_seconds).loss for time in times]
    reached = [time for time, loss in zip(times, losses, strict=True) if loss <= goal]
    return float(reached[0] if reached else times[int(np.argmin(losses))])


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
