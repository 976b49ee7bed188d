"""Reading through the cache, in pieces of any length, equals one pass with sliding attention."""

import pytest
import torch

from tests.sliding import sliding
from tinyllm.inference.cache import KeyValueCache
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer

VOCAB, WINDOW = 11, 12
CONFIG = ModelConfig(d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=WINDOW)


@pytest.fixture
def model():
    result = Transformer(CONFIG, VOCAB).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return result


def some_tokens(seed, batch=2, time=WINDOW):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def empty_cache(batch=2, dtype=torch.float32):
    return KeyValueCache(CONFIG, batch, torch.device("cpu"), dtype)


@torch.no_grad()
def read(model, tokens, lengths, cache):
    return torch.cat([model(piece, cache) for piece in tokens.split(lengths, dim=1)], dim=1)


@torch.no_grad()
def read_sliding(model, tokens):
    return sliding(model, tokens.shape[1])(tokens)


@pytest.mark.parametrize(
    "lengths", [[12], [1] * 12, [5, 7], [1, 11], [11, 1], [3, 1, 1, 4, 3], [2, 2, 2, 2, 2, 2]]
)
def test_reading_in_pieces_equals_one_pass(model, lengths):
    tokens = some_tokens(3)
    with torch.no_grad():
        expected = model(tokens)
    in_pieces = read(model, tokens, lengths, empty_cache())
    torch.testing.assert_close(in_pieces, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "lengths", [[1] * 40, [12, 12, 12, 4], [5] * 8, [12] + [1] * 28, [1, 12, 1, 11, 3, 12]]
)
def test_beyond_the_window_attention_slides(model, lengths):
    tokens = some_tokens(5, time=40)
    expected = read_sliding(model, tokens)
    in_pieces = read(model, tokens, lengths, empty_cache())
    torch.testing.assert_close(in_pieces, expected, rtol=1e-4, atol=1e-5)
    # the test notices a window of another size
    with torch.no_grad():
        assert (model(tokens[:, -WINDOW:]) - expected[:, -WINDOW:]).abs().max() > 0.01


def test_far_beyond_the_window_nothing_drifts(model):
    """Only differences of positions matter: a text read twice gives the same logits."""
    tokens = some_tokens(6, batch=1, time=WINDOW * 4).repeat(1, 50)
    logits = read(model, tokens, 12, empty_cache(batch=1))
    early, late = logits[:, WINDOW * 4 : WINDOW * 8], logits[:, -WINDOW * 4 :]
    torch.testing.assert_close(early, late, rtol=1e-3, atol=1e-4)


def test_rows_of_different_lengths_read_one_character(model):
    first, second = some_tokens(7, batch=1, time=30), some_tokens(8, batch=1, time=30)
    together = empty_cache()
    for row, (tokens, length) in enumerate(((first, 20), (second, 3))):
        alone = empty_cache(batch=1)
        read(model, tokens[:, :length], 10, alone)
        together.copy_row(row, alone)
    expected = read_sliding(model, first)[:, 20:27], read_sliding(model, second)[:, 3:10]
    rows = torch.cat([first[:, 20:27], second[:, 3:10]])
    found = read(model, rows, 1, together)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_more_tokens_than_the_window_holds_are_refused(model):
    with pytest.raises(ValueError, match="13 tokens exceed the window of 12"):
        model(some_tokens(3, time=13), empty_cache())


def test_cache_holds_keys_and_values_of_every_layer(model):
    cache = empty_cache(batch=3)
    shape = (CONFIG.num_layers, 3, CONFIG.num_heads, WINDOW, CONFIG.head_dim)
    assert cache.keys.shape == cache.values.shape == shape
    read(model, some_tokens(3, batch=3)[:, :7], [7], cache)
    for stored in (cache.keys, cache.values):
        assert stored[:, :, :, :7].abs().amin(dim=(-1, -2)).max() > 0
        assert not stored[:, :, :, 7:].any()
        assert not torch.equal(stored[0], stored[1])


def test_cache_has_the_requested_precision():
    assert empty_cache(dtype=torch.bfloat16).keys.dtype == torch.bfloat16
