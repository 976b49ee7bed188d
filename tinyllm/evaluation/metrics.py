"""Metrics of a model on a held-out split, from its predictions of each character."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tinyllm.base.files import rounded
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.model.transformer import Transformer, token_losses
from tinyllm.tokens.windows import EvaluationLoader


@dataclass(frozen=True)
class CharacterScores:
    """How well each character of a split but the first was predicted, in order.

    `nats` [characters] is the loss, `rank` [characters] how many tokens were likelier, and
    `position` [characters] how many characters of context it had in its window.
    """

    nats: NDArray[np.float64]
    rank: NDArray[np.int64]
    position: NDArray[np.int64]


@torch.no_grad()
def score_characters(
    model: Transformer, loader: EvaluationLoader, arithmetic: Arithmetic
) -> CharacterScores:
    """Predict every character of a split once."""
    model.eval()
    nats, ranks, positions = [], [], []
    for inputs, targets in loader:
        with arithmetic.autocast():
            logits = model(inputs).float()
        losses = token_losses(logits, targets)
        arithmetic.contention.watch()
        of_target = logits.gather(-1, targets.unsqueeze(-1))
        nats.append(losses.reshape(-1).double().cpu().numpy())
        ranks.append((logits > of_target).sum(-1).reshape(-1).cpu().numpy())
        positions.append(np.tile(np.arange(1, inputs.shape[1] + 1), inputs.shape[0]))
    arithmetic.contention.stop()
    return CharacterScores(np.concatenate(nats), np.concatenate(ranks), np.concatenate(positions))


def summarize(scores: CharacterScores, characters: int, size_in_bytes: int) -> dict[str, Any]:
    """The main metrics of a split.

    Args:
        scores: from `score_characters`.
        characters: length of the split; its first character is not predicted.
        size_in_bytes: its length in UTF-8, for bits per byte.

    Returns:
        Loss in nats per character, perplexity per character, bits per character and per byte,
        and the shares of characters that were the likeliest or among the five likeliest.
    """
    loss = float(scores.nats.mean())
    bits = loss / math.log(2)
    return {
        "loss": rounded(loss),
        "perplexity": rounded(math.exp(loss)),
        "bits_per_character": rounded(bits),
        "bits_per_byte": rounded(bits * characters / size_in_bytes),
        "top1_accuracy": rounded(float((scores.rank < 1).mean())),
        "top5_accuracy": rounded(float((scores.rank < 5).mean())),
    }


def bits_by_position(scores: CharacterScores) -> list[dict[str, Any]]:
    """Mean loss in bits by the number of characters of context, from one."""
    sums = np.bincount(scores.position, weights=scores.nats)
    counts = np.bincount(scores.position)
    return [
        {"context": position, "bits": rounded(sums[position] / counts[position] / math.log(2))}
        for position in range(1, len(counts))
    ]
