"""Metrics of a model on a held-out split, from its predictions of each token."""

import math
from collections.abc import Iterable
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
from tinyllm.tokens.meta import SplitFacts
from tinyllm.tokens.tokenizer import TextStream

# losses that are kept one by one, for the picture of a passage
_MOST_FIRST = 2000


@dataclass
class Scores:
    """How well the tokens of a split were predicted, added up.

    `nats` [time] is the sum of the losses and `counts` [time] their number, by how many tokens of
    context there were in the window, from one; `likeliest` and `among_five` are the numbers of
    tokens that no other token, or at most four, were likelier than. `first` are the losses of
    the first tokens, one by one.
    """

    nats: NDArray[np.float64]
    counts: NDArray[np.int64]
    likeliest: int = 0
    among_five: int = 0
    first: list[float] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many tokens were predicted."""
        return int(self.counts.sum())

    @property
    def loss(self) -> float:
        """Mean loss in nats per token."""
        return math.fsum(self.nats) / self.tokens

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
def score_tokens(model: Transformer, loader: EvaluationLoader, arithmetic: Arithmetic) -> Scores:
    """Predict the tokens of a loader once."""
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


def summarize(scores: Scores, split: SplitFacts) -> dict[str, Any]:
    """The main metrics of a split, also if only a part of it was predicted.

    Returns:
        Loss in nats per token, perplexity per token, bits per character and per byte, and the
        shares of tokens that were the likeliest or among the five likeliest.
    """
    return {
        "loss": rounded(scores.loss),
        "perplexity": rounded(math.exp(scores.loss)),
        "bits_per_character": rounded(split.bits_per_character(scores.loss)),
        "bits_per_byte": rounded(split.bits_per_byte(scores.loss)),
        "top1_accuracy": rounded(scores.likeliest / scores.tokens),
        "top5_accuracy": rounded(scores.among_five / scores.tokens),
    }


def bits_by_position(scores: Scores, split: SplitFacts) -> list[dict[str, Any]]:
    """Mean loss in bits per character by the number of tokens of context, from one."""
    return [
        {"context": context, "bits": rounded(split.bits_per_character(nats / count))}
        for context, (nats, count) in enumerate(zip(scores.nats, scores.counts, strict=True), 1)
        if count
    ]


def surprise_of_characters(
    stream: TextStream, tokens: Iterable[int], losses: Iterable[float]
) -> tuple[str, NDArray[np.float64]]:
    """A passage, and the bits of each of its characters: [characters].

    The characters of one token share its bits; a character of several tokens has those of all.

    Args:
        stream: decodes the passage.
        tokens: of the passage.
        losses: of each token, in nats; there may be more of them.
    """
    text, bits, waiting = [], [], 0.0
    for token, loss in zip(tokens, losses, strict=False):
        waiting += loss / math.log(2)
        if piece := stream.push(token):
            text.append(piece)
            bits += [waiting / len(piece)] * len(piece)
            waiting = 0.0
    return "".join(text), np.array(bits)
