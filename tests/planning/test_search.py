"""The search: it keeps to the limits, uses the time, and finds what the law prefers."""

from dataclasses import replace

import pytest

from tinyllm.planning.points import KNOBS
from tinyllm.planning.search import FEWEST_STEPS, seconds_for, useful_seconds


def test_more_time_is_expected_to_end_lower(search):
    losses = [search.best(seconds)[0].loss for seconds in (10, 40, 160)]
    assert losses == sorted(losses, reverse=True)


def test_a_run_takes_the_time_with_its_validations(search):
    best = search.best(60)[0]
    assert 0.85 * 60 < best.steps * best.step_seconds < 60
    assert best.steps >= FEWEST_STEPS


def test_candidates_have_different_shapes_and_the_best_is_the_first(search):
    found = search.best(60, 3)
    shapes = {
        (o.point["d_model"], o.point["num_layers"], o.point["sequence_length"]) for o in found
    }
    assert len(shapes) == 3


def test_no_window_is_longer_than_a_split(search):
    found = replace(search, longest=70).best(60, 3)
    assert {one.point["sequence_length"] for one in found} == {64}


def test_what_does_not_fit_into_memory_is_no_candidate(search):
    wide = search.best(60)[0].point["d_model"]
    found = replace(search, fits=lambda point: point["d_model"] < wide).best(60, 3)
    assert all(one.point["d_model"] < wide for one in found)


def test_a_time_far_beyond_what_was_measured_has_a_plan_too(search):
    assert search.best(1e9)[0].steps > 10_000


def test_nothing_fits_into_no_time(search):
    assert search.best(0.01) == []


def test_the_best_point_is_not_much_worse_than_any_beside_it(search):
    best = search.best(60)[0]
    for name, knob in KNOBS.items():
        for value in knob.beside(best.point[name]):
            other = {**best.point, name: value}
            if other["d_model"] % other["head_dim"] == 0:
                # what the law is surer of is preferred
                assert search.score(other, 60).loss > 0.93 * best.loss, name


def test_a_slower_step_leaves_fewer_of_them(search):
    best = search.best(60)[0]
    slower = search.score(best.point, 60, 2 * best.step_seconds)
    assert slower.steps == pytest.approx(best.steps / 2, rel=0.2)
    assert slower.loss > best.loss


def test_the_time_for_a_loss_is_that_in_which_it_is_expected(search):
    goal = search.best(50)[0].loss
    seconds = seconds_for(search, goal, 2, 10_000)
    assert 20 < seconds < 60
    assert search.best(seconds)[0].loss <= goal * 1.001


def test_time_is_used_as_far_as_it_is_of_use(search):
    assert useful_seconds(search, 20) == 20
    long = useful_seconds(search, 100_000)
    assert search.best(long)[0].loss <= 1.01 * search.best(100_000)[0].loss


def test_a_loss_out_of_reach_has_no_time(search):
    assert seconds_for(search, 0.01, 2, 10_000) is None
