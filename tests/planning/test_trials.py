"""Short runs: what is tried, that they train, and that those which diverged teach nothing."""

import math

import numpy as np
import pytest

from tests.planning.conftest import TEXT
from tinyllm.planning.law import Law, error_of
from tinyllm.planning.picture import draw_trials
from tinyllm.planning.points import stacked, step_tokens
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import BATCHES, RATES, Bench, Trial, learn_from, trial_points
from tinyllm.tokens.windows import load_token_data


@pytest.fixture
def bench(tokens, arithmetic) -> Bench:
    return Bench(load_token_data(tokens), arithmetic, seed=1)


@pytest.fixture
def point(search):
    best = search.best(20)[0].point
    small = {"d_model": 32, "head_dim": 32, "num_layers": 1, "d_ff": 96, "sequence_length": 64}
    return {**best, **small, "batch_size": 4.0}


def test_rates_are_tried_around_the_one_for_short_runs_and_batches_for_the_same_tokens(point):
    pairs = trial_points(Law.load(), TEXT, point, 600)
    assert len(pairs) == len(RATES) + len(BATCHES)
    rates = [one["learning_rate"] for one, _ in pairs]
    assert rates[0] < rates[1] < rates[2]
    assert set(rates[3:]) == {rates[1]}
    assert {float(step_tokens(one)) * steps for one, steps in pairs} == {600 * 4 * 64}


def test_a_trial_trains_and_the_losses_teach_the_law(bench, point, tmp_path):
    text = TextFacts.of(bench.data)
    law = Law.load()
    pairs = trial_points(law, text, point, 20)
    trials = [bench.run(*pair) for pair in pairs]
    assert all(1.5 < trial.loss < math.log(bench.data.vocab_size) for trial in trials)
    taught = learn_from(law, text, trials)
    points, steps = stacked([one for one, _ in pairs]), [length for _, length in pairs]
    reached = np.array([trial.loss for trial in trials])
    before, after = (error_of(of.predict(text, points, steps)[0], reached) for of in (law, taught))
    assert after < before
    draw_trials(trials, taught, text, (point, 500), tmp_path / "rates.png")
    draw_trials(trials, taught, text, (point, 500), tmp_path / "again.png")
    picture = (tmp_path / "rates.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (tmp_path / "again.png").read_bytes()


def test_a_run_that_diverges_is_a_trial_without_a_loss(bench, point):
    trial = bench.run({**point, "learning_rate": 10.0, "embedding_learning_rate": 10.0}, 20)
    assert trial.loss == math.inf or trial.loss > 3
    lost = Trial(point, 20, math.inf, 1.0)
    law = Law.load()
    assert learn_from(law, TEXT, [lost]) is law


def test_the_time_of_a_step_is_measured(bench, point):
    assert 1e-4 < bench.step_seconds(point, 0.05) < 1


def test_the_facts_of_a_text_are_those_of_its_n_grams(bench):
    text = TextFacts.of(bench.data)
    assert text.train_tokens == len(bench.data.train)
    assert 1 < text.anchor <= text.short_anchor < math.log(text.vocab_size)
