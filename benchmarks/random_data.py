"""Random tokens: what they are costs a step nothing."""

import numpy as np

from tinyllm.tokens.windows import TokenData


def random_data(vocab_size: int = 65) -> TokenData:
    """As many tokens as no step waits for."""
    tokens = np.random.default_rng(0).integers(1, vocab_size, 300_000).astype(np.uint8)
    return TokenData(tokens, tokens[:20_000], vocab_size)
