"""Fewer threads are chosen where a step takes no longer, and the process then has those."""

import math
from dataclasses import replace

import pytest
import torch

from tinyllm.kernels.contention import Contention
from tinyllm.planning.threads import quickest, with_quickest_threads
from tinyllm.planning.trials import Bench
from tinyllm.tokens.windows import load_token_data


@pytest.mark.parametrize(
    ("cores", "best"), [(64, 4), (64, 64), (64, 1), (48, 6), (8, 8), (2, 2), (1, 1)]
)
def test_threads_are_halved_as_long_as_a_step_takes_no_longer(cores, best):
    assert quickest(cores, lambda threads: 1 + abs(math.log2(threads / best))) == best


def test_equally_quick_threads_are_left_to_others():
    assert quickest(32, lambda threads: 1.0) == 1


def test_two_threads_stay_two_however_quick_one_is_just_now():
    assert quickest(2, float) == 2


def test_the_process_has_the_threads_that_were_found(tokens, arithmetic, search):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        bench = Bench(
            load_token_data(tokens), replace(arithmetic, contention=Contention(8)), seed=1
        )
        small = {"d_model": 32, "head_dim": 32, "num_layers": 1, "d_ff": 32, "batch_size": 2}
        found = with_quickest_threads(bench, {**search.best(20)[0].point, **small})
        assert (found is bench) == (torch.get_num_threads() == 8)
    finally:
        torch.set_num_threads(before)
