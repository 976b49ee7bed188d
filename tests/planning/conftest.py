"""A text, a machine and a search, as a plan has them; no step is timed here."""

import numpy as np
import pytest

from tinyllm.planning.law import Law
from tinyllm.planning.machine import StepCost
from tinyllm.planning.search import Search
from tinyllm.planning.texts import TextFacts

TEXT = TextFacts(
    train_tokens=1_000_000,
    val_tokens=100_000,
    vocab_size=64,
    anchor=1.5,
    short_anchor=2.0,
    middle_anchor=1.6,
)


@pytest.fixture(scope="session")
def search() -> Search:
    """A search on a machine that does 100 billion operations a second."""
    cost = StepCost(np.array([2e-3, 1e-3, 1e-11, 1e-11, 1e-10]), TEXT.vocab_size)
    return Search(Law.load(), TEXT, cost, longest=1000)
