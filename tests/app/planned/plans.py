"""A plan as `make_plan` returns it, without a machine that was measured."""

import numpy as np

from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.law import Law
from tinyllm.planning.machine import StepCost
from tinyllm.planning.plans import Plan
from tinyllm.planning.points import KNOBS, model_of, training_of
from tinyllm.planning.search import Search
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import Trial, trial_points
from tinyllm.training.recipe import Recipe


def make_plan_by_hand(text: TextFacts, *, tried: bool = True) -> Plan:
    """A plan for twenty seconds on a slow machine."""
    cost = StepCost(np.array([2e-3, 1e-3, 1e-10, 1e-10, 1e-9]), text.vocab_size)
    search = Search(Law.load(), text, cost, longest=1000)
    best = search.best(20, 2)
    pairs = trial_points(search.law, text, best[0].point, 30) if tried else []
    return Plan(
        recipe=Recipe(
            model_of(best[0].point),
            training_of(best[0].point, best[0].steps, eval_interval=10),
            NumericsConfig(threads=1),
        ),
        text=text,
        candidates=best,
        trials=[Trial(one, steps, 2.0 + 0.1 * i, 1.0) for i, (one, steps) in enumerate(pairs)],
        law=search.law,
        seconds=27.5,
        fixed=7.25,
        memory=512_000_000,
        beside={name: [(0.5, 1.02)] for name in KNOBS},
    )
