"""The rule for the time of a step: it explains what was measured, and a real step has a time."""

import numpy as np

from tinyllm.planning.draw import around, usual
from tinyllm.planning.machine import StepCost, _parts
from tinyllm.planning.points import pick

POINTS = around(usual(np.geomspace(1e10, 1e13, 40), 1e6), np.random.default_rng(2))
COSTS = np.array([3e-3, 1e-3, 2e-11, 1e-11, 3e-10])


def test_costs_that_explain_six_shapes_hold_for_others():
    some = [pick(POINTS, index) for index in (5, 13, 20, 27, 31, 37)]
    seconds = _parts(POINTS, 65) @ COSTS
    found = StepCost.fit(some, seconds[[5, 13, 20, 27, 31, 37]], 65).seconds(POINTS)
    assert np.median(np.abs(np.log(found / seconds))) < 0.1


def test_no_cost_is_negative_however_noisy_the_measurements():
    random = np.random.default_rng(4)
    for _ in range(50):
        some = [pick(POINTS, int(index)) for index in random.integers(0, 40, 5)]
        cost = StepCost.fit(some, np.exp(random.standard_normal(5)), 65)
        assert (cost.costs >= 0).all()
        assert (cost.seconds(POINTS) > 0).all()


def test_measured_steps_scale_the_rule():
    cost = StepCost(COSTS, 65)
    point = pick(POINTS, 7)
    before = float(cost.seconds(point))
    assert np.isclose(cost.scaled([point], [1.5 * before]).seconds(point), 1.5 * before)
