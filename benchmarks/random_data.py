"""Random tokens, since the time of a step does not depend on the data."""

from pathlib import Path

import numpy as np

from tinyllm.tokens.windows import TokenData


def random_data(vocab_size: int = 65) -> TokenData:
    """Few enough tokens that no step waits for them."""
    tokens = np.random.default_rng(0).integers(1, vocab_size, 300_000).astype(np.uint8)
    return TokenData(tokens, tokens[:20_000], vocab_size)


def random_tokens(folder: Path, vocab_size: int = 65) -> Path:
    """The same as a folder of the tokenize stage, made by the stages."""
    from tinyllm.corpus.config import PrepareConfig
    from tinyllm.corpus.prepare import prepare_corpus
    from tinyllm.tokens.config import TokenizeConfig
    from tinyllm.tokens.encode import tokenize_corpus

    # letters that no normalization changes; one token is for unknown characters
    text = "".join(map(chr, random_data(vocab_size).train.astype(np.uint32) + 0x4E00))
    (folder / "random.txt").write_text(text, encoding="utf-8")
    config = PrepareConfig(source=str(folder / "random.txt"), test_fraction=0)
    prepare_corpus(config, folder / "prepared")
    tokenize_corpus(TokenizeConfig(), folder / "prepared", folder / "tokens")
    return folder / "tokens"
