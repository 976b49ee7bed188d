"""Batches: every window once an epoch, the same for the same seed, resumable at any place."""

import numpy as np
import pytest
import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.permutation import Permutation
from tinyllm.tokens.shards import load_tokens
from tinyllm.tokens.windows import (
    OptimizedTextDataset,
    Place,
    TrainLoader,
    load_token_data,
)

LENGTH = 8
CPU = torch.device("cpu")


def dataset(count=200, length=LENGTH):
    """Tokens that equal their position."""
    return OptimizedTextDataset(np.arange(count, dtype=np.uint16), length, "train")


def starts_of(batch):
    return batch[0][:, 0].tolist()


@pytest.mark.parametrize("count", [9, 10, 16, 17, 23, 200, 203])
@pytest.mark.parametrize("epoch", range(5))
def test_epoch_visits_every_window_once(count, epoch):
    starts = np.sort(dataset(count).shuffled_starts(seed=3, epoch=epoch)[:])
    assert len(starts) > 0
    assert np.all(np.diff(starts) == LENGTH)
    assert 0 <= starts[0] < LENGTH
    unused = count - 1 - (starts[-1] + LENGTH)
    assert 0 <= unused < LENGTH


def test_epochs_differ_in_offset_and_order():
    epochs = [dataset().shuffled_starts(seed=3, epoch=epoch)[:] for epoch in range(12)]
    assert len({starts.min() for starts in epochs}) > 4
    assert all(np.any(np.diff(starts) < 0) for starts in epochs)


def test_every_offset_occurs():
    offsets = {dataset().shuffled_starts(seed=3, epoch=epoch)[:].min() for epoch in range(200)}
    assert offsets == set(range(LENGTH))


def test_an_epoch_of_millions_of_windows_visits_each_once():
    count = 2 * (1 << 22) + 9
    data = OptimizedTextDataset(np.zeros(count, dtype=np.uint8), 2, "train")
    starts = data.shuffled_starts(seed=3, epoch=1)
    assert isinstance(starts.order, Permutation)
    assert np.array_equal(np.sort(starts[:]), starts.offset + 2 * np.arange(len(starts)))
    assert len(starts) == (count - 1 - starts.offset) // 2
    loader = TrainLoader(data, 1000, seed=3)
    loader.place = Place(1, len(starts) - 1)
    loader.next_batch()
    assert loader.place == Place(2, 999)


def test_an_epoch_of_fewer_windows_has_the_order_of_numpy():
    starts = dataset().shuffled_starts(seed=3, epoch=1)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([3, 1])))
    assert starts.offset == random.integers(LENGTH)
    assert np.array_equal(starts[:], random.permutation(len(starts)) * LENGTH + starts.offset)


def test_targets_are_the_inputs_one_character_later():
    inputs, targets = dataset().gather(np.array([5, 0, 191]))
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == targets.shape == (3, LENGTH)
    assert inputs[:, 0].tolist() == [5, 0, 191]
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs[0], torch.arange(5, 5 + LENGTH))


def test_large_tokens_survive():
    tokens = np.full(20, 40_000, dtype=np.uint16)
    inputs, _ = OptimizedTextDataset(tokens, LENGTH, "train").gather(np.array([0]))
    assert inputs.unique().tolist() == [40_000]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 70])
def test_batches_have_equal_size_and_run_through_the_epochs(batch_size):
    data = dataset()
    loader = TrainLoader(data, batch_size, seed=3)
    batches = [starts_of(loader.next_batch()) for _ in range(2 + 150 // batch_size)]
    assert {len(batch) for batch in batches} == {batch_size}
    seen = [start for batch in batches for start in batch]
    epochs = np.concatenate([data.shuffled_starts(3, epoch)[:] for epoch in range(12)])
    assert seen == epochs[: len(seen)].tolist()


def test_batch_straddles_two_epochs():
    data = dataset()
    first = len(data.shuffled_starts(3, 0))
    loader = TrainLoader(data, 10, seed=3)
    for _ in range(first // 10):
        loader.next_batch()
    assert loader.place == Place(0, first // 10 * 10)
    batch = loader.next_batch()
    assert batch[0].shape == (10, LENGTH)
    assert loader.place == Place(1, 10 - first % 10)


def test_place_moves_to_the_next_epoch_when_the_last_window_is_done():
    data = dataset()
    loader = TrainLoader(data, len(data.shuffled_starts(3, 0)), seed=3)
    loader.next_batch()
    assert loader.place == Place(1, 0)


def test_same_seed_gives_the_same_batches():
    first, again, other = (TrainLoader(dataset(), 7, seed) for seed in (3, 3, 4))
    batches = [[loader.next_batch() for _ in range(9)] for loader in (first, again, other)]
    for (inputs, targets), (inputs_again, targets_again) in zip(*batches[:2], strict=True):
        assert torch.equal(inputs, inputs_again)
        assert torch.equal(targets, targets_again)
    assert [starts_of(b) for b in batches[0]] != [starts_of(b) for b in batches[2]]


@pytest.mark.parametrize("done", [0, 1, 3, 4, 11])
def test_place_resumes_exactly(done):
    undisturbed = TrainLoader(dataset(), 7, seed=3)
    for _ in range(done):
        undisturbed.next_batch()
    resumed = TrainLoader(dataset(), 7, seed=3)
    resumed.next_batch()
    resumed.place = Place(undisturbed.place.epoch, undisturbed.place.window)
    for _ in range(8):
        assert starts_of(resumed.next_batch()) == starts_of(undisturbed.next_batch())


@pytest.mark.parametrize("count", [0, 1, LENGTH])
def test_too_short_split_is_reported(count):
    with pytest.raises(TinyLLMError) as caught:
        OptimizedTextDataset(np.zeros(count, dtype=np.uint8), LENGTH, "val")
    message = str(caught.value)
    assert message.startswith(f"The val split has {count} characters")
    assert "model.sequence_length = 8" in message
    assert message.endswith(".")
    assert "\n" not in message


def test_memory_mapped_tokens_are_read(tmp_path):
    path = tmp_path / "train.bin"
    np.arange(100, dtype=np.uint8).tofile(path)
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    batch = TrainLoader(OptimizedTextDataset(mapped, LENGTH, "train"), 4, 3).next_batch()
    assert starts_of(batch) == starts_of(TrainLoader(dataset(100), 4, 3).next_batch())


def test_token_data_are_both_splits_and_the_vocabulary(tokens):
    data = load_token_data(tokens)
    assert np.array_equal(data.train, load_tokens(tokens, "train"))
    assert np.array_equal(data.val, load_tokens(tokens, "val"))
    assert max(data.train[:].max(), data.val[:].max()) < data.vocab_size
    assert not data.train[:].flags.writeable
