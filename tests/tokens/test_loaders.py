"""Batches for evaluation: every character once, or an evenly spread part."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.limits import fitting_windows, validation_windows
from tinyllm.tokens.loaders import EvaluationLoader, build_dataloaders
from tinyllm.tokens.shards import Tokens
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


def predicted(loader):
    """The characters that are predicted, which equal their positions, and the batches' sizes."""
    batches = list(loader)
    for inputs, targets in batches:
        assert torch.equal(targets, inputs + 1)
    found = [targets.flatten() for _, targets in batches]
    return torch.cat(found).tolist(), [len(inputs) for inputs, _ in batches]


@given(
    count=st.integers(9, 3000),
    most=st.integers(0, 3500),
    batch_size=st.integers(1, 70),
    length=st.integers(1, 8),
)
def test_a_part_is_whole_windows_of_the_grid_evenly_spread(count, most, batch_size, length):
    loader = EvaluationLoader(dataset(count, length), batch_size, CPU, most)
    found, sizes = predicted(loader)
    assert len(found) == loader.characters
    assert len(sizes) == len(loader)
    assert found == [place for first, end in loader.ranges() for place in range(first, end)]
    # a window is read in any case
    if not 0 < most < count - 1 or count - 1 <= length:
        assert loader.is_whole
        assert found == list(range(1, count))
        return
    assert not loader.is_whole
    assert loader.characters <= max(most, length)
    # less is missing than one of the thousand passages that are read at most
    windows = max(1, most // length)
    assert loader.characters > (windows - math.ceil(windows / 1024)) * length
    starts = found[::length]
    assert all((start - 1) % length == 0 for start in starts)
    assert found == [start + place for start in starts for place in range(length)]


def test_parts_of_a_split_are_far_apart():
    loader = EvaluationLoader(dataset(8001), 64, CPU, 80)
    found, sizes = predicted(loader)
    assert sizes == [10]
    assert [place - 1 for place in found[::LENGTH]] == list(range(0, 8000, 800))


def test_a_part_has_the_same_windows_each_time_and_for_any_batch():
    loaders = [EvaluationLoader(dataset(5000), size, CPU, 1000) for size in (1, 7, 64)]
    found = [predicted(loader)[0] for loader in loaders for _ in range(2)]
    assert all(each == found[0] for each in found)


def test_few_batches_stay_and_many_are_read_again():
    few, many = (
        EvaluationLoader(
            OptimizedTextDataset(np.zeros(count, np.uint8), 1024, "val"), 64, CPU, most
        )
        for count, most in ((5000, 0), (3_000_000, 2_000_000))
    )
    assert few[0][0] is few[0][0]
    assert many[0][0] is not many[0][0]
    assert EvaluationLoader(many.dataset, 64, CPU, 10_000)[0][0].shape == (9, 1024)


def test_there_are_no_batches_beyond_the_last():
    loader = EvaluationLoader(dataset(29), 2, CPU)
    for index in (-1, len(loader)):
        with pytest.raises(IndexError, match=f"no batch {index}"):
            loader[index]


def test_windows_may_lie_in_two_shards():
    tokens = np.arange(100, dtype=np.uint16)
    shards = Tokens([tokens[:37], tokens[37:41], tokens[41:]], 100)
    data = [OptimizedTextDataset(each, LENGTH, "val") for each in (shards, tokens)]
    for most in (0, 50):
        one, other = (EvaluationLoader(each, 3, CPU, most) for each in data)
        assert predicted(one) == predicted(other)


def test_only_the_windows_of_a_part_are_read():
    class Counting(Tokens):
        def windows(self, starts, length):
            read.append(starts.size * length)
            return super().windows(starts, length)

    read = []
    tokens = Counting([np.zeros(10_000_000, dtype=np.uint8)], 1)
    loader = EvaluationLoader(OptimizedTextDataset(tokens, 99, "val"), 64, CPU, 990)
    assert len(list(loader)) == 1
    assert sum(read) == 1000


def test_a_large_vocabulary_has_few_windows_at_once():
    assert fitting_windows(64, 128, 64) == validation_windows(16, 128, 64) == 64
    assert validation_windows(100, 128, 64) == 100
    assert fitting_windows(64, 128, 70_001) == validation_windows(16, 128, 70_001) == 1
    assert fitting_windows(1000, 16_384, 1_000_000) == 1


def test_build_bounds_the_validation():
    tokens = np.zeros(5000, dtype=np.uint8)
    data = TokenData(tokens, tokens, 1)
    _, val = build_dataloaders(
        data, sequence_length=8, batch_size=2, seed=5, device=CPU, eval_characters=800
    )
    assert val.characters == 800
