"""Choosing the next token from the logits, in the same way in every runtime.

Needs only numpy, so that exported models can include it. The random numbers depend only on the
seed and the place in the text; the playground's JavaScript draws the same ones.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.inference.config import SamplingConfig

_LOWEST_TEMPERATURE = 1e-6
_MASK = 2**64 - 1


def next_token(
    logits: NDArray[Any], config: SamplingConfig, index: int, unknown: int | None
) -> int:
    """Draw a token of a text.

    Args:
        logits: of each token, [vocabulary].
        config: how to draw.
        index: the token's place in the text.
        unknown: the token that is never drawn; see `Tokenizer.unknown_id`.
    """
    logits = logits.astype(np.float64)
    if unknown is not None:
        logits[unknown] = -np.inf
    if config.temperature == 0:
        return int(logits.argmax())
    # the largest becomes zero, so that no temperature makes anything infinite
    scaled = (logits - logits.max()) / max(config.temperature, _LOWEST_TEMPERATURE)
    weights = truncate(np.exp(scaled), config)
    cumulative = weights.cumsum()
    token = int(cumulative.searchsorted(uniform(config.seed, index) * cumulative[-1], "right"))
    # the threshold may round up to the total, which means the last possible token
    return min(token, int(weights.nonzero()[0][-1]))


def truncate(weights: NDArray[Any], config: SamplingConfig) -> NDArray[Any]:
    """Set to zero what top-k and top-p exclude: [vocabulary] -> [vocabulary], not normalized.

    Top-p is nucleus sampling, Holtzman et al. 2020, https://arxiv.org/abs/1904.09751: the fewest
    likeliest tokens that together reach the share p. Ties are broken by token id.
    """
    order = np.argsort(-weights, kind="stable")
    keep = np.ones(len(weights), dtype=bool)
    if config.top_k:
        keep[config.top_k :] = False
    if config.top_p < 1:
        ordered = weights[order]
        before = ordered.cumsum() - ordered
        keep &= before < config.top_p * ordered.sum()
    keep[0] = True
    result = np.zeros_like(weights)
    result[order[keep]] = weights[order[keep]]
    return result


def uniform(seed: int, index: int) -> float:
    """Random number `index` of a seed's sequence, in [0, 1).

    SplitMix64, Steele, Lea & Flood 2014, https://doi.org/10.1145/2660193.2660195. It is stateless,
    so texts may be drawn in any order, in batches or alone.
    """
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53
