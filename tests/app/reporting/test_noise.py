"""The verdict on a change: better, worse, within the noise, or unknown."""

import pytest

from tinyllm.app.reporting.noise import verdict

SEEDS = (2.00, 2.02, 1.98)  # standard deviation 0.02, so the noise of a difference is 0.0566


@pytest.mark.parametrize(
    ("head", "finding"),
    [
        (1.93, "better beyond the noise"),
        (2.07, "worse beyond the noise"),
        (1.95, "within the noise"),
    ],
)
def test_the_spread_over_seeds_is_the_measure(head, finding):
    found = verdict(2.0, head, SEEDS)
    assert finding in found
    assert "0.0566" in found
    assert "3 seeds" in found


def test_without_seeds_the_same_test_text_is_compared_by_position():
    base = {str(n): 2.0 for n in range(100)}
    head = {str(n): 1.9 + (0.1 if n % 2 else -0.1) for n in range(100)}
    found = verdict(2.0, 1.9, (2.0,), (base, head))
    assert "better beyond the noise (0.0201, two standard errors on this test text" in found
    assert "noise between seeds is unknown" in found
    assert "within the noise" in verdict(2.0, 1.99, (), (base, head))


def test_with_neither_it_says_that_it_does_not_know():
    assert verdict(2.0, 1.9) == (
        "The change is -0.1000 bits per character; how large the noise is, is unknown."
    )
