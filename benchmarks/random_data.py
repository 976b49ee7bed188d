"""Random tokens, since the time of a step does not depend on the data."""

import numpy as np

from tinyllm.tokens.windows import TokenData


def random_data(vocab_size: int = 65) -> TokenData:
    """Few enough tokens that no step waits for them."""
    tokens = np.random.default_rng(0).integers(1, vocab_size, 300_000).astype(np.uint8)
    return TokenData(tokens, tokens[:20_000], vocab_size)
