"""Better, or the luck of the seeds?"""

import pytest
from scipy import stats

from tinyllm.app.experiments.noise import Spread, judge_change, judge_difference

SEEDS = (2.00, 2.02, 1.98)  # standard deviation 0.02, so the noise of a difference is 0.0566
FIRST, SECOND = [2.10, 2.12, 2.11, 2.13], [2.01, 2.02, 2.00, 2.03]


def test_a_clear_difference_has_a_winner_and_an_interval_around_it():
    verdict = judge_difference(FIRST, SECOND, ("old", "new"))
    assert verdict.winner == "second"
    assert verdict.difference == pytest.approx(-0.1)
    assert verdict.interval[0] < -0.1 < verdict.interval[1] < 0
    assert verdict.p == pytest.approx(stats.ttest_ind(FIRST, SECOND, equal_var=False).pvalue)
    assert "new is better than old beyond the noise" in verdict.statement


def test_the_order_of_the_two_does_not_matter():
    verdict = judge_difference(SECOND, FIRST)
    assert verdict.winner == "first"
    assert "A is better than B" in verdict.statement


def test_noise_has_no_winner():
    verdict = judge_difference([2.0, 2.2, 2.1], [2.05, 2.15, 2.12])
    assert verdict.winner is None
    assert "cannot be told apart from noise" in verdict.statement


def test_one_seed_says_nothing():
    verdict = judge_difference([2.0], [1.0, 1.1])
    assert verdict.winner is None
    assert verdict.p is None
    assert "A ran with one seed only" in verdict.statement


def test_without_any_noise_the_lower_wins():
    assert judge_difference([2.0, 2.0], [1.9, 1.9]).winner == "second"
    assert judge_difference([2.0, 2.0], [2.0, 2.0]).winner is None


def test_a_spread_reads_as_people_write_it():
    assert str(Spread((2.0, 2.2))) == "2.1000 ± 0.1414 (2 seeds)"
    assert str(Spread((2.0,))) == "2.0000 (1 seed)"
    assert Spread((2.0, 2.2)).to_dict()["runs"] == 2


@pytest.mark.parametrize(
    ("head", "finding"),
    [
        (1.93, "better beyond the noise"),
        (2.07, "worse beyond the noise"),
        (1.95, "within the noise"),
    ],
)
def test_the_spread_over_seeds_is_the_measure(head, finding):
    found = judge_change(2.0, head, SEEDS)
    assert finding in found
    assert "0.0566" in found
    assert "3 seeds" in found


def test_without_seeds_the_same_test_text_is_compared_by_position():
    base = {str(n): 2.0 for n in range(100)}
    head = {str(n): 1.9 + (0.1 if n % 2 else -0.1) for n in range(100)}
    found = judge_change(2.0, 1.9, (2.0,), (base, head))
    assert "better beyond the noise (0.0201, two standard errors on this test text" in found
    assert "noise between seeds is unknown" in found
    assert "within the noise" in judge_change(2.0, 1.99, (), (base, head))


def test_with_neither_it_says_that_it_does_not_know():
    assert judge_change(2.0, 1.9) == (
        "The change is -0.1000 bits per character; how large the noise is, is unknown."
    )
