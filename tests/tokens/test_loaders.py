"""Batches for evaluation: every character once, or an evenly spread part."""

import numpy as np
import pytest
import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.loaders import EvaluationLoader, build_dataloaders
from tinyllm.tokens.windows import OptimizedTextDataset, TokenData, TrainLoader

LENGTH = 8
CPU = torch.device("cpu")


def dataset(count=200, length=LENGTH):
    """Tokens that equal their position."""
    return OptimizedTextDataset(np.arange(count, dtype=np.uint16), length, "val")


@pytest.mark.parametrize("count", [9, 10, 16, 17, 18, 65, 200])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_predicts_every_character_but_the_first_once(count, batch_size):
    batches = list(EvaluationLoader(dataset(count), batch_size, CPU))
    targets = torch.cat([targets.flatten() for _, targets in batches])
    assert torch.equal(targets, torch.arange(1, count))
    for inputs, predicted in batches:
        assert torch.equal(predicted, inputs + 1)
        assert inputs.shape[0] <= batch_size
        assert inputs.shape[1] <= LENGTH


def test_evaluation_tail_is_a_shorter_window():
    shapes = [tuple(inputs.shape) for inputs, _ in EvaluationLoader(dataset(29), 2, CPU)]
    assert shapes == [(2, LENGTH), (1, LENGTH), (1, 4)]


def test_evaluation_can_be_repeated():
    loader = EvaluationLoader(dataset(29), 2, CPU)
    assert len(list(loader)) == len(list(loader)) == 3


@pytest.mark.parametrize(("train", "val", "name"), [(5, 50, "train"), (50, 5, "val")])
def test_build_names_the_split_that_is_too_short(train, val, name):
    tokens = np.zeros(50, dtype=np.uint8)
    data = TokenData(tokens[:train], tokens[:val], 1)
    with pytest.raises(TinyLLMError, match=f"The {name} split has 5 characters"):
        build_dataloaders(data, sequence_length=8, batch_size=2, seed=0, device=CPU)


def test_build_gives_both_loaders():
    tokens = np.arange(60, dtype=np.uint8)
    data = TokenData(tokens, tokens[:20], 60)
    train, val = build_dataloaders(data, sequence_length=8, batch_size=2, seed=5, device=CPU)
    expected = TrainLoader(OptimizedTextDataset(tokens, 8, "train"), 2, 5)
    assert torch.equal(train.next_batch()[0], expected.next_batch()[0])
    assert sum(targets.numel() for _, targets in val) == 19
