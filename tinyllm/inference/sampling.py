"""Choosing the next character from the logits."""

import torch
from torch import Tensor

from tinyllm.config.sampling import SamplingConfig
from tinyllm.tokenization.tokenizer import UNKNOWN_ID

_LOWEST_TEMPERATURE = 1e-6


def next_token(logits: Tensor, config: SamplingConfig, generator: torch.Generator) -> int:
    """Draw a token from `logits` [vocabulary]; the unknown character is never drawn.

    One uniform number is drawn for each token, so a text depends on the seed and on nothing
    that happens beside it.
    """
    logits = logits.float().cpu().clone()
    logits[UNKNOWN_ID] = -torch.inf
    if config.temperature == 0:
        return int(logits.argmax())
    # the largest becomes zero, so that no temperature, however low, makes anything infinite
    scaled = (logits - logits.max()) / max(config.temperature, _LOWEST_TEMPERATURE)
    probabilities = truncate(torch.softmax(scaled, dim=-1), config)
    cumulative = probabilities.double().cumsum(dim=-1)
    threshold = torch.rand((), generator=generator, dtype=torch.float64) * cumulative[-1]
    token = int(torch.searchsorted(cumulative, threshold, right=True))
    # the threshold may round up to the total; the last token that can be drawn is meant then
    return min(token, int(probabilities.nonzero()[-1]))


def truncate(probabilities: Tensor, config: SamplingConfig) -> Tensor:
    """Set to zero what top-k and top-p leave out: [vocabulary] -> [vocabulary], not normalised.

    Top-p is nucleus sampling, Holtzman et al. 2020, https://arxiv.org/abs/1904.09751: the fewest
    likeliest tokens that together reach the share p.
    """
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if config.top_k:
        keep[config.top_k :] = False
    if config.top_p < 1:
        before = ordered.cumsum(dim=-1) - ordered
        keep &= before < config.top_p
    keep[0] = True
    result = torch.zeros_like(probabilities)
    result[tokens[keep]] = ordered[keep]
    return result
