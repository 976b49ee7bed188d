"""Every point that can be drawn is a valid model and a valid training."""

import numpy as np
import pytest

from tinyllm.planning.draw import around, usual
from tinyllm.planning.points import (
    KNOBS,
    block_weights,
    model_of,
    operations,
    pick,
    stacked,
    training_of,
)
from tinyllm.training.memory import count_weights

DRAWN = around(usual(np.geomspace(1e9, 1e17, 200), 1e6), np.random.default_rng(3))


def test_whatever_is_drawn_is_a_valid_run_that_every_runtime_opens():
    for index in range(200):
        point = pick(DRAWN, index)
        assert model_of(point).head_dim in (32, 64)
        assert training_of(point, 50).max_steps == 50


def test_parameters_have_no_digits_that_arithmetic_added():
    for index in range(200):
        point = pick(DRAWN, index)
        values = [
            *model_of(point).model_dump().values(),
            *training_of(point, 50).model_dump().values(),
        ]
        assert all(len(f"{value!r}") <= 10 for value in values)


def test_weights_are_those_of_the_model():
    model = model_of(pick(DRAWN, 100))
    norms = model.num_layers * (2 * model.d_model + 2 * model.head_dim) + model.d_model
    ends = 2 * 65 * model.d_model
    assert block_weights(pick(DRAWN, 100)) == count_weights(model, 65) - norms - ends


def test_a_step_takes_six_operations_for_each_weight_and_token_and_more_for_attention():
    point = pick(usual([1e12], 1e6), 0)
    tokens = point["batch_size"] * point["sequence_length"]
    products = 6 * tokens * (block_weights(point) + 65 * point["d_model"])
    scores = 6 * tokens * point["num_layers"] * point["d_model"] * (point["sequence_length"] + 1)
    assert operations(point, 65) == pytest.approx(products + scores)


@pytest.mark.parametrize("name", KNOBS)
def test_values_beside_another_are_values_of_the_knob_too(name):
    knob = KNOBS[name]
    for value in DRAWN[name]:
        others = knob.beside(float(value))
        assert value not in others
        assert list(knob.nearest(others)) == others


def test_many_points_are_one_of_arrays_and_back():
    points = [pick(DRAWN, index) for index in (3, 5)]
    assert [pick(stacked(points), index) for index in (0, 1)] == points


def test_usual_models_grow_with_the_operations():
    sizes = block_weights(usual(np.geomspace(1e10, 1e14, 9), 1e6))
    assert (np.diff(sizes) > 0).all()
