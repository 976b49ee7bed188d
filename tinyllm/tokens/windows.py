"""Token files, and batches of windows gathered straight from them.

An epoch is a permutation of the non-overlapping windows that begin at a random offset, so it
visits every training token once, except for less than a window at either end. Offset and
permutation depend only on the seed and the epoch, so two integers, `epoch` and `window`, give the
place in the data, and validating, stopping or resuming changes no batch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.base.errors import TinyLLMError
from tinyllm.tokens.meta import read_meta
from tinyllm.tokens.permutation import Permutation
from tinyllm.tokens.shards import Tokens, load_tokens
from tinyllm.tokens.tokenizer import Tokenizer

Batch = tuple[Tensor, Tensor]

# windows of an epoch whose order is held in memory: 32 MiB
_MOST_HELD = 1 << 22


@dataclass(frozen=True)
class TokenData:
    """Training and validation tokens, 0 .. vocab_size - 1, each of shape [tokens]."""

    train: Tokens | NDArray[Any]
    val: Tokens | NDArray[Any]
    vocab_size: int

    @classmethod
    def from_text(cls, text: str, tokenizer: Tokenizer, val_fraction: float = 0.1) -> Self:
        """Encode a text; its last `val_fraction` is for validation.

        Raises:
            TinyLLMError: `val_fraction` is not between 0 and 1.
        """
        if not 0 < val_fraction < 1:
            raise TinyLLMError(f"val_fraction is {val_fraction}, but must be between 0 and 1.")
        tokens = tokenizer.encode(text)
        cut = len(tokens) - round(len(tokens) * val_fraction)
        return cls(tokens[:cut], tokens[cut:], tokenizer.vocab_size)


def load_token_data(folder: Path) -> TokenData:
    """Map the training and validation splits of the tokenize stage into memory.

    Raises:
        TinyLLMError: see `load_tokens`.
    """
    train, val = (load_tokens(folder, split) for split in ("train", "val"))
    return TokenData(train, val, read_meta(folder).vocab_size)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; a GPU gets it while it still computes what it was told before."""
    if device.type != "cuda":
        return batch[0].to(device), batch[1].to(device)
    pinned = (part.pin_memory() for part in batch)
    inputs, targets = (part.to(device, non_blocking=True) for part in pinned)
    return inputs, targets


class OptimizedTextDataset:
    """Windows of a token array: inputs, and targets one character later."""

    def __init__(self, tokens: Tokens | NDArray[Any], sequence_length: int, name: str) -> None:
        """Check that the split holds at least one window.

        Raises:
            TinyLLMError: the split is shorter than the context.
        """
        if len(tokens) <= sequence_length:
            raise TinyLLMError(
                f"The {name} split has {len(tokens)} characters, fewer than one window of "
                f"model.sequence_length = {sequence_length} and its next character; add text, "
                f"or lower model.sequence_length."
            )
        self.tokens = Tokens.of(tokens)
        self.sequence_length = sequence_length

    def shuffled_starts(self, seed: int, epoch: int) -> "Starts":
        """Where the epoch's windows start, in the order of the epoch."""
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
        slack = min(self.sequence_length, len(self.tokens) - self.sequence_length)
        offset = int(random.integers(slack))
        count = (len(self.tokens) - 1 - offset) // self.sequence_length
        order = random.permutation(count) if count <= _MOST_HELD else Permutation(count, random)
        return Starts(order, self.sequence_length, offset)

    def gather(self, starts: NDArray[np.int64]) -> Batch:
        """Inputs and targets, each int64 [windows, sequence_length], of the windows at `starts`."""
        windows = torch.from_numpy(
            self.tokens.windows(starts, self.sequence_length + 1).astype(np.int64)
        )
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


@dataclass(frozen=True)
class Starts:
    """Where the windows of an epoch start, in the order of the epoch."""

    order: NDArray[np.int64] | Permutation
    length: int
    offset: int

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        """The starts of some of the windows: [windows]."""
        return self.order[part] * self.length + self.offset


@dataclass
class Place:
    """A place in the training data: how many windows of which epoch are done."""

    epoch: int = 0
    window: int = 0


class TrainLoader:
    """Endless batches of equal size; a batch may take its last windows from the next epoch."""

    def __init__(self, dataset: OptimizedTextDataset, batch_size: int, seed: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.place = Place()
        self._starts: Starts | None = None
        self._starts_epoch = -1

    def next_batch(self) -> Batch:
        """Return the next batch and advance."""
        parts: list[NDArray[np.int64]] = []
        wanted = self.batch_size
        while wanted:
            starts = self._epoch_starts()
            part = starts[self.place.window : self.place.window + wanted]
            parts.append(part)
            wanted -= len(part)
            self.place.window += len(part)
            if self.place.window == len(starts):
                self.place = Place(self.place.epoch + 1, 0)
        return self.dataset.gather(np.concatenate(parts))

    def _epoch_starts(self) -> Starts:
        if self._starts is None or self._starts_epoch != self.place.epoch:
            self._starts = self.dataset.shuffled_starts(self.seed, self.place.epoch)
            self._starts_epoch = self.place.epoch
        return self._starts
