"""Validations take a small share of the time, and read everything where there is time."""

import numpy as np

from tinyllm.planning.draw import usual
from tinyllm.planning.validations import plan_validations


def test_validations_take_less_than_a_tenth_of_the_time():
    points, seconds = usual(np.geomspace(1e10, 1e13, 20), 1e6), 60.0
    found = plan_validations(points, np.geomspace(0.003, 0.06, 20), 500_000, seconds)
    assert (found.seconds < 0.1 * seconds).all()


def test_a_short_split_is_read_as_a_whole():
    found = plan_validations(usual([1e11], 1e6), np.array([0.01]), 900, 60.0)
    assert found.tokens == found.tokens_at_end == 900


def test_a_long_run_reads_all_of_the_split_at_its_end():
    found = plan_validations(usual([1e14], 1e6), np.array([0.1]), 600_000, 3600.0)
    assert found.tokens == 120_000
    assert found.tokens_at_end == 600_000
