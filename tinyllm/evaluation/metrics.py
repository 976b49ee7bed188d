"""Metrics of a model on a held-out split, from its predictions of each character."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyllm.base.files import rounded
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import Transformer, token_losses
from tinyllm.tokens.loaders import EvaluationLoader

# losses that are kept one by one, for the picture of a passage
_MOST_FIRST = 2000


@dataclass
class Scores:
    """How well the characters of a split were predicted, added up.

    `nats` [time] is the sum of the losses and `counts` [time] their number, by how many characters
    of context there were in the window, from one; `likeliest` and `among_five` are the numbers of
    characters that no other token, or at most four, were likelier than. `first` are the losses of
    the first characters, one by one.
    """

    nats: NDArray[np.float64]
    counts: NDArray[np.int64]
    likeliest: int = 0
    among_five: int = 0
    first: list[float] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """How many characters were predicted."""
        return int(self.counts.sum())

    @property
    def loss(self) -> float:
        """Mean loss in nats per character."""
        return math.fsum(self.nats) / self.characters

    def add(self, nats: NDArray[np.float64], ranks: Tensor) -> None:
        """Add windows: their losses and how many tokens were likelier, each [windows, time]."""
        time = nats.shape[1]
        # one by one, so that the sums do not depend on the size of the batches
        for window in nats:
            self.nats[:time] += window
        self.counts[:time] += len(nats)
        self.likeliest += int((ranks < 1).sum())
        self.among_five += int((ranks < 5).sum())
        self.first += nats.reshape(-1)[: _MOST_FIRST - len(self.first)].tolist()


@torch.no_grad()
def score_characters(
    model: Transformer, loader: EvaluationLoader, arithmetic: Arithmetic
) -> Scores:
    """Predict the characters of a loader once."""
    model.eval()
    length = loader.dataset.sequence_length
    scores = Scores(np.zeros(length), np.zeros(length, dtype=np.int64))
    for inputs, targets in loader:
        with arithmetic.autocast():
            logits = model(inputs).float()
        losses = token_losses(logits, targets)
        arithmetic.contention.watch()
        of_target = logits.gather(-1, targets.unsqueeze(-1))
        scores.add(losses.double().cpu().numpy(), (logits > of_target).sum(-1))
    arithmetic.contention.stop()
    return scores


def summarize(scores: Scores, characters: int, size_in_bytes: int) -> dict[str, Any]:
    """The main metrics of a split.

    Args:
        scores: from `score_characters`.
        characters: length of the split, also if only a part was predicted.
        size_in_bytes: its length in UTF-8, for bits per byte.

    Returns:
        Loss in nats per character, perplexity per character, bits per character and per byte,
        and the shares of characters that were the likeliest or among the five likeliest.
    """
    loss = scores.loss
    bits = loss / math.log(2)
    return {
        "loss": rounded(loss),
        "perplexity": rounded(math.exp(loss)),
        "bits_per_character": rounded(bits),
        "bits_per_byte": rounded(bits * characters / size_in_bytes),
        "top1_accuracy": rounded(scores.likeliest / scores.characters),
        "top5_accuracy": rounded(scores.among_five / scores.characters),
    }


def bits_by_position(scores: Scores) -> list[dict[str, Any]]:
    """Mean loss in bits by the number of characters of context, from one."""
    return [
        {"context": context, "bits": rounded(nats / count / math.log(2))}
        for context, (nats, count) in enumerate(zip(scores.nats, scores.counts, strict=True), 1)
        if count
    ]
