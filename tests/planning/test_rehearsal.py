"""A rehearsal runs the real command elsewhere, and leaves nothing behind."""

import pytest

from tests.conftest import SMALL_MODEL, SMALL_TRAINING
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.config import NumericsConfig
from tinyllm.planning.rehearsal import rehearse
from tinyllm.training.recipe import Recipe

RECIPE = Recipe(
    SMALL_MODEL,
    SMALL_TRAINING.model_copy(update={"max_steps": 5, "warmup_steps": 1}),
    NumericsConfig(threads=1),
)


@pytest.mark.medium
def test_a_rehearsal_takes_time_and_memory_and_leaves_nothing(tokens, workspace):
    before = sorted(workspace.iterdir())
    found = rehearse(tokens, RECIPE)
    assert 0.5 < found.seconds < 120
    assert 100e6 < found.memory < 2e9
    assert sorted(workspace.iterdir()) == before


def test_a_run_that_fails_is_told_in_its_own_words(tmp_path):
    with pytest.raises(TinyLLMError, match=r"^A short run of the plan fails: .*tokenizer\.json"):
        rehearse(tmp_path, RECIPE)
