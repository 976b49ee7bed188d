"""The batches of a run: for training without end, and for evaluation of a split or a part of it."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from tinyllm.tokens.limits import validation_windows
from tinyllm.tokens.spread import Spread
from tinyllm.tokens.windows import Batch, OptimizedTextDataset, TokenData, TrainLoader, on_device

# characters of a validation that stay on the device from one to the next: 16 MiB
_MOST_KEPT = 1 << 20


class EvaluationLoader:
    """Batches that predict characters of a split once: all but the first, or evenly spread ones.

    The last batch may hold fewer or shorter windows. If there are few batches, they stay on the
    device; otherwise they are read again each time.
    """

    def __init__(
        self, dataset: OptimizedTextDataset, batch_size: int, device: torch.device, most: int = 0
    ) -> None:
        """Choose the windows.

        Args:
            dataset: the split.
            batch_size: windows of a batch.
            device: where the batches are put.
            most: characters to predict at most, but a window at least; 0: all.
        """
        self.dataset, self.batch_size, self.device = dataset, batch_size, device
        self._length, self._predicted = dataset.sequence_length, len(dataset.tokens) - 1
        windows = self._predicted // self._length
        part = max(1, most // self._length) if 0 < most < self._predicted else windows
        self._windows = Spread.over(windows, part)
        whole = not 0 < most < self._predicted
        self._rest = self._predicted % self._length if whole else 0
        self._kept: list[Batch] = []
        if self.characters <= _MOST_KEPT:
            # at once: small blocks between the large ones of forward passes would fragment memory
            self._kept = [self._read(index) for index in range(len(self))]

    @property
    def characters(self) -> int:
        """How many characters are predicted."""
        return len(self._windows) * self._length + self._rest

    @property
    def is_whole(self) -> bool:
        """Whether that is the whole split, but for its first character."""
        return self.characters == self._predicted

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Which characters are predicted: pairs of the first one and the end, in their order."""
        for start, end in self._windows.ranges():
            yield start * self._length + 1, end * self._length + 1 + self._rest

    def __len__(self) -> int:
        """How many batches there are."""
        return math.ceil(len(self._windows) / self.batch_size) + bool(self._rest)

    def __getitem__(self, index: int) -> Batch:
        """Inputs and targets of a batch, each [windows, time]."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} batches, and no batch {index}")
        return self._kept[index] if self._kept else self._read(index)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in the order of the text."""
        return (self[index] for index in range(len(self)))

    def _read(self, index: int) -> Batch:
        first, windows = index * self.batch_size, len(self._windows)
        if first < windows:
            numbers = range(first, min(first + self.batch_size, windows))
            places = [self._windows.place(number) for number in numbers]
            inputs, targets = self.dataset.gather(np.array(places) * self._length)
        else:
            tail = self.dataset.tokens[self._predicted - self._rest :].astype(np.int64)
            rest = torch.from_numpy(tail)[None]
            inputs, targets = rest[:, :-1].contiguous(), rest[:, 1:].contiguous()
        return on_device((inputs, targets), self.device)


def build_dataloaders(
    data: TokenData,
    *,
    sequence_length: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    eval_characters: int = 0,
) -> tuple[TrainLoader, EvaluationLoader]:
    """Make the endless training loader, and the validation loader.

    Args:
        data: the splits.
        sequence_length: characters of a window.
        batch_size: windows of a batch.
        seed: of the order of the training windows.
        device: where the batches for validation are put.
        eval_characters: how many a validation reads, evenly spread over the split; 0: all.

    Raises:
        TinyLLMError: a split is shorter than one window.
    """
    train = OptimizedTextDataset(data.train, sequence_length, "train")
    val = OptimizedTextDataset(data.val, sequence_length, "val")
    windows = validation_windows(batch_size, sequence_length, data.vocab_size)
    return (
        TrainLoader(train, batch_size, seed),
        EvaluationLoader(val, windows, device, eval_characters),
    )
