"""A plan: which run of a text is expected to reach the lowest loss in a time, or a loss soonest."""

import statistics
from collections.abc import Callable
from pathlib import Path

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.choosing import measure_best, rehearse_best, try_rates
from tinyllm.planning.law import Law
from tinyllm.planning.measuring import Limits, Measuring
from tinyllm.planning.plans import Plan, Wish
from tinyllm.planning.points import KNOBS
from tinyllm.planning.search import Search, lowest_loss, seconds_for, useful_seconds
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import Bench, Trial
from tinyllm.tokens.windows import TokenData, load_token_data

# of the budget, so that a run that is slower here and there stays within it
_USED = 0.97
# share of the time for which threads have a core on a machine without other work
_ALONE = 0.75
_BUSY = (
    "Other programs use the cores of this machine: the plan expects them to go on doing so, and is "
    "better made when they have ended."
)
# as long as the time for a loss is not known
_GUESSED = 60.0
_SHORTEST, _LONGEST = 2.0, 7 * 24 * 3600.0


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
    measuring, search, fixed = _measure(measuring, wish, text)
    seconds = _time_for(wish, search, fixed)
    trials: list[Trial] = []
    if wish.find_rates:
        search, trials = try_rates(measuring.bench, search, seconds, tell)
        seconds = _time_for(wish, search, fixed)
    tell("Measuring the best candidates ...")
    candidates, search = measure_best(measuring, search, seconds)
    tell("Rehearsing the run ...")
    plan = rehearse_best(measuring, search, (candidates, trials), (seconds, fixed), wish.loss)
    if arithmetic.device.type == "cpu" and statistics.median(measuring.bench.shares) < _ALONE:
        tell(_BUSY)
    return plan


def _measure(measuring: Measuring, wish: Wish, text: TextFacts) -> tuple[Measuring, Search, float]:
    """The quickest threads, what steps cost with them, and seconds that are not for steps."""
    guess = wish.seconds or _GUESSED
    if wish.find_threads:
        measuring = measuring.with_quickest_threads(text, guess)
    cost = measuring.step_cost(text, guess)
    search = Search(Law.load(), text, cost, measuring.limits.context, measuring.fits)
    return measuring, search, measuring.fixed_seconds(text, cost)


def _check_text(data: TokenData, limits: Limits) -> None:
    """Check that the text has a few windows to train on.

    Raises:
        TinyLLMError: it has too little.
    """
    shortest = int(KNOBS["sequence_length"].low)
    least = 16 * shortest
    enough = len(data.train) >= least
    if not enough or limits.context < shortest:
        helps = "raise prepare.val_fraction and prepare.test_fraction" if enough else "add text"
        raise TinyLLMError(
            f"The text is too short for a plan: it has {len(data.train):,} tokens to train on and "
            f"{limits.context + 1:,} in its smallest other split, and a plan needs {least:,} and "
            f"{shortest + 1}; {helps}."
        )


def _time_for(wish: Wish, search: Search, fixed: float) -> float:
    """Seconds for steps and validations, as many as are of use.

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
        return useful_seconds(search, left)
    assert wish.loss is not None  # noqa: S101 - for the type checker: one of both is given
    found = seconds_for(search, wish.loss, _SHORTEST, _LONGEST)
    if found is None:
        lowest = lowest_loss(search, _SHORTEST, _LONGEST)
        raise ConfigError(
            f"A loss of {wish.loss:g} nats per token is out of reach: the lowest that is expected "
            f"within a week on this machine is {lowest:.3g}; ask for more, or add text."
        )
    return found
